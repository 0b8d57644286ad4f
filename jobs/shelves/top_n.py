"""Build `marts/top_n` for one day: score every candidate, keep each shopper's best N, and give the reasons.

topshelf stage rank --ds 2026-01-31 --top-n 100
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date

import numpy as np
import pyarrow as pa

from jobs.candidates.candidate_set import Candidates, from_arrow
from jobs.candidates.eligibility import Eligibility, load_eligibility
from jobs.candidates.generate import chosen_parameters
from jobs.candidates.kept import Kept, load_kept
from jobs.candidates.sources import Sources, load_sources
from jobs.config.calendar import sunday_of
from jobs.config.parameters import Parameters
from jobs.experiments.running import NO_EXPERIMENTS, RunningExperiments, running_for
from jobs.features.shoppers import BATCH_USERS, ShopperHistories, shopper_batches
from jobs.lake.code_version import builder_version
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest, as_json
from jobs.lake.tables import CANDIDATES, CF, CONTENT, ITEM, RANKER, TOP_N, USER, USER_ITEM
from jobs.numeric.arrays import Flags, Values, Whole, rank_in_group
from jobs.ranking.coarse_cut import coarse_cut, coarse_keep
from jobs.ranking.pair_features import COARSE_FEATURES, ranking_features
from jobs.ranking.ranker import Ranker, available_terms, compile_ranker, load_ranker
from jobs.shelves.blend import Blend, NewItemBoost, blended
from jobs.shelves.dormant import Dormancy, ShelfPlaces, fused_shelves
from jobs.shelves.reasons import reasons
from jobs.spark.shards import write_shards
from serving.snapshot.experiments import BASE
from serving.snapshot.record import REASON_CODES, SOURCES

INPUTS = (ITEM, USER, USER_ITEM, CF, CONTENT, CANDIDATES, RANKER)
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
        rows = coarse_cut(coarse, candidates.user, keep)
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
    """Yields `marts/top_n` of one user shard; sent to other processes."""

    lake: Lake
    ds: date
    parameters: Parameters
    candidate_count: int = 0
    """Most candidates of all shards together: it decides whether compiling the ranker pays."""
    running: RunningExperiments = NO_EXPERIMENTS
    since: date | None = None
    """Shoppers of whom nothing has changed since this day keep its shelf."""

    def __call__(self, shard: int) -> Iterator[pa.RecordBatch]:
        """Yield a record batch for each batch of users and each variant that some of them need."""
        sources = load_sources(self.lake, self.ds, self.parameters.candidates.taste_decay_days)
        eligibility = load_eligibility(self.lake, self.ds, self.parameters.rules)
        if eligibility is not None:
            sources = sources.without(eligibility.blocked)
        ranker = load_ranker(self.lake, self.ds, self.candidate_count)
        shoppers = shopper_batches(self.lake, self.ds, shard, len(sources.catalogue))
        stored = self.lake.shard_batches(CANDIDATES, self.ds, shard, BATCH_USERS)
        ways: dict[str, _Way] = {}
        kept = self._kept(shard, sources, eligibility)
        start = 0
        for batch, rows_of_batch in zip(shoppers, stored, strict=True):
            candidates = from_arrow(rows_of_batch)
            of_batch = kept.of(start, start + len(batch)) if kept else None
            start += len(batch)
            for variant, users in self.users_by_variant(batch):
                if variant not in ways:
                    ways[variant] = self._way(variant, ranker)
                way, of_users = ways[variant], candidates if users.all() else candidates.where(users[candidates.user])
                for rules in way.rules:
                    of_users = of_users.where(rules.is_eligible(batch, of_users.user, of_users.item))
                places = shelves(batch, of_users, sources, way.ranker, eligibility, way.policy, users)
                rows = shelf_rows(batch, places, sources, eligibility, variant)
                yield rows if of_batch is None else with_kept(rows, places.user, *of_batch)

    def _kept(self, shard: int, sources: Sources, eligibility: Eligibility | None) -> Kept | None:
        if self.since is None:
            return None
        dormant_days = self.parameters.shelves.dormant.after_days
        item_id = sources.catalogue.item_id
        return load_kept(self.lake, self.ds, self.since, shard, item_id, eligibility, dormant_days)

    def users_by_variant(self, batch: ShopperHistories) -> Iterator[tuple[str, Flags]]:
        """Yield each variant that a user of the batch needs, and which do."""
        if not self.running.makes_shelves:
            yield BASE, np.ones(len(batch), np.bool_)
            return
        needed = [set(self.running.assigner.night_variants(user)) for user in batch.user_id.to_pylist()]
        for variant in sorted(set().union(*needed)):
            yield variant, np.array([variant in variants for variants in needed], np.bool_)

    def _way(self, variant: str, ranker: Ranker) -> "_Way":
        parameters = self.running.parameters_of(variant, self.parameters)
        weights = available_terms(parameters.ranking.head_weight.positive(), ranker.heads)
        if variant != BASE:
            ranker = replace(ranker, weights=weights, order_tilt=parameters.ranking.order_tilt)
        beside = (load_eligibility(self.lake, self.ds, rules) for rules in self.running.rules_of(variant))
        return _Way(ShelfPolicy.from_parameters(parameters), ranker, [rules for rules in beside if rules is not None])


@dataclass(frozen=True)
class _Way:
    """How the shelves of one variant are made."""

    policy: ShelfPolicy
    ranker: Ranker
    rules: Sequence[Eligibility]
    """Beside the shop's own rules."""


def shelves(
    batch: ShopperHistories,
    candidates: Candidates,
    sources: Sources,
    ranker: Ranker,
    eligibility: Eligibility | None,
    policy: ShelfPolicy,
    users: Flags | None = None,
) -> ShelfPlaces:
    """Return the shelves of a batch, dormant users included, with eligible items only.

    With `users` [len(batch)], only theirs; then `candidates` are theirs alone.
    """
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
    dormant = ~awake if users is None else users & ~awake
    return ranked.merged_with(fused_shelves(batch, sources, dormant, policy.top_n, eligibility))


def shelf_rows(
    batch: ShopperHistories,
    places: ShelfPlaces,
    sources: Sources,
    eligibility: Eligibility | None,
    variant: str = BASE,
) -> pa.RecordBatch:
    """Return the places as rows of `marts/top_n`; a reason names no item that the user is too young for."""
    code, reason_item = reasons(batch, sources, places.user, places.item, places.source)
    if eligibility is not None:
        of_age = eligibility.is_of_age(batch, places.user, np.maximum(reason_item, 0))
        reason_item = np.where(of_age, reason_item, -1)
    return pa.RecordBatch.from_pydict(
        {
            "variant": pa.repeat(variant, len(places.user)),
            "user_id": batch.user_id.take(pa.array(places.user)),
            "rank": pa.array(places.rank, pa.int32()),
            "item_id": sources.catalogue.item_id.take(pa.array(places.item)),
            "score": pa.array(places.value),
            "source": pa.array(SOURCES).take(pa.array(places.source)),
            "reason_code": pa.array(REASON_CODES).take(pa.array(code)),
            "reason_item_id": sources.catalogue.item_id.take(pa.array(reason_item, mask=reason_item < 0)),
        }
    )


def with_kept(rows: pa.RecordBatch, user: Whole, kept: pa.Table, kept_user: Whole) -> pa.RecordBatch:
    """Return rows of ranked users and rows that others keep, in order of the users' places in the batch."""
    both = pa.concat_tables([pa.Table.from_batches([rows]), kept.select(rows.schema.names).cast(rows.schema)])
    order = np.argsort(np.concatenate([user, kept_user]), kind="stable")
    return both.take(pa.array(order)).combine_chunks().to_batches()[0] if len(both) else rows


def kept_since(lake: Lake, ds: date, parameters: Parameters) -> date | None:
    """Return the week's Sunday if shoppers of whom nothing has changed since keep its shelves, else None.

    They do with `shelves.quiet = "kept"`, where the Sunday's night stands, made by the same ranker, parameters, rules
    and code, and no experiment runs.
    """
    sunday = sunday_of(ds)
    if parameters.shelves.quiet == "ranked" or sunday == ds or running_for(parameters.experiments, ds):
        return None
    shelves, candidates = (lake.find_manifest(table, sunday) for table in (TOP_N, CANDIDATES))
    if shelves is None or candidates is None or lake.find_manifest(USER, sunday) is None:
        return None
    chosen = _chosen(ShelfPolicy.from_parameters(parameters), parameters, str(shelves.parameters.get("run_id")))
    is_same = (
        shelves.parameters == as_json(chosen)
        and candidates.parameters == as_json(chosen_parameters(parameters))
        and shelves.inputs.get(f"{RANKER}/ds={sunday}") == lake.manifest(RANKER, ds).fingerprint
        and all(made.code == builder_version(made.name).digest for made in (shelves, candidates))
    )
    return sunday if is_same else None


def _chosen(policy: ShelfPolicy, parameters: Parameters, identity: str) -> dict[str, object]:
    return policy.values() | {"run_id": identity, "rules": parameters.rules}


def build(lake: Lake, ds: date, parameters: Parameters, identity: str, since: date | None = None) -> Manifest:
    """Build the shelves of one day, unless they are already built from the same inputs and parameters.

    `identity` is the night's run id, which the manifest keeps. `since` is what `kept_since` returned before the day's
    candidates were built.

    Raises:
        MissingPartitionError: the day's candidates or ranker were not built.
    """
    policy = ShelfPolicy.from_parameters(parameters)
    running = running_for(parameters.experiments, ds)
    inputs = lake.fingerprints(ds, *INPUTS)
    chosen = _chosen(policy, parameters, identity)
    if since is not None:
        inputs |= lake.fingerprints(since, USER, TOP_N)
    if running:
        chosen["experiments"] = running.as_parameters()

    def write() -> Manifest:
        candidate_count = (lake.manifest(CANDIDATES, ds).row_count or 0) * parameters.candidates.per_user
        compile_ranker(lake, ds, candidate_count)
        shard = RankShard(lake, ds, parameters, candidate_count, running, since)
        return write_shards(lake, TOP_N, ds, shard, inputs=inputs, parameters=chosen)

    return lake.build_if_stale(TOP_N, ds, inputs, chosen, write)
