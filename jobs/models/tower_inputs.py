"""What the two towers are trained on: items as inputs, shoppers' discoveries, and batches drawn from them.

A row to learn from is an item that a shopper discovered, and what was known of the shopper on the eve of that day. So
no row knows its own day, and a shopper's first day teaches what to show to somebody without a history.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.features.catalogue import Catalogue, load_catalogue
from jobs.lake.lake import Lake
from jobs.lake.tables import CONTENT, SHARDS, USER, USER_ITEM
from jobs.models.towers import GROUPS, Discoveries, group_codes, read_histories
from jobs.numeric.arrays import Floats, Values, Whole

if TYPE_CHECKING:
    from jobs.models.towers_jax import Batch

HISTORY = ["weight_milli", "item_pos", "days_since_first_event", "days_since_last_event"]
OWN_ITEMS = 100_000
"""So many items, the most discovered, have an embedding of their own; others only what they say of themselves."""
OWNERS = 10_000
"""So many categories, and so many brands, have an embedding."""
GROUP_NAMES = 64
"""So many regions, and so many age bands, have an embedding."""
LEAST_PADDED = 1 << 10
"""JAX compiles each array size anew, so the items of a batch are padded to few sizes: powers of two from here on."""


@dataclass(frozen=True)
class TowerParameters:
    """What shapes the fit; part of the artifact's manifest."""

    seed: int
    epochs: float = 3.0
    scale: float = 7.0
    """Multiplies the cosine of shopper and item in the softmax."""
    most_steps: int = 2_000
    """Limits the training of a large shop: to about three minutes on one core."""
    fewest_steps: int = 100
    batch: int = 1_024
    smallest_batch: int = 64
    """A small shop's batches hold a hundredth of its rows, but at least so many."""
    rate: float = 1e-3
    """The first step's learning rate."""
    fades_days: float = 180.0
    """A row so many days old is drawn e^-1 times as often as one of the last day."""
    of_a_day: float = 0.5
    """A row's chance is divided by (items that the shopper discovered on the same day) to the power of this."""
    without_own: float = 0.1
    """The share of items that do without their own embedding in a step, so that their words learn too."""
    most_users: int = 200_000
    """A larger shop's rows come from every k-th shopper."""


@dataclass(frozen=True)
class ItemInputs:
    """What the item tower knows of the catalogue."""

    content: Floats
    """[n_items, width]: content vectors, price, and whether there is a price."""
    codes: npt.NDArray[np.int32]
    """[n_items, len(ITEM_CODES)]: rows of the tables of embeddings, from 1; 0 for a missing or rare value."""


@dataclass(frozen=True)
class TrainingData:
    """What the towers are trained on."""

    discoveries: Discoveries
    groups: npt.NDArray[np.int32]
    """[n_users, len(GROUPS)] group codes."""
    names: dict[str, list[str]]
    """Names of the groups that have an embedding, by GROUPS."""
    items: ItemInputs


def item_inputs(catalogue: Catalogue, vectors: Floats, discoveries: Discoveries) -> ItemInputs:
    """Return the item tower's inputs; the logarithms of prices are standardised within the catalogue."""
    price = catalogue.numbers("price_minor")
    has_price = price > 0
    logarithm = np.log(np.where(has_price, price, 1))
    priced = logarithm[has_price]
    mean, spread = (float(np.mean(priced)), float(np.std(priced))) if len(priced) else (0.0, 0.0)
    scaled = np.where(has_price, (logarithm - mean) / max(spread, 1e-6), 0)
    shared = (catalogue.groups(name) for name in ("category", "brand"))
    codes = [_rank_of_code(group, int(group.max(initial=-1)) + 1, OWNERS)[group] for group in shared]
    own = _rank_of_code(discoveries.item, len(catalogue), OWN_ITEMS)[:-1]
    return ItemInputs(
        content=np.column_stack([vectors, scaled, has_price]).astype(np.float32),
        codes=np.column_stack([*codes, own]).astype(np.int32),
    )


def _rank_of_code(codes: npt.NDArray[np.int32], n_codes: int, most: int) -> npt.NDArray[np.int32]:
    """Return [n_codes + 1]: each code's rank by frequency, from 1, ties by code; 0 beyond `most`, and for code -1."""
    counts = np.bincount(codes[codes >= 0], minlength=n_codes)
    order = np.lexsort((np.arange(n_codes), -counts))[: min(most, np.count_nonzero(counts))]
    rank = np.zeros(n_codes + 1, dtype=np.int32)
    rank[order] = np.arange(1, len(order) + 1)
    return rank


def load_training_data(lake: Lake, ds: date, most_users: int) -> TrainingData:
    """Load the catalogue and every k-th shopper of each shard, so that about `most_users` remain.

    Raises:
        MissingPartitionError: the day's features or content artifact were not built.
    """
    catalogue = load_catalogue(lake, ds)
    step = -(-(lake.manifest(USER, ds).row_count or 1) // most_users)
    user_tables, pair_tables, n_users = [], [], 0
    for shard in range(SHARDS):
        users = lake.shard(USER, ds, shard, ["user_id", *GROUPS])
        users = users.take(np.arange(0, len(users), step))
        pairs = lake.shard(USER_ITEM, ds, shard, ["user_id", *HISTORY])
        owner = pc.index_in(pairs["user_id"], value_set=users["user_id"].combine_chunks())
        pairs = pairs.drop_columns("user_id").append_column("owner", pc.add(owner, n_users))
        user_tables.append(users)
        pair_tables.append(pairs.filter(pc.is_valid(owner)))
        n_users += len(users)
    # A shard without rows has the contract's types, whatever those of the others are.
    users, pairs = (pa.concat_tables(tables, promote_options="permissive") for tables in (user_tables, pair_tables))
    names = {group: _frequent_names(users[group]) for group in GROUPS}
    columns = {group: users[group].to_numpy(zero_copy_only=False) for group in GROUPS}
    history = {name: pairs[name].to_numpy() for name in HISTORY}
    discoveries = Discoveries.from_history(pairs["owner"].to_numpy().astype(np.int64), history, n_users)
    return TrainingData(
        discoveries=discoveries,
        groups=group_codes(columns, names),
        names=names,
        items=item_inputs(catalogue, lake.array(CONTENT, ds, "item_vectors"), discoveries),
    )


def _frequent_names(column: pa.ChunkedArray) -> list[str]:
    """Return the GROUP_NAMES most frequent values, ties by name."""
    counted = pc.value_counts(column.combine_chunks().drop_null().cast(pa.string())).to_pylist()
    ordered = sorted(counted, key=lambda count: (-count["counts"], count["values"]))
    return [count["values"] for count in ordered[:GROUP_NAMES]]


@dataclass(frozen=True)
class TowerRows:
    """Every discovery as a row: its history, its chance to be drawn, and the correction for popular items."""

    start: Whole
    end: Whole
    """`start:end` are the pairs that the shopper had discovered on earlier days."""
    chance: Values
    log_drawn: Floats
    """[n_items]: logarithm of the chance that a drawn row's target is the item."""


def training_rows(discoveries: Discoveries, n_items: int, parameters: TowerParameters) -> TowerRows:
    """Return every discovery as a row. Pairs stand latest first, so earlier days stand behind the row's own day."""
    user, first = discoveries.user, discoveries.first
    day = user * (int(first.max()) + 2) + first.astype(np.int64)
    end_of_day = np.searchsorted(day, day, side="right")
    found_that_day = (end_of_day - np.searchsorted(day, day, side="left")).astype(np.float64)
    weight = np.exp(-first / parameters.fades_days) * found_that_day**-parameters.of_a_day
    chance = weight / weight.sum()
    drawn = np.bincount(discoveries.item, chance, minlength=n_items)
    log_drawn = np.log(np.maximum(drawn, 1e-12)).astype(np.float32)
    return TowerRows(end_of_day, discoveries.indptr[user + 1], chance, log_drawn)


def batches(data: TrainingData, parameters: TowerParameters, size: int) -> "Iterator[Batch]":
    """Yield batches of `size` rows without end, drawn by the seed."""
    from jobs.models.towers_jax import Batch

    discoveries = data.discoveries
    rows = training_rows(discoveries, len(data.items.content), parameters)
    cumulative = np.cumsum(rows.chance)
    draw = np.random.default_rng(parameters.seed)
    while True:
        row = np.minimum(np.searchsorted(cumulative, draw.random(size)), len(cumulative) - 1)
        history = read_histories(discoveries, rows.start[row], rows.end[row], discoveries.first[row])
        target = discoveries.item[row]
        items = np.unique(np.concatenate([history.item.ravel(), target]))
        length = max(1 << int(len(items) - 1).bit_length(), LEAST_PADDED)
        padded = np.concatenate([items, np.zeros(length - len(items), items.dtype)])
        codes = data.items.codes[padded]
        own = (draw.random(length) >= parameters.without_own) & (codes[:, -1] > 0)
        yield Batch(
            items=padded,
            content=data.items.content[padded],
            codes=codes,
            own=own.astype(np.float32)[:, None],
            history=np.searchsorted(items, history.item).astype(np.int32),
            weight=history.weight,
            numbers=history.numbers,
            groups=data.groups[discoveries.user[row]],
            target=np.searchsorted(items, target).astype(np.int32),
            log_drawn=rows.log_drawn[target],
        )
