"""Build `marts/examples` for one as-of day: candidates as the night makes them, with what happened afterwards.

    topshelf stage label_windows --ds 2026-01-17

Features are as of the day; labels are the events of the horizon after it (14 days by default). Only shoppers with an
event in the horizon become examples: without one there is nothing to order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.candidates.generate import candidate_parameters, candidates
from jobs.candidates.sources import load_sources
from jobs.config.parameters import Parameters
from jobs.features.shoppers import load_shoppers
from jobs.lake.contracts import arrow_type, contract
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest
from jobs.lake.tables import (
    CONTENT,
    EXAMPLES,
    ITEM,
    LABELS,
    SHARDS,
    SHOWN,
    TOWERS,
    USER,
    USER_ITEM,
    WINDOW_CF,
)
from jobs.numeric.arrays import Column, find_sorted
from jobs.ranking.heads import BASE_FACTS
from jobs.ranking.pair_features import FEATURES, ranking_features
from jobs.spark.shards import write_shards

COLUMN_OF_LABELS = {
    "purchase": "purchased",
    "view_count": "view_count",
    "cart_count": "cart_count",
    "dwell_s": "dwell_s",
    "revenue_minor": "revenue_minor",
}
"""Columns of the examples that say what happened, and the columns of marts/labels that they come from."""
SHOWN_FACTS = ("place", "followed")
"""Facts that come from marts/shown."""
INPUTS = (ITEM, USER, USER_ITEM, WINDOW_CF, CONTENT, TOWERS)


@dataclass(frozen=True)
class ExampleShard:
    """Yields `marts/examples` of one user shard; sent to other processes."""

    lake: Lake
    ds: date
    candidates_per_user: int
    taste_decay_days: float
    without: str | None = None
    """A source that is left out, to measure its worth."""

    def __call__(self, shard: int) -> Iterator[pa.RecordBatch]:
        """Yield a record batch for each batch of users that have a label."""
        labels = self.lake.shard(LABELS, self.ds, shard)
        if not len(labels):
            return
        sources = load_sources(self.lake, self.ds, self.taste_decay_days, WINDOW_CF)
        users = pc.unique(labels["user_id"])
        for batch in load_shoppers(self.lake, self.ds, shard, len(sources.catalogue), only=users).batches():
            batch_candidates = candidates(batch, sources, self.candidates_per_user, self.without)
            user, item = batch_candidates.user, batch_candidates.item
            matrix = ranking_features(batch, batch_candidates, sources)
            columns = {
                "user_id": batch.user_id.take(pa.array(user)),
                "item_pos": pa.array(item, pa.int32()),
                "sources": pa.array(batch_candidates.sources, pa.int32()),
                "features": pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), len(FEATURES)).cast(
                    pa.list_(pa.float32())
                ),
                **labels_of(labels, batch.user_id, user, item, len(sources.catalogue)),
            }
            # Columns are taken by position, not by name.
            names = [column.name for column in contract(EXAMPLES).stored_columns]
            yield pa.RecordBatch.from_pydict({name: columns[name] for name in names})


def labels_of(
    labels: pa.Table,
    user_id: pa.Array,
    user: npt.NDArray[np.int64],
    item: npt.NDArray[np.int32],
    n_items: int,
) -> dict[str, pa.Array]:
    """Return what happened to each (user, item) in the horizon, by column of marts/examples; unknown is 0.

    `user` are numbers in `user_id`, and `item` positions in a catalogue of `n_items`.
    """
    row = label_rows(labels, user_id, user, item, n_items)
    hit = row >= 0
    columns: dict[str, pa.Array] = {"interaction": pa.array(hit.astype(np.int32))}
    types = {column.name: arrow_type(column.type) for column in contract(EXAMPLES).stored_columns}
    for name, column in COLUMN_OF_LABELS.items():
        known = pc.fill_null(labels[column].cast(types[name]), 0).to_numpy()
        values = np.zeros(len(row), dtype=known.dtype)
        values[hit] = known[row[hit]]
        columns[name] = pa.array(values)
    return columns


def label_rows(
    labels: pa.Table,
    user_id: pa.Array,
    user: npt.NDArray[np.int64],
    item: npt.NDArray[np.int32],
    n_items: int,
) -> npt.NDArray[np.int64]:
    """Return the row of `labels` for each (user, item), -1 if there is none."""
    owner = pc.index_in(labels["user_id"], value_set=user_id)
    rows = np.flatnonzero(pc.is_valid(owner).to_numpy())
    keys = pc.fill_null(owner, 0).to_numpy().astype(np.int64)[rows] * n_items + labels["item_pos"].to_numpy()[rows]
    order = np.argsort(keys, kind="stable")
    wanted = user * n_items + item
    row = find_sorted(keys[order], wanted)
    row[row >= 0] = rows[order][row[row >= 0]]
    return row


def build(lake: Lake, ds: date, parameters: Parameters) -> Manifest:
    """Build the examples of one as-of day, unless they are already built from the same inputs and parameters.

    Raises:
        MissingPartitionError: the day's features, artifacts or labels were not built.
    """
    inputs, chosen = lake.fingerprints(ds, *INPUTS, LABELS), candidate_parameters(parameters)

    def write() -> Manifest:
        return write_shards(lake, EXAMPLES, ds, ExampleShard(lake, ds, **chosen), inputs=inputs, parameters=chosen)

    return lake.build_if_stale(EXAMPLES, ds, inputs, chosen, write)


@dataclass(frozen=True)
class Window:
    """A training window: examples as of day `ds`, in the night's lake or in the lake without the held-out pairs."""

    lake: Lake
    ds: date
    calibrates: bool = False
    """Heads are calibrated on it, and none is trained on it."""


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
    labels: dict[str, Column]
    """What happened, by column; `place` and `followed` are those of the pair's first exposure."""


def load_examples(lake: Lake, ds: date, facts: Sequence[str] = BASE_FACTS) -> Examples:
    """Load the examples of one as-of day, shard after shard, with these columns of what happened.

    Raises:
        MissingPartitionError: they were not built.
    """
    columns = ["user_id", "item_pos", "sources", "features", *(name for name in facts if name not in SHOWN_FACTS)]
    rows = pa.concat_tables([lake.shard(EXAMPLES, ds, shard, columns) for shard in range(SHARDS)])
    return examples_of(rows, facts, load_shown(lake, ds))


def load_shown(lake: Lake, ds: date) -> pa.Table | None:
    """Load `marts/shown` of one as-of day; None if it was not built."""
    if lake.find_manifest(SHOWN, ds) is None:
        return None
    return pa.concat_tables([lake.shard(SHOWN, ds, shard) for shard in range(SHARDS)])


def examples_of(rows: pa.Table, facts: Sequence[str] = BASE_FACTS, shown: pa.Table | None = None) -> Examples:
    """Return rows of `marts/examples` as flat arrays, with these columns of what happened.

    `place` is the 1-based place on the shelf, 0 for what was not shown; `followed` is 1 or 0.
    """
    table = rows.combine_chunks()
    encoded = table["user_id"].combine_chunks().dictionary_encode()
    examples = Examples(
        user=encoded.indices.to_numpy().astype(np.int64),
        user_id=encoded.dictionary,
        item=table["item_pos"].to_numpy(),
        sources=table["sources"].to_numpy(),
        features=table["features"].combine_chunks().flatten().to_numpy().reshape(-1, len(FEATURES)),
        labels={name: table[name].to_numpy() for name in facts if name not in SHOWN_FACTS},
    )
    if set(facts).isdisjoint(SHOWN_FACTS):
        return examples
    return replace(examples, labels=examples.labels | _shown_facts(examples, shown))


def _shown_facts(examples: Examples, shown: pa.Table | None) -> dict[str, npt.NDArray[np.int32]]:
    """Return the columns SHOWN_FACTS."""
    place, followed = (np.zeros(len(examples.user), dtype=np.int32) for _ in SHOWN_FACTS)
    if shown is not None:
        shown = shown.combine_chunks()
        n_items = 1 + max(int(examples.item.max(initial=0)), pc.max(shown["item_pos"]).as_py() or 0)
        row = label_rows(shown, examples.user_id, examples.user, examples.item, n_items)
        hit = row >= 0
        place[hit] = shown["position"].to_numpy()[row[hit]] + 1
        followed[hit] = shown["followed"].to_numpy()[row[hit]]
    return dict(zip(SHOWN_FACTS, (place, followed), strict=True))
