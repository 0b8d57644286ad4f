"""Build `artifacts/towers` for one day: a two-tower model of shoppers and items, where JAX is installed.

    topshelf stage train_towers --ds 2026-01-31

Without the dependency group `towers` the artifact stands all the same and is empty: the night does without, and the
manifest says so. A row to learn from is an item that a shopper came upon, and what was known of them on its eve, so
that no row knows its own day; a shopper's first day teaches what to show to whom nothing is known of.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from threadpoolctl import threadpool_limits

from jobs.config.parameters import Parameters
from jobs.features.catalogue import Catalogue, load_catalogue
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest
from jobs.lake.tables import CONTENT, SHARDS, TOWERS
from jobs.models.nearest_items import MOST_ASKED, index_of
from jobs.models.towers import (
    DIMENSIONS,
    FADES_DAYS,
    GROUPS,
    ITEM_CODES,
    NUMBERS,
    Discoveries,
    group_codes,
    item_tower,
    jax_version,
    read,
    smoothed_unit_rows,
)
from jobs.numeric.arrays import Floats, Whole

if TYPE_CHECKING:
    from jobs.models.towers_jax import Batch

INPUTS = ("features/item", "features/user", "features/user_item", CONTENT)
HISTORY = ["weight_milli", "item_pos", "days_since_first_event", "days_since_last_event"]
OWN_ITEMS = 100_000
"""So many items, those found most often, have an embedding of their own; others have what they say of themselves."""
OWNERS = 10_000
"""So many categories, and brands, have an embedding."""
NO_JAX = "jax is not installed; uv pip install --require-hashes -r requirements-towers.lock"
FEWEST_PAIRS = 500
"""Of fewer the towers would learn noise."""
GROUP_NAMES = 64
GROUP_WIDTH = 16
HIDDEN = 256


@dataclass(frozen=True)
class TowerParameters:
    """What shapes the fit; part of the artifact's manifest."""

    seed: int
    epochs: float = 3.0
    scale: float = 7.0
    """What the cosine of shopper and item is multiplied by in the softmax."""
    most_steps: int = 2_000
    """A large shop's rows are drawn from no longer than this: about three minutes on one core."""
    fewest_steps: int = 100
    batch: int = 1_024
    smallest_batch: int = 64
    """A small shop's batches are a hundredth of its rows, not less than this."""
    rate: float = 1e-3
    fades_days: float = 180.0
    """A row is drawn e^-1 as often when it lies so many days back."""
    of_a_day: float = 0.5
    """A row is drawn in proportion to (items found by that shopper on that day) to the power of minus this."""
    without_own: float = 0.1
    """The share of items that have to do without their own embedding in a step, so that their words learn as well."""
    most_users: int = 200_000
    """A larger shop's rows come from every k-th shopper."""


@dataclass(frozen=True)
class ItemInputs:
    """What the item tower knows of the catalogue."""

    content: Floats
    """[n_items, width]: content vectors, price, and whether there is one."""
    codes: npt.NDArray[np.int32]
    """[n_items, len(ITEM_CODES)]: rows of the tables of embeddings from 1, 0 for what is missing or rare."""


@dataclass(frozen=True)
class Known:
    """What the towers are trained on, of `n_users` shoppers."""

    found: Discoveries
    groups: npt.NDArray[np.int32]
    names: dict[str, list[str]]
    items: ItemInputs


def items_of(catalogue: Catalogue, vectors: Floats, found: Discoveries) -> ItemInputs:
    """Return the item tower's features; prices by their logarithm, scaled to the catalogue's own spread."""
    price = catalogue.numbers("price_minor")
    has = price > 0
    logarithm = np.log(np.where(has, price, 1))
    middle, spread = (float(of(logarithm[has])) if has.any() else 0.0 for of in (np.mean, np.std))
    scaled = np.where(has, (logarithm - middle) / max(spread, 1e-6), 0)
    shared = [_numbered(catalogue.groups(name), OWNERS) for name in ("category", "brand")]
    own = _numbers_of(found.item, len(catalogue), OWN_ITEMS)[:-1]
    return ItemInputs(
        content=np.column_stack([vectors, scaled, has]).astype(np.float32),
        codes=np.column_stack([*shared, own]).astype(np.int32),
    )


def _numbered(codes: npt.NDArray[np.int32], most: int) -> npt.NDArray[np.int32]:
    """Number the `most` most frequent codes from 1, ties by code, and return the number of each, 0 for all else."""
    return _numbers_of(codes, int(codes.max(initial=-1)) + 1, most)[codes]


def _numbers_of(codes: npt.NDArray[np.int32], n_codes: int, most: int) -> npt.NDArray[np.int32]:
    """Return [n_codes + 1]: the number of each code, and 0 for -1, which is the last."""
    counts = np.bincount(codes[codes >= 0], minlength=n_codes)
    order = np.lexsort((np.arange(n_codes), -counts))[: min(most, np.count_nonzero(counts))]
    number = np.zeros(n_codes + 1, dtype=np.int32)
    number[order] = np.arange(1, len(order) + 1)
    return number


def load_known(lake: Lake, ds: date, most_users: int) -> Known:
    """Load every k-th shopper of each shard, so that about `most_users` remain, and the catalogue.

    Raises:
        MissingPartitionError: the day's features or content artifact were not built.
    """
    catalogue = load_catalogue(lake, ds)
    every = -(-(lake.manifest("features/user", ds).row_count or 1) // most_users)
    users, rows, n_users = [], [], 0
    for shard in range(SHARDS):
        some = lake.shard("features/user", ds, shard, ["user_id", *GROUPS])
        some = some.take(np.arange(0, len(some), every))
        pairs = lake.shard("features/user_item", ds, shard, ["user_id", *HISTORY])
        owner = pc.index_in(pairs["user_id"], value_set=some["user_id"].combine_chunks())
        pairs = (
            pairs.drop_columns("user_id").append_column("owner", pc.add(owner, n_users)).filter(pc.is_valid(owner))
        )
        users.append(some)
        rows.append(pairs)
        n_users += len(some)
    # A shard without rows has the contract's types, whatever those of the others are.
    asked, table = (pa.concat_tables(parts, promote_options="permissive") for parts in (users, rows))
    names = {group: _names(asked[group]) for group in GROUPS}
    columns = {group: asked[group].to_numpy(zero_copy_only=False) for group in GROUPS}
    history = {name: table[name].to_numpy() for name in HISTORY}
    found = Discoveries.of(table["owner"].to_numpy().astype(np.int64), history, n_users)
    return Known(
        found=found,
        groups=group_codes(columns, names),
        names=names,
        items=items_of(catalogue, lake.array(CONTENT, ds, "item_vectors"), found),
    )


def _names(column: pa.ChunkedArray) -> list[str]:
    """Return the GROUP_NAMES most frequent values, ties by name."""
    counted = pc.value_counts(column.combine_chunks().drop_null().cast(pa.string())).to_pylist()
    ordered = sorted(counted, key=lambda of: (-of["counts"], of["values"]))
    return [of["values"] for of in ordered[:GROUP_NAMES]]


@dataclass(frozen=True)
class Rows:
    """What may be drawn: each pair as a target, the part of the shopper's pairs before it, and its chance."""

    start: Whole
    end: Whole
    chance: npt.NDArray[np.float64]
    log_drawn: Floats
    """[n_items]: logarithm of the chance that a drawn row's target is the item."""


def rows_of(found: Discoveries, n_items: int, parameters: TowerParameters) -> Rows:
    """Return every pair as a row: its history is what the shopper found on earlier days, which stands behind it."""
    day = found.user * (int(found.first.max()) + 2) + found.first.astype(np.int64)
    after = np.searchsorted(day, day, side="right")
    size = after - np.searchsorted(day, day, side="left")
    weight = np.exp(-found.first / parameters.fades_days) * size.astype(np.float64) ** -parameters.of_a_day
    chance = weight / weight.sum()
    drawn = np.bincount(found.item, chance, minlength=n_items)
    return Rows(after, found.indptr[found.user + 1], chance, np.log(np.maximum(drawn, 1e-12)).astype(np.float32))


def batches(known: Known, parameters: TowerParameters, size: int) -> "Iterator[Batch]":
    """Draw batches of `size` rows without end, by the seed."""
    from jobs.models.towers_jax import Batch

    found, n_items = known.found, len(known.items.content)
    rows = rows_of(found, n_items, parameters)
    upto = np.cumsum(rows.chance)
    draw = np.random.default_rng(parameters.seed)
    while True:
        row = np.minimum(np.searchsorted(upto, draw.random(size)), len(upto) - 1)
        history = read(found, rows.start[row], rows.end[row], found.first[row])
        target = found.item[row]
        items = np.unique(np.concatenate([history.item.ravel(), target]))
        spare = 1 << max(int(len(items) - 1).bit_length(), 10)  # few sizes, as each is compiled anew
        padded = np.concatenate([items, np.zeros(spare - len(items), items.dtype)])
        yield Batch(
            items=padded,
            content=known.items.content[padded],
            codes=(codes := known.items.codes[padded]),
            own=((draw.random(spare) >= parameters.without_own) & (codes[:, -1] > 0)).astype(np.float32)[:, None],
            history=np.searchsorted(items, history.item).astype(np.int32),
            weight=history.weight,
            numbers=history.numbers,
            groups=known.groups[found.user[row]],
            target=np.searchsorted(items, target).astype(np.int32),
            log_drawn=rows.log_drawn[target],
        )


def first_weights(known: Known, seed: int) -> dict[str, Floats]:
    """Draw the weights that training begins with."""
    draw = np.random.default_rng(seed)

    def drawn(*shape: int, by: float) -> Floats:
        return draw.normal(0, by, shape).astype(np.float32)

    told = known.items.content.shape[1]
    reads = len(FADES_DAYS) * DIMENSIONS + NUMBERS + len(GROUPS) * GROUP_WIDTH
    sizes = known.items.codes.max(axis=0, initial=0) + 1
    return {
        **{name: drawn(int(size), DIMENSIONS, by=0.01) for name, size in zip(ITEM_CODES, sizes, strict=True)},
        "content": drawn(told, DIMENSIONS, by=told**-0.5),
        **{group: drawn(len(known.names[group]) + 1, GROUP_WIDTH, by=0.1) for group in GROUPS},
        "hidden": drawn(reads, HIDDEN, by=reads**-0.5),
        "hidden_bias": np.zeros(HIDDEN, np.float32),
        "out": drawn(HIDDEN, DIMENSIONS, by=0.5 * HIDDEN**-0.5),
        "out_bias": np.zeros(DIMENSIONS, np.float32),
        "mix": np.full(len(FADES_DAYS), 0.5, np.float32),
    }


def train_towers(known: Known, parameters: TowerParameters) -> tuple[dict[str, Floats], int]:
    """Return the artifact's arrays, and how many steps were taken.

    - `item_vectors` [n_items, DIMENSIONS] float32, unit rows: of an item that nobody has found as well.
    - `user_*`: the user tower's weights, as jobs.models.towers.Towers reads them.
    """
    from jobs.models.towers_jax import fit

    rows = len(known.found.item)
    size = min(max(1 << max(rows // 100, 1).bit_length() - 1, parameters.smallest_batch), parameters.batch)
    steps = int(np.clip(np.ceil(parameters.epochs * rows / size), parameters.fewest_steps, parameters.most_steps))
    weights = first_weights(known, parameters.seed)
    weights = fit(weights, batches(known, parameters, size), steps, parameters.rate, parameters.scale)
    items, has_own = known.items, known.items.codes[:, -1:] > 0
    embedded = {name: weights[name][items.codes[:, column]] for column, name in enumerate(ITEM_CODES)}
    vectors = smoothed_unit_rows(item_tower(weights, items.content, embedded | {"own": embedded["own"] * has_own}))
    of_user = set(weights) - {*ITEM_CODES, "content"}
    return {"item_vectors": vectors} | {f"user_{name}": weights[name] for name in sorted(of_user)}, steps


def tower_parameters(parameters: Parameters) -> dict[str, Any]:
    """Return what an artifact is made with: the version of JAX among it, as without it there are no towers."""
    used = jax_version() if parameters.models.two_tower.enabled else None
    return {**vars(TowerParameters(parameters.seed)), "two_tower": parameters.models.two_tower.enabled, "jax": used}


def build(lake: Lake, ds: date, parameters: Parameters) -> Manifest:
    """Build the artifact of one day, empty where towers are left out, unless it stands already, made of the same.

    Raises:
        MissingPartitionError: the day's features or content artifact were not built.
    """
    inputs, chosen = lake.fingerprints(ds, *INPUTS), tower_parameters(parameters)

    def train() -> Manifest:
        def left_out(why: str) -> Manifest:
            told = {"two_tower": f"left out: {why}"}
            return lake.write_artifact(TOWERS, ds, {}, inputs=inputs, parameters=chosen, metrics=told)

        if chosen["jax"] is None:
            return left_out(
                NO_JAX if parameters.models.two_tower.enabled else "the parameter models.two_tower.enabled is false"
            )
        chosen_here = TowerParameters(parameters.seed)
        known = load_known(lake, ds, chosen_here.most_users)
        if len(known.found.item) < FEWEST_PAIRS:
            return left_out(f"{len(known.found.item)} pairs of shopper and item, {FEWEST_PAIRS} are needed")
        with threadpool_limits(1, "blas"):
            arrays, steps = train_towers(known, chosen_here)
            built = index_of(arrays["item_vectors"], arrays["item_vectors"], MOST_ASKED)
        metrics = {"two_tower": f"fitted by jax {chosen['jax']}", "pairs": len(known.found.item), "steps": steps}
        metrics["index"] = built.told()
        texts = {"groups.json": json.dumps(known.names, sort_keys=True)}
        return lake.write_artifact(
            TOWERS, ds, arrays | built.array(), texts=texts, inputs=inputs, parameters=chosen, metrics=metrics
        )

    return lake.build_if_stale(TOWERS, ds, inputs, chosen, train)
