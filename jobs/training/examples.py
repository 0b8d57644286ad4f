"""Build `marts/examples` for one as-of day: candidates as the night makes them, with what happened afterwards.

    topshelf stage label_windows --ds 2026-01-17

Features are as of the day; labels are the events of the horizon after it (14 days by default). Only shoppers with an
event in the horizon become examples: without one there is nothing to order. Of about WHOLE_USERS of them all
candidates are kept, to judge and to calibrate by; of the others only what the heads learn from.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import Enum
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from jobs.candidates.generate import candidate_parameters, candidates
from jobs.candidates.sources import load_sources
from jobs.config.parameters import Parameters
from jobs.features.shoppers import shopper_batches
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
from jobs.numeric.arrays import Column, Flags, Floats, find_sorted
from jobs.numeric.draws import uniform
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
WHOLE_USERS = 3_000
"""Of about so many shoppers of a window, all candidates are examples."""
MOST_SAMPLED = 500_000
"""A window that trains is loaded whole up to about so many examples."""
INPUTS = (ITEM, USER, USER_ITEM, WINDOW_CF, CONTENT, TOWERS)


@dataclass(frozen=True)
class ExampleShard:
    """Yields `marts/examples` of one user shard; sent to other processes."""

    lake: Lake
    ds: date
    candidates_per_user: int
    taste_decay_days: float
    seed: int = 0
    negative_share: float = 1.0
    """Share of candidates without a label that are examples, of a shopper who is not whole."""
    whole_share: float = 1.0
    """Share of shoppers who are whole: all of their candidates are examples."""
    without: str | None = None
    """A source that is left out, to measure its worth."""

    def __call__(self, shard: int) -> Iterator[pa.RecordBatch]:
        """Yield a record batch for each batch of users that have a label."""
        labels = self.lake.shard(LABELS, self.ds, shard)
        if not len(labels):
            return
        sources = load_sources(self.lake, self.ds, self.taste_decay_days, WINDOW_CF)
        has_shown = self.lake.find_manifest(SHOWN, self.ds) is not None
        shown = self.lake.shard(SHOWN, self.ds, shard) if has_shown else None
        users = pc.unique(labels["user_id"])
        for batch in shopper_batches(self.lake, self.ds, shard, len(sources.catalogue), only=users):
            batch_candidates = candidates(batch, sources, self.candidates_per_user, self.without)
            user, item = batch_candidates.user, batch_candidates.item
            happened = labels_of(labels, batch.user_id, user, item, len(sources.catalogue))
            whole, draw = self._drawn(batch.user_id, user, item)
            kept = whole[user] | (draw < self.negative_share) | (happened["interaction"].to_numpy() > 0)
            if shown is not None:
                kept |= label_rows(shown, batch.user_id, user, item, len(sources.catalogue)) >= 0
            rows = np.flatnonzero(kept)
            matrix = ranking_features(batch, batch_candidates, sources, rows=rows)
            columns = {
                "user_id": batch.user_id.take(pa.array(user[rows])),
                "item_pos": pa.array(item[rows], pa.int32()),
                "sources": pa.array(batch_candidates.sources[rows], pa.int32()),
                "is_whole": pa.array(whole[user[rows]]),
                "draw": pa.array(draw[rows]),
                "features": pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), len(FEATURES)).cast(
                    pa.list_(pa.float32())
                ),
                **{name: column.take(pa.array(rows)) for name, column in happened.items()},
            }
            # Columns are taken by position, not by name.
            names = [column.name for column in contract(EXAMPLES).stored_columns]
            yield pa.RecordBatch.from_pydict({name: columns[name] for name in names})

    def _drawn(
        self, user_id: pa.Array, user: npt.NDArray[np.int64], item: npt.NDArray[np.int32]
    ) -> tuple[Flags, Floats]:
        """Return who is whole, one flag a user, and a number drawn from [0, 1) for each (user, item)."""
        key = pd.util.hash_array(user_id.to_numpy(zero_copy_only=False)).view(np.int64)
        whole = uniform(self.seed, "whole", key) < self.whole_share
        return whole, uniform(self.seed, "example", key[user], item).astype(np.float32)


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
    has_shown = lake.find_manifest(SHOWN, ds) is not None
    inputs = lake.fingerprints(ds, *INPUTS, LABELS, *([SHOWN] if has_shown else []))
    chosen = example_parameters(parameters)

    def write() -> Manifest:
        return write_shards(lake, EXAMPLES, ds, example_shard(lake, ds, parameters), inputs=inputs, parameters=chosen)

    return lake.build_if_stale(EXAMPLES, ds, inputs, chosen, write)


def example_shard(lake: Lake, ds: date, parameters: Parameters, without: str | None = None) -> ExampleShard:
    """Return what makes the examples of one as-of day, perhaps without a source.

    Raises:
        MissingPartitionError: the day's labels were not built.
    """
    users = pc.count_distinct(lake.arrow(LABELS, ds, ["user_id"])["user_id"]).as_py()
    whole_share = min(1.0, WHOLE_USERS / max(users, 1))
    return ExampleShard(lake, ds, **example_parameters(parameters), whole_share=whole_share, without=without)


def example_parameters(parameters: Parameters) -> dict[str, Any]:
    """Return the parameters that shape examples."""
    share = parameters.training.negative_share
    return {**candidate_parameters(parameters), "seed": parameters.seed, "negative_share": share}


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
    draw: Floats
    """A number drawn from [0, 1) for each row: rows below a share are a sample of that share."""
    is_whole: Flags
    """Whether all candidates of the user are here, one flag a user."""

    @cached_property
    def is_positive(self) -> Flags:
        """Whether anything happened, one flag a row."""
        return np.asarray(np.logical_or.reduce([label > 0 for label in self.labels.values()]), dtype=np.bool_)


class Part(Enum):
    """Which examples of a window are wanted."""

    ALL = "all"
    WHOLE = "of the shoppers whose candidates are all there"
    SAMPLE = "what the heads learn from"


def load_examples(lake: Lake, ds: date, facts: Sequence[str] = BASE_FACTS, part: Part = Part.ALL) -> Examples:
    """Load the examples of one as-of day, shard after shard, with these columns of what happened.

    Raises:
        MissingPartitionError: they were not built.
    """
    columns = ["user_id", "item_pos", "sources", "is_whole", "draw", "features", "interaction", *facts]
    columns = [name for name in dict.fromkeys(columns) if name not in SHOWN_FACTS]
    manifest, shown = lake.manifest(EXAMPLES, ds), load_shown(lake, ds)
    count = manifest.row_count or 0
    rows = []
    for shard in range(SHARDS):
        of_shard = lake.shard(EXAMPLES, ds, shard, columns)
        if part is Part.WHOLE:
            of_shard = of_shard.filter(of_shard["is_whole"])
        elif part is Part.SAMPLE and count > MOST_SAMPLED:
            # What was not kept by its draw was kept by its label or its place on a shelf.
            share = pa.scalar(max(MOST_SAMPLED / count, float(str(manifest.parameters["negative_share"]))))
            kept = pc.or_(pc.less(of_shard["draw"], share), pc.greater(of_shard["interaction"], 0))
            of_shard = of_shard.filter(pc.or_(kept, pa.array(_is_shown(of_shard, shown))))
        rows.append(of_shard)
    return examples_of(pa.concat_tables(rows), facts, shown)


def _is_shown(rows: pa.Table, shown: pa.Table | None) -> Flags:
    if shown is None:
        return np.zeros(len(rows), np.bool_)
    pairs = [
        pc.binary_join_element_wise(of["user_id"], of["item_pos"].cast(pa.string()), " ") for of in (rows, shown)
    ]
    return np.asarray(pc.is_in(pairs[0], value_set=pairs[1].combine_chunks()), dtype=np.bool_)


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
        draw=table["draw"].to_numpy(),
        is_whole=np.empty(0, np.bool_),
    )
    whole = np.zeros(len(examples.user_id), np.bool_)
    whole[examples.user] = table["is_whole"].to_numpy(zero_copy_only=False)
    examples = replace(examples, is_whole=whole)
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
