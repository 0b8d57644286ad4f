"""Build `marts/candidates` for one day: for every shopper, items worth ranking, from many sources, merged.

    topshelf stage candidates --ds 2026-01-31

One row a user, its candidates as arrays in order of item position: what the ranker reads as flat columns.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession

from jobs.candidates.candidate_set import Candidates, to_arrow
from jobs.candidates.eligibility import Withheld, load_withheld
from jobs.candidates.fusion import merged_lists
from jobs.candidates.lists import LISTED, QUOTA, Triple, by_towers, nearest_unseen, plain_lists, strongest
from jobs.candidates.sources import Sources, load_sources, score
from jobs.config.parameters import Parameters
from jobs.features.shoppers import ShopperHistories, load_shoppers
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest
from jobs.lake.tables import CANDIDATES, CF, CONTENT, TOWERS
from jobs.numeric.arrays import pair_keys
from jobs.spark.shards import map_shards

INPUTS = ("features/item", "features/user", "features/user_item", CF, CONTENT, TOWERS)
SCORES_OF = {
    "als": ("als",),
    "two_tower": ("two_tower",),
    "item_item": ("item_item",),
    "ease": ("ease", "ease_whole"),
    "content": ("content", "taste", "taste_last"),
}
"""The scores that go where their source goes; the others are no source's own."""


def candidates(
    shoppers: ShopperHistories,
    sources: Sources,
    per_user: int,
    without: str | None = None,
    *,
    withheld: Withheld | None = None,
) -> Candidates:
    """Return up to `per_user` candidates a user, those that most sources rank highest (reciprocal rank fusion).

    `without` names a source that is left out, with its scores, to learn what it is worth
    (`jobs.evaluation.ablation`). What is withheld from a user by rules is taken from the sources' lists, so that
    others come up in its place.
    """
    n_items = len(sources.catalogue)
    scored = score(shoppers, sources)
    seen = pair_keys(shoppers.history_user(), shoppers.history["item_pos"], n_items)
    lists = {
        **plain_lists(shoppers, sources),
        "als": nearest_unseen(sources.index, scored.factors, seen, n_items, QUOTA["als"]),
        "two_tower": by_towers(scored, sources, seen),
        **{name: strongest(scored.by_neighbours[name], seen, QUOTA[name]) for name in LISTED},
    }
    lists.pop(without or "", None)
    if withheld is not None:
        lists = {name: _kept(withheld, shoppers, found) for name, found in lists.items()}
    user, item, source, brought = merged_lists(lists, n_items, per_user)
    scores = scored.at(sources, user, item)
    silent = {name: np.zeros_like(scores[name]) for name in SCORES_OF.get(without or "", ())}
    return Candidates(
        user=user,
        item=item,
        source=source,
        sources=brought,
        scores=scores | silent,
    )


def _kept(withheld: Withheld, shoppers: ShopperHistories, found: Triple) -> Triple:
    kept = withheld.kept(shoppers, found[0], found[1])
    return found[0][kept], found[1][kept], found[2][kept]


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


def candidate_parameters(parameters: Parameters) -> dict[str, Any]:
    """Return the parameters that shape candidates: a shelf needs as many as it is long."""
    return {
        "candidates_per_user": max(parameters.candidates.per_user, parameters.shelves.top_n),
        "taste_decay_days": parameters.candidates.taste_decay_days,
    }


def build(spark: SparkSession, lake: Lake, ds: date, parameters: Parameters) -> Manifest:
    """Build one day, unless it stands already, made of the same.

    Raises:
        MissingPartitionError: the day's features or CF artifact were not built.
    """
    inputs, chosen = lake.fingerprints(ds, *INPUTS), candidate_parameters(parameters)
    chosen |= {"rules": parameters.rules, "dormant_days": parameters.shelves.dormant.after_days}

    def write() -> Manifest:
        frame = map_shards(spark, CANDIDATES, CandidateShard(lake, ds, **chosen))
        return lake.write(frame, CANDIDATES, ds, inputs=inputs, parameters=chosen, in_shards=True)

    return lake.build_if_stale(CANDIDATES, ds, inputs, chosen, write)
