"""Build `marts/examples` for one as-of day: candidates as the night makes them, with what happened after.

    topshelf stage label_windows --ds 2026-01-17

Features stand as of the day; labels are the events of the horizon that follows it (14 days unless set). Only
shoppers who did something in the horizon are examples: for the others nothing can be ordered.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import SparkSession

from jobs.candidates.generate import candidate_parameters, candidates
from jobs.candidates.sources import load_sources
from jobs.config.parameters import Parameters
from jobs.features.shoppers import load_shoppers
from jobs.lake.contracts import arrow_type, contract
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest
from jobs.lake.tables import EXAMPLES, LABELS, SHARDS, SHOWN, TOWERS, WINDOW_CF
from jobs.numeric.arrays import find_sorted
from jobs.ranking.pair_features import FEATURES, ranking_features
from jobs.spark.shards import map_shards

FACTS = {"purchase": "purchased", "view_count": "", "cart_count": "", "dwell_s": "", "revenue_minor": ""}
"""Columns of the examples that tell what happened, and what marts/labels calls them where that differs."""
OF_SHOWN = ("place", "followed")
INPUTS = ("features/item", "features/user", "features/user_item", WINDOW_CF, "artifacts/content", TOWERS)


@dataclass(frozen=True)
class ExampleShard:
    """Yields `marts/examples` of one user shard; sent to the executors."""

    lake: Lake
    ds: date
    candidates_per_user: int
    taste_decay_days: float
    without: str | None = None
    """A source that is left out, to learn what it is worth."""

    def __call__(self, shard: int) -> Iterator[pa.RecordBatch]:
        """Yield a record batch for each batch of users that have a label."""
        labels = self.lake.shard(LABELS, self.ds, shard)
        if not len(labels):
            return
        sources = load_sources(self.lake, self.ds, self.taste_decay_days, WINDOW_CF)
        users = pc.unique(labels["user_id"])
        for batch in load_shoppers(self.lake, self.ds, shard, len(sources.catalogue), only=users).batches():
            found = candidates(batch, sources, self.candidates_per_user, self.without)
            matrix = ranking_features(batch, found, sources)
            columns = {
                "user_id": batch.user_id.take(pa.array(found.user)),
                "item_pos": pa.array(found.item, pa.int32()),
                "sources": pa.array(found.sources, pa.int32()),
                "features": pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), len(FEATURES)).cast(
                    pa.list_(pa.float32())
                ),
                **labels_of(labels, batch.user_id, found.user, found.item, len(sources.catalogue)),
            }
            # Spark takes them by their places, whatever they are called.
            names = [column.name for column in contract(EXAMPLES).stored_columns]
            yield pa.RecordBatch.from_pydict({name: columns[name] for name in names})


def labels_of(
    labels: pa.Table,
    user_id: pa.Array,
    user: npt.NDArray[np.int64],
    item: npt.NDArray[np.int32],
    n_items: int,
) -> dict[str, pa.Array]:
    """Return what happened to each (user, item) in the horizon, a column each; nothing and unknown are 0."""
    row = label_rows(labels, user_id, user, item, n_items)
    hit = row >= 0
    told: dict[str, pa.Array] = {"interaction": pa.array(hit.astype(np.int32))}
    types = {column.name: arrow_type(column.type) for column in contract(EXAMPLES).stored_columns}
    for name, column in FACTS.items():
        known = pc.fill_null(labels[column or name].cast(types[name]), 0).to_numpy()
        values = np.zeros(len(row), dtype=known.dtype)
        values[hit] = known[row[hit]]
        told[name] = pa.array(values)
    return told


def label_rows(
    labels: pa.Table,
    user_id: pa.Array,
    user: npt.NDArray[np.int64],
    item: npt.NDArray[np.int32],
    n_items: int,
) -> npt.NDArray[np.int64]:
    """Return the row of `labels` that is about each (user, item), -1 where there is none."""
    owner = pc.index_in(labels["user_id"], value_set=user_id)
    rows = np.flatnonzero(pc.is_valid(owner).to_numpy())
    keys = pc.fill_null(owner, 0).to_numpy().astype(np.int64)[rows] * n_items + labels["item_pos"].to_numpy()[rows]
    order = np.argsort(keys, kind="stable")
    wanted = user * n_items + item
    row = find_sorted(keys[order], wanted)
    row[row >= 0] = rows[order][row[row >= 0]]
    return row


def build(spark: SparkSession, lake: Lake, ds: date, parameters: Parameters) -> Manifest:
    """Build the examples of one as-of day from its features, CF artifact and labels, unless they stand already.

    Raises:
        MissingPartitionError: one of them was not built.
    """
    inputs, chosen = lake.fingerprints(ds, *INPUTS, LABELS), candidate_parameters(parameters)

    def write() -> Manifest:
        frame = map_shards(spark, EXAMPLES, ExampleShard(lake, ds, **chosen))
        return lake.write(frame, EXAMPLES, ds, inputs=inputs, parameters=chosen, in_shards=True)

    return lake.build_if_stale(EXAMPLES, ds, inputs, chosen, write)


@dataclass(frozen=True)
class Window:
    """A training window: examples as of day `ds`, in the night's lake or in the one without the held-out pairs."""

    lake: Lake
    ds: date
    calibrates: bool = False
    """Trains nothing: heads are calibrated on it."""


@dataclass(frozen=True)
class Examples:
    """Flat training examples, in order of (user, item)."""

    user: npt.NDArray[np.int64]
    """Number of the user, ascending."""
    user_id: pa.Array
    item: npt.NDArray[np.int32]
    sources: npt.NDArray[np.int32]
    """Bit n is set if source n of SOURCES brought the candidate."""
    features: npt.NDArray[np.float32]
    labels: dict[str, npt.NDArray[Any]]
    """What happened, by column; with `place` and `followed` of a pair's first exposure where they are asked for."""


def load_examples(lake: Lake, ds: date, facts: Sequence[str] = ("purchase", "interaction")) -> Examples:
    """Load the examples of one as-of day, shard after shard, with columns of what happened.

    Raises:
        MissingPartitionError: they were not built.
    """
    columns = ["user_id", "item_pos", "sources", "features", *(name for name in facts if name not in OF_SHOWN)]
    rows = pa.concat_tables([lake.shard(EXAMPLES, ds, shard, columns) for shard in range(SHARDS)])
    return examples_of(rows, facts, load_shown(lake, ds))


def load_shown(lake: Lake, ds: date) -> pa.Table | None:
    """Load `marts/shown` of one as-of day; None of a window for which it was not built."""
    if lake.find_manifest(SHOWN, ds) is None:
        return None
    return pa.concat_tables([lake.shard(SHOWN, ds, shard) for shard in range(SHARDS)])


def examples_of(
    rows: pa.Table, facts: Sequence[str] = ("purchase", "interaction"), shown: pa.Table | None = None
) -> Examples:
    """Return rows of `marts/examples` as flat arrays, with columns of what happened.

    Of what was shown, `place` is the 1-based place on the shelf, 0 for what was not, and `followed` 1 or 0.
    """
    table = rows.combine_chunks()
    encoded = table["user_id"].combine_chunks().dictionary_encode()
    found = Examples(
        user=encoded.indices.to_numpy().astype(np.int64),
        user_id=encoded.dictionary,
        item=table["item_pos"].to_numpy(),
        sources=table["sources"].to_numpy(),
        features=table["features"].combine_chunks().flatten().to_numpy().reshape(-1, len(FEATURES)),
        labels={name: table[name].to_numpy() for name in facts if name not in OF_SHOWN},
    )
    if set(facts).isdisjoint(OF_SHOWN):
        return found
    return replace(found, labels=found.labels | _places(found, shown))


def _places(of: Examples, shown: pa.Table | None) -> dict[str, npt.NDArray[np.int32]]:
    """Return OF_SHOWN of each example."""
    place, followed = (np.zeros(len(of.user), dtype=np.int32) for _ in OF_SHOWN)
    if shown is not None:
        shown = shown.combine_chunks()
        n_items = 1 + max(int(of.item.max(initial=0)), pc.max(shown["item_pos"]).as_py() or 0)
        row = label_rows(shown, of.user_id, of.user, of.item, n_items)
        hit = row >= 0
        place[hit] = shown["position"].to_numpy()[row[hit]] + 1
        followed[hit] = shown["followed"].to_numpy()[row[hit]]
    return dict(zip(OF_SHOWN, (place, followed), strict=True))
