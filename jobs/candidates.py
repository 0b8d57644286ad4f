"""Build `marts/candidates` for one day: for every shopper, items worth ranking, from many sources, merged.

    python -m jobs.candidates --ds 2026-01-31

One row a user, its candidates as arrays in order of item position: what the ranker reads as flat columns.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scipy.sparse as sp
from pyspark.sql import SparkSession

from jobs.candidate_sources import SCORES, Scored, Sources, load_sources, pair_keys, score
from jobs.lake import Lake
from jobs.manifest import Manifest
from jobs.settings import Parameters, stage_arguments
from jobs.shards import map_shards
from jobs.shoppers import Shoppers, load_shoppers
from jobs.spark import session
from jobs.train_cf import ARTIFACT as CF
from jobs.train_content import ARTIFACT as CONTENT
from jobs.two_tower import ARTIFACT as TOWERS
from jobs.withheld import Withheld, load_withheld
from serving.record import SOURCES

TABLE = "marts/candidates"
INPUTS = ("features/item", "features/user", "features/user_item", CF, CONTENT, TOWERS)
SOURCE_CODE = {source: code for code, source in enumerate(SOURCES)}

# How many items a source may bring a user. Shelves draw on a few hundred, so each brings more than it will place.
QUOTA = {
    "bought_before": 200,
    "session": 100,
    "als": 100,
    "two_tower": 100,
    "item_item": 100,
    "ease": 100,
    "content": 50,
    "popular": 100,
    "trending": 50,
    "new_item": 50,
}
LISTED = ("item_item", "ease", "content")
"""Scores by neighbours that bring candidates of their own."""
SCORES_OF = {
    "als": ("als",),
    "two_tower": ("two_tower",),
    "item_item": ("item_item",),
    "ease": ("ease", "ease_whole"),
    "content": ("content", "taste", "taste_last"),
}
"""The scores that go where their source goes; the others are no source's own."""
CATEGORIES_PER_USER = 3
RRF_K = 60  # the constant of reciprocal rank fusion (Cormack, Clarke, Büttcher 2009)

Triple = tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int64]]
"""(user, item, rank within the source's list), flat; a user's items are unique."""


@dataclass(frozen=True)
class Candidates:
    """Flat candidates of a batch of users, in order of (user, item); all arrays have one length."""

    user: npt.NDArray[np.int64]
    item: npt.NDArray[np.int32]
    source: npt.NDArray[np.int8]
    """The source that ranked it highest."""
    sources: npt.NDArray[np.int32]
    """All that brought it: bit n is source n of SOURCES."""
    scores: dict[str, npt.NDArray[np.float32]]
    """By SCORES: 0 where a source says nothing of the pair."""

    @property
    def votes(self) -> npt.NDArray[np.int8]:
        """How many sources brought each."""
        return np.bitwise_count(self.sources).astype(np.int8)

    def indptr(self, n_users: int) -> npt.NDArray[np.int64]:
        """Return where each user's candidates start and end."""
        return np.searchsorted(self.user, np.arange(n_users + 1)).astype(np.int64)

    def where(self, kept: npt.NDArray[np.bool_]) -> "Candidates":
        """Return those that `kept` is true of."""
        scores = {name: values[kept] for name, values in self.scores.items()}
        return Candidates(self.user[kept], self.item[kept], self.source[kept], self.sources[kept], scores)


def candidates(
    shoppers: Shoppers,
    sources: Sources,
    per_user: int,
    without: str | None = None,
    *,
    withheld: Withheld | None = None,
) -> Candidates:
    """Return up to `per_user` candidates a user, those that most sources rank highest (reciprocal rank fusion).

    `without` names a source that is left out, with its scores, to learn what it is worth (`jobs.ablation`). What is
    withheld from a user by rules is taken from the sources' lists, so that others come up in its place.
    """
    n_items = len(sources.catalogue)
    scored = score(shoppers, sources)
    seen = pair_keys(shoppers.history_user(), shoppers.history["item_pos"], n_items)
    lists = {
        **plain_lists(shoppers, sources),
        "als": _nearest(sources.index, scored.factors, seen, n_items, QUOTA["als"]),
        "two_tower": _by_towers(scored, sources, seen),
        **{name: _strongest(scored.by_neighbours[name], seen, QUOTA[name]) for name in LISTED},
    }
    lists.pop(without or "", None)
    if withheld is not None:
        lists = {name: _kept(withheld, shoppers, found) for name, found in lists.items()}
    user, item, source, brought = _merge(lists, n_items, per_user)
    scores = scored.at(sources, user, item)
    silent = {name: np.zeros_like(scores[name]) for name in SCORES_OF.get(without or "", ())}
    return Candidates(
        user=user,
        item=item,
        source=source,
        sources=brought,
        scores=scores | silent,
    )


def plain_lists(shoppers: Shoppers, sources: Sources) -> dict[str, Triple]:
    """Return the lists that no score is computed for."""
    return {
        "bought_before": _bought_before(shoppers),
        "session": _viewed(shoppers),
        "popular": _for_everyone(sources.catalogue.by_popularity[: QUOTA["popular"]], len(shoppers)),
        "trending": _for_everyone(sources.catalogue.trending[: QUOTA["trending"]], len(shoppers)),
        "new_item": _for_everyone(sources.catalogue.new_items[: QUOTA["new_item"]], len(shoppers)),
        "popular_in_category": _popular_in_category(shoppers, sources),
    }


def _kept(withheld: Withheld, shoppers: Shoppers, found: Triple) -> Triple:
    kept = withheld.kept(shoppers, found[0], found[1])
    return found[0][kept], found[1][kept], found[2][kept]


def _is_in(keys: npt.NDArray[np.int64], ordered: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Tell which keys stand in an ascending array."""
    if not len(ordered):
        return np.zeros(len(keys), dtype=np.bool_)
    at = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
    return np.asarray(ordered[at] == keys)


def _ranked(user: npt.NDArray[np.int64], item: npt.NDArray[np.int32], quota: int) -> Triple:
    """Number each user's items, which come in order of preference, and keep the first `quota`."""
    rank = np.arange(len(user)) - np.searchsorted(user, user)
    kept = rank < quota
    return user[kept], item[kept].astype(np.int32), rank[kept]


def _bought_before(shoppers: Shoppers) -> Triple:
    """Items the user bought, on most days first, then the latest."""
    history, user = shoppers.history, shoppers.history_user()
    rows = np.flatnonzero(history["purchase_count"] > 0)
    recency = history["days_since_last_purchase"][rows].astype(np.float64)
    order = rows[np.lexsort([history["item_pos"][rows], recency, -history["purchase_day_count"][rows], user[rows]])]
    return _ranked(user[order], history["item_pos"][order], QUOTA["bought_before"])


def _viewed(shoppers: Shoppers) -> Triple:
    """Items the user looked at or put into the basket and did not buy, latest first."""
    history, user = shoppers.history, shoppers.history_user()
    rows = np.flatnonzero((history["purchase_count"] == 0) & (history["weight_milli"] > 0))
    recency = history["days_since_last_event"][rows].astype(np.float64)
    order = rows[np.lexsort([history["item_pos"][rows], -history["cart_count"][rows], recency, user[rows]])]
    return _ranked(user[order], history["item_pos"][order], QUOTA["session"])


def _nearest(
    index: faiss.Index, factors: npt.NDArray[np.float32], seen: npt.NDArray[np.int64], n_items: int, quota: int
) -> Triple:
    """Unseen items with the largest inner product with the user's factors; above zero, as others say nothing."""
    most = min(n_items, quota * 3)
    product, found = index.search(np.ascontiguousarray(factors), most)
    user = np.repeat(np.arange(len(factors)), most)
    item = found.ravel()
    unseen = (product.ravel() > 0) & ~_is_in(pair_keys(user, item, n_items), seen)
    return _ranked(user[unseen], item[unseen].astype(np.int32), quota)


def _by_towers(scored: Scored, sources: Sources, seen: npt.NDArray[np.int64]) -> Triple:
    """The same by the two towers' vectors; nothing where they were left out."""
    if scored.towers is None:
        empty = np.empty(0, dtype=np.int64)
        return empty, empty.astype(np.int32), empty
    return _nearest(sources.tower_index, scored.towers, seen, len(sources.catalogue), QUOTA["two_tower"])


def _strongest(scores: sp.csr_matrix, seen: npt.NDArray[np.int64], quota: int) -> Triple:
    """Unseen items with the largest score of each row; ties by position."""
    scores.sort_indices()
    user = np.repeat(np.arange(scores.shape[0]), np.diff(scores.indptr))
    unseen = (scores.data > 0) & ~_is_in(pair_keys(user, scores.indices, scores.shape[1]), seen)
    user, item, value = user[unseen], scores.indices[unseen], scores.data[unseen]
    # One integer key sorts by user, then by descending value: the bits of a positive float32 grow with it.
    key = (user.astype(np.int64) << 32) | (0xFFFFFFFF - value.view(np.uint32).astype(np.int64))
    order = np.argsort(key, kind="stable")
    return _ranked(user[order], item[order], quota)


def _for_everyone(items: npt.NDArray[np.int32], n_users: int) -> Triple:
    return np.repeat(np.arange(n_users), len(items)), np.tile(items, n_users), np.tile(np.arange(len(items)), n_users)


def _popular_in_category(shoppers: Shoppers, sources: Sources) -> Triple:
    """Popular items of the categories that hold most of the user's weight."""
    empty = np.empty(0, dtype=np.int64)
    lists = sources.catalogue.popular_in_category
    n_categories = len(lists)
    if n_categories == 0:
        return empty, empty.astype(np.int32), empty
    code = sources.catalogue.category_code[shoppers.history["item_pos"]]
    known = code >= 0
    weight = sp.csr_matrix(
        (
            shoppers.history["weight_milli"][known].astype(np.float64),
            (shoppers.history_user()[known], code[known]),
        ),
        shape=(len(shoppers), n_categories),
    )
    user, category, place = _strongest(weight.astype(np.float32), empty, CATEGORIES_PER_USER)
    item = lists[category]
    rank = place[:, None] + np.arange(item.shape[1])[None, :] * CATEGORIES_PER_USER
    kept = item.ravel() >= 0
    return np.repeat(user, item.shape[1])[kept], item.ravel()[kept], rank.ravel()[kept]


def _merge(
    lists: dict[str, Triple], n_items: int, per_user: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int8], npt.NDArray[np.int32]]:
    """Unite the sources' lists: (user, item, best source, all sources) of the `per_user` highest by rank fusion."""
    parts = list(lists.values())
    key = np.concatenate([pair_keys(user, item, n_items) for user, item, _ in parts])
    rank = np.concatenate([rank for *_, rank in parts])
    code = np.concatenate([np.full(len(lists[name][0]), SOURCE_CODE[name]) for name in lists])
    order = np.lexsort([code, rank, key])
    key, rank, code = key[order], rank[order], code[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    brought = np.bitwise_or.reduceat(1 << code, first) if len(first) else np.empty(0)
    fused = np.add.reduceat(1.0 / (RRF_K + 1 + rank), first) if len(first) else np.empty(0)
    # What was bought before is cut last: its list is the one that most often holds the next purchase.
    bought = code == SOURCE_CODE["bought_before"]
    fused = fused + (np.logical_or.reduceat(bought, first) if len(first) else 0)
    key, source = key[first], code[first]
    user = key // n_items
    best = np.lexsort([key, -fused, user])
    kept = np.sort(best[np.arange(len(best)) - np.searchsorted(user[best], user[best]) < per_user])
    return (
        user[kept],
        (key[kept] % n_items).astype(np.int32),
        source[kept].astype(np.int8),
        brought[kept].astype(np.int32),
    )


@dataclass(frozen=True)
class CandidateShard:
    """Yields `marts/candidates` of one user shard; sent to the executors."""

    lake: Lake
    ds: date
    candidates_per_user: int
    taste_decay_days: float
    rules: Mapping[str, Any] = field(default_factory=dict)
    dormant_days: int = 0
    """Shoppers without an event for more days get none; 0 for nobody."""

    def __call__(self, shard: int) -> Iterator[pa.RecordBatch]:
        """Yield a record batch for each batch of users."""
        sources = load_sources(self.lake, self.ds, self.taste_decay_days)
        withheld = load_withheld(self.lake, self.ds, self.rules)
        if withheld is not None:
            sources = sources.without(withheld.from_everybody)
        for batch in load_shoppers(self.lake, self.ds, shard, len(sources.catalogue)).batches():
            awake = batch.awake(self.dormant_days)
            found = candidates(batch.where(awake), sources, self.candidates_per_user, withheld=withheld)
            found = replace(found, user=np.flatnonzero(awake)[found.user])
            yield to_arrow(batch.user_id, found)


def to_arrow(user_id: pa.Array, found: Candidates) -> pa.RecordBatch:
    """Lay flat candidates out as one row a user."""
    offsets = pa.array(found.indptr(len(user_id)), pa.int32())
    lists = {
        "item_pos": pa.array(found.item, pa.int32()),
        "source": pa.array(found.source, pa.int32()),
        "sources": pa.array(found.sources, pa.int32()),
        **{name: pa.array(values, pa.float32()) for name, values in found.scores.items()},
    }
    columns = {"user_id": user_id} | {
        name: pa.ListArray.from_arrays(offsets, values) for name, values in lists.items()
    }
    return pa.RecordBatch.from_pydict(columns)


def from_arrow(table: pa.Table) -> Candidates:
    """Flatten rows of `marts/candidates` again; users are numbered in the table's order."""
    chunk = {name: table[name].combine_chunks() for name in table.column_names if name != "user_id"}
    lengths = np.diff(chunk["item_pos"].offsets.to_numpy())
    flat = {name: column.flatten().to_numpy() for name, column in chunk.items()}
    return Candidates(
        user=np.repeat(np.arange(len(table)), lengths),
        item=flat["item_pos"],
        source=flat["source"].astype(np.int8),
        sources=flat["sources"],
        scores={name: flat[name] for name in SCORES},
    )


def candidate_parameters(parameters: Parameters) -> dict[str, Any]:
    """Return the parameters that shape candidates: a shelf needs as many as it is long."""
    return {
        "candidates_per_user": max(parameters.candidates_per_user, parameters.top_n),
        "taste_decay_days": parameters.taste_decay_days,
    }


def build(spark: SparkSession, lake: Lake, ds: date, parameters: Parameters) -> Manifest:
    """Build one day, unless it stands already, made of the same.

    Raises:
        MissingPartitionError: the day's features or CF artifact were not built.
    """
    inputs, chosen = lake.fingerprints(ds, *INPUTS), candidate_parameters(parameters)
    chosen |= {"rules": parameters.rules, "dormant_days": parameters.dormant_days}
    found = lake.find_manifest(TABLE, ds)
    if found is not None and found.is_current(inputs, chosen):
        return found
    frame = map_shards(spark, TABLE, CandidateShard(lake, ds, **chosen))
    return lake.write(frame, TABLE, ds, inputs=inputs, parameters=chosen, in_shards=True)


def main() -> None:
    """Run the stage from the command line."""
    given = stage_arguments(__doc__)
    manifest = build(session(), Lake(given.settings.lake), given.ds, given.parameters)
    print(f"{TABLE}/ds={given.ds}: {manifest.row_count} shoppers")


if __name__ == "__main__":
    # Under its own name, by which Spark's workers find what is sent to them: `__main__` is another module there.
    from jobs.candidates import main as main_of_module

    main_of_module()
