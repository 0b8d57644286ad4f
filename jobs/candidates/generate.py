"""Build `marts/candidates` for one day: the items worth ranking for every shopper, from many sources.

    topshelf stage candidates --ds 2026-01-31

One row a user; its candidates are arrays in order of item position, which the ranker reads as flat columns.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa

from jobs.candidates.candidate_set import Candidates, to_arrow
from jobs.candidates.eligibility import Eligibility, load_eligibility
from jobs.candidates.fusion import best_fused, listed_items
from jobs.candidates.kept import load_kept
from jobs.candidates.lists import plain_lists, scored_lists
from jobs.candidates.sources import Sources, load_sources, score
from jobs.config.parameters import Parameters
from jobs.features.shoppers import ShopperHistories, shopper_batches
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest
from jobs.lake.tables import CANDIDATES, CF, CONTENT, ITEM, TOP_N, TOWERS, USER, USER_ITEM
from jobs.spark.shards import write_shards

INPUTS = (ITEM, USER, USER_ITEM, CF, CONTENT, TOWERS)
SCORES_OF = {
    "als": ("als",),
    "two_tower": ("two_tower",),
    "item_item": ("item_item",),
    "ease": ("ease", "ease_ordered"),
    "follows": ("follows",),
    "content": ("content", "taste", "taste_last"),
}
"""The scores that are left out with their source; the others belong to no source."""


class GenerationParameters(TypedDict):
    """The parameters that shape candidates, of the night and of training examples."""

    candidates_per_user: int
    taste_decay_days: float


def candidates(
    shoppers: ShopperHistories,
    sources: Sources,
    per_user: int,
    without: str | None = None,
    *,
    eligibility: Eligibility | None = None,
) -> Candidates:
    """Return each user's `per_user` candidates with the highest scores by reciprocal rank fusion, or fewer.

    Args:
        shoppers: the users, and the histories that their candidates come from.
        sources: what lists are drawn from.
        per_user: the most candidates a user may have.
        without: a source to leave out, with its scores, to measure its worth (`jobs.evaluation.ablation`).
        eligibility: a user's ineligible items leave the lists before fusion, so that others take their places.
    """
    shopper_scores = score(shoppers, sources)
    lists = plain_lists(shoppers, sources) | scored_lists(shoppers, sources, shopper_scores)
    listed = listed_items({name: ranked for name, ranked in lists.items() if name != without})
    if eligibility is not None:
        listed = listed.where(eligibility.is_eligible(shoppers, listed.user, listed.item))
    fused = best_fused(listed, len(sources.catalogue), per_user)
    scores = shopper_scores.at(sources, fused.user, fused.item)
    silent = {name: np.zeros_like(scores[name]) for name in SCORES_OF.get(without or "", ())}
    return Candidates(
        user=fused.user, item=fused.item, source=fused.source, sources=fused.sources, scores=scores | silent
    )


@dataclass(frozen=True)
class CandidateShard:
    """Yields `marts/candidates` of one user shard; sent to other processes."""

    lake: Lake
    ds: date
    candidates_per_user: int
    taste_decay_days: float
    rules: Mapping[str, Any] = field(default_factory=dict)
    dormant_days: int = 0
    """Shoppers without an event for more days get no candidates; with 0, everybody gets some."""
    since: date | None = None
    """Shoppers who keep their shelf of this day get none either."""

    def __call__(self, shard: int) -> Iterator[pa.RecordBatch]:
        """Yield a record batch for each batch of users."""
        sources = load_sources(self.lake, self.ds, self.taste_decay_days)
        eligibility = load_eligibility(self.lake, self.ds, self.rules)
        if eligibility is not None:
            sources = sources.without(eligibility.blocked)
        item_id, n_items = sources.catalogue.item_id, len(sources.catalogue)
        kept = None
        if self.since is not None:
            kept = load_kept(self.lake, self.ds, self.since, shard, item_id, eligibility, self.dormant_days)
        start = 0
        for batch in shopper_batches(self.lake, self.ds, shard, n_items):
            awake = batch.awake(self.dormant_days)
            if kept is not None:
                awake = awake & ~kept.users[start : start + len(batch)]
            start += len(batch)
            of_awake = candidates(batch.where(awake), sources, self.candidates_per_user, eligibility=eligibility)
            yield to_arrow(batch.user_id, replace(of_awake, user=np.flatnonzero(awake)[of_awake.user]))


def candidate_parameters(parameters: Parameters) -> GenerationParameters:
    """Return the parameters that shape candidates; a user has at least as many as the shelf is long."""
    return {
        "candidates_per_user": max(parameters.candidates.per_user, parameters.shelves.top_n),
        "taste_decay_days": parameters.candidates.taste_decay_days,
    }


def chosen_parameters(parameters: Parameters) -> dict[str, object]:
    """Return the parameters of the day's candidates."""
    return {
        **candidate_parameters(parameters),
        "rules": parameters.rules,
        "dormant_days": parameters.shelves.dormant.after_days,
    }


def build(lake: Lake, ds: date, parameters: Parameters, since: date | None = None) -> Manifest:
    """Build the candidates of one day, unless they stand already, made of the same.

    Shoppers who keep their shelf of the day `since` have none.

    Raises:
        MissingPartitionError: the day's features or artifacts were not built.
    """
    dormant_days = parameters.shelves.dormant.after_days
    inputs = lake.fingerprints(ds, *INPUTS)
    if since is not None:
        inputs |= lake.fingerprints(since, USER, TOP_N)
    shape, chosen = candidate_parameters(parameters), chosen_parameters(parameters)
    shard = CandidateShard(lake, ds, **shape, rules=parameters.rules, dormant_days=dormant_days, since=since)

    def write() -> Manifest:
        return write_shards(lake, CANDIDATES, ds, shard, inputs=inputs, parameters=chosen)

    return lake.build_if_stale(CANDIDATES, ds, inputs, chosen, write)
