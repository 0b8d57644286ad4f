"""Build `marts/top_n` for one day: score every candidate, keep each shopper's best N, and give the reasons.

topshelf stage rank --ds 2026-01-31 --top-n 100
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession

from jobs.candidates.candidate_set import Candidates, from_arrow
from jobs.candidates.eligibility import Eligibility, load_eligibility
from jobs.candidates.sources import Sources, load_sources
from jobs.config.parameters import Parameters
from jobs.features.shoppers import ShopperHistories, load_shoppers
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest
from jobs.lake.tables import CANDIDATES, CF, CONTENT, ITEM, RANKER, TOP_N, USER, USER_ITEM
from jobs.numeric.arrays import Values, Whole, rank_in_group
from jobs.ranking.coarse_cut import coarse_cut, coarse_keep
from jobs.ranking.pair_features import COARSE_FEATURES, ranking_features
from jobs.ranking.ranker import Ranker, load_ranker
from jobs.shelves.blend import Blend, NewItemBoost, blended
from jobs.shelves.dormant import Dormancy, ShelfPlaces, fused_shelves
from jobs.shelves.reasons import reasons
from jobs.spark.shards import map_shards
from serving.snapshot.record import REASON_CODES, SOURCES

INPUTS = (ITEM, USER, USER_ITEM, CF, CONTENT, CANDIDATES, RANKER)
VARIANT = "base"
BY_VALUE = Blend()
NO_BOOST = NewItemBoost()
NOBODY_DORMANT = Dormancy()


@dataclass(frozen=True)
class ShelfPolicy:
    """How shelves are made of scored candidates."""

    top_n: int
    blend: Blend = BY_VALUE
    boost: NewItemBoost = NO_BOOST
    dormancy: Dormancy = NOBODY_DORMANT
    coarse_keep: int | None = None
    """This many of a user's candidates reach the fine ranker; None for all."""

    @classmethod
    def from_parameters(cls, parameters: Parameters) -> "ShelfPolicy":
        """Return the policy that a shop's parameters describe."""
        shelves = parameters.shelves
        return cls(
            top_n=shelves.top_n,
            blend=Blend(shelves.blend.mmr_lambda, shelves.blend.places, shelves.blend.max_per.caps()),
            boost=NewItemBoost(shelves.new_items.boost, shelves.new_items.boost_days),
            dormancy=Dormancy(shelves.dormant.after_days, shelves.dormant.shelf),
            coarse_keep=coarse_keep(parameters),
        )

    def values(self) -> dict[str, object]:
        """Return the policy as a manifest lists it, under one name each."""
        parts = asdict(self.blend) | asdict(self.boost) | asdict(self.dormancy)
        return {"top_n": self.top_n, "coarse_keep": self.coarse_keep} | parts


def top_n(
    shoppers: ShopperHistories,
    candidates: Candidates,
    sources: Sources,
    ranker: Ranker,
    n: int,
    blend: Blend = BY_VALUE,
    boost: NewItemBoost = NO_BOOST,
    keep: int | None = None,
) -> tuple[Whole, Whole, Values]:
    """Return (row of `candidates`, rank from 1, value) of each user's best `n`, in order of (user, rank).

    Rows are ordered by value, which includes the boost of new items, ties by item position. Then `blend` reorders the
    head of each shelf; a row keeps its value. With `keep`, only that many of a user's candidates are scored:
    the coarse cut chooses them.
    """
    rows = np.arange(len(candidates.user))
    if keep is not None and ranker.coarse is not None:
        coarse = ranker.coarse_score(ranking_features(shoppers, candidates, sources, COARSE_FEATURES))
        rows = coarse_cut(coarse, candidates.user, candidates.item, keep)
    user, item = candidates.user[rows], candidates.item[rows]
    value = ranker.value(ranking_features(shoppers, candidates, sources, rows=rows))
    value = boost.boosted(value, sources.catalogue.columns["age_days"][item])
    order = np.lexsort((item, -value, user))
    order = blended(user, item, value, order, sources.catalogue, sources.item_vectors, blend)
    rank = rank_in_group(user[order]) + 1
    placed = rank <= n
    return rows[order[placed]], rank[placed], value[order[placed]]


@dataclass(frozen=True)
class RankShard:
    """Yields `marts/top_n` of one user shard; sent to the executors."""

    lake: Lake
    ds: date
    policy: ShelfPolicy
    taste_decay_days: float
    candidate_count: int = 0
    """Most candidates of all shards together: it decides whether compiling the ranker pays."""
    rules: Mapping[str, object] = field(default_factory=dict)

    def __call__(self, shard: int) -> Iterator[pa.RecordBatch]:
        """Yield a record batch for each batch of users."""
        sources = load_sources(self.lake, self.ds, self.taste_decay_days)
        eligibility = load_eligibility(self.lake, self.ds, self.rules)
        if eligibility is not None:
            sources = sources.without(eligibility.blocked)
        ranker = load_ranker(self.lake, self.ds, self.candidate_count)
        shoppers = load_shoppers(self.lake, self.ds, shard, len(sources.catalogue))
        stored = self.lake.shard(CANDIDATES, self.ds, shard)
        start = 0
        for batch in shoppers.batches():
            candidates = from_arrow(stored.slice(start, len(batch)))
            start += len(batch)
            places = self.shelves(batch, candidates, sources, ranker, eligibility)
            yield shelf_rows(batch, places, sources, eligibility)

    def shelves(
        self,
        batch: ShopperHistories,
        candidates: Candidates,
        sources: Sources,
        ranker: Ranker,
        eligibility: Eligibility | None,
    ) -> ShelfPlaces:
        """Return the shelves of a batch of users, dormant ones included, with eligible items only."""
        policy = self.policy
        awake = batch.awake(policy.dormancy.dormant_days)
        if not awake.all():
            candidates = candidates.where(awake[candidates.user])
        if eligibility is not None:
            candidates = candidates.where(eligibility.is_eligible(batch, candidates.user, candidates.item))
        row, rank, value = top_n(
            batch, candidates, sources, ranker, policy.top_n, policy.blend, policy.boost, policy.coarse_keep
        )
        ranked = ShelfPlaces(candidates.user[row], candidates.item[row], rank, value, candidates.source[row])
        if awake.all() or policy.dormancy.dormant_shelf == "segment":
            return ranked
        return ranked.merged_with(fused_shelves(batch, sources, ~awake, policy.top_n, eligibility))


def shelf_rows(
    batch: ShopperHistories, places: ShelfPlaces, sources: Sources, eligibility: Eligibility | None
) -> pa.RecordBatch:
    """Return the places as rows of `marts/top_n`; a reason names no item that the user is too young for."""
    code, reason_item = reasons(batch, sources, places.user, places.item, places.source)
    if eligibility is not None:
        of_age = eligibility.is_of_age(batch, places.user, np.maximum(reason_item, 0))
        reason_item = np.where(of_age, reason_item, -1)
    return pa.RecordBatch.from_pydict(
        {
            "variant": pa.repeat(VARIANT, len(places.user)),
            "user_id": batch.user_id.take(pa.array(places.user)),
            "rank": pa.array(places.rank, pa.int32()),
            "item_id": sources.catalogue.item_id.take(pa.array(places.item)),
            "score": pa.array(places.value),
            "source": pa.array(SOURCES).take(pa.array(places.source)),
            "reason_code": pa.array(REASON_CODES).take(pa.array(code)),
            "reason_item_id": sources.catalogue.item_id.take(pa.array(reason_item, mask=reason_item < 0)),
        }
    )


def build(spark: SparkSession, lake: Lake, ds: date, parameters: Parameters, identity: str) -> Manifest:
    """Build the shelves of one day, unless they are already built from the same inputs and parameters.

    `identity` is the night's run id, which the manifest keeps.

    Raises:
        MissingPartitionError: the day's candidates or ranker were not built.
    """
    policy = ShelfPolicy.from_parameters(parameters)
    inputs = lake.fingerprints(ds, *INPUTS)
    chosen = policy.values() | {"run_id": identity, "rules": parameters.rules}

    def write() -> Manifest:
        candidate_count = (lake.manifest(CANDIDATES, ds).row_count or 0) * parameters.candidates.per_user
        load_ranker(lake, ds, candidate_count)  # compiles once, before the workers of this machine start together
        shard = RankShard(lake, ds, policy, parameters.candidates.taste_decay_days, candidate_count, parameters.rules)
        frame = map_shards(spark, TOP_N, shard)
        return lake.write(frame, TOP_N, ds, inputs=inputs, parameters=chosen, in_shards=True)

    return lake.build_if_stale(TOP_N, ds, inputs, chosen, write)
