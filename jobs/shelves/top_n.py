"""Build `marts/top_n` for one day: score every candidate, keep each shopper's best N, say why.

topshelf stage rank --ds 2026-01-31 --top-n 100
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import SparkSession

from jobs.candidates.candidate_set import Candidates, from_arrow
from jobs.candidates.eligibility import Withheld, load_withheld
from jobs.candidates.sources import Sources, load_sources
from jobs.config.parameters import Parameters
from jobs.features.shoppers import ShopperHistories, load_shoppers
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest
from jobs.lake.tables import CANDIDATES, RANKER, TOP_N
from jobs.numeric.arrays import rank_in_group
from jobs.ranking.coarse_cut import coarse_cut, coarse_keep
from jobs.ranking.pair_features import COARSE_FEATURES, ranking_features
from jobs.ranking.ranker import Ranker, load_ranker
from jobs.shelves.blend import Blend, NewItemBoost, blended
from jobs.shelves.dormant import FusedShelves, Tiers, fused_shelves
from jobs.shelves.reasons import reasons
from jobs.spark.shards import map_shards
from serving.snapshot.record import REASON_CODES, SOURCES

FEATURES = ("features/item", "features/user", "features/user_item")
INPUTS = (*FEATURES, "artifacts/cf", "artifacts/content", CANDIDATES, RANKER)
VARIANT = "base"
BY_VALUE = Blend()
NO_BOOST = NewItemBoost()
EVERYBODY_AWAKE = Tiers()


def top_n(
    shoppers: ShopperHistories,
    found: Candidates,
    sources: Sources,
    ranker: Ranker,
    n: int,
    blend: Blend = BY_VALUE,
    boost: NewItemBoost = NO_BOOST,
    keep: int | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return (row of `found`, rank from 1, value) of each user's best `n`, in order of (user, rank).

    Rows rank by value, the boost of new items in it, equal ones by item position, and then as `blend` orders their
    head: the value of a row stays. With `keep`, that many of a user's candidates are chosen by the coarse cut first.
    """
    rows = np.arange(len(found.user))
    if keep is not None and ranker.coarse is not None:
        coarse = ranker.coarse_score(ranking_features(shoppers, found, sources, COARSE_FEATURES))
        rows = coarse_cut(coarse, found.user, found.item, keep)
    user, item = found.user[rows], found.item[rows]
    value = ranker.value(ranking_features(shoppers, found, sources, rows=rows))
    value = boost.boosted(value, sources.catalogue.columns["age_days"][item])
    order = np.lexsort((item, -value, user))
    order = blended(user, item, value, order, sources.catalogue, sources.item_vectors, blend)
    rank = rank_in_group(user[order]) + 1
    kept = rank <= n
    return rows[order[kept]], rank[kept], value[order[kept]]


@dataclass(frozen=True)
class RankShard:
    """Yields `marts/top_n` of one user shard; sent to the executors."""

    lake: Lake
    ds: date
    n: int
    taste_decay_days: float
    rows: int
    """Candidates of all shards."""
    blend: Blend
    boost: NewItemBoost = NO_BOOST
    tiers: Tiers = EVERYBODY_AWAKE
    rules: Mapping[str, Any] = field(default_factory=dict)
    keep: int | None = None
    """So many of a user's candidates reach the fine ranker; None for all."""

    def __call__(self, shard: int) -> Iterator[pa.RecordBatch]:
        """Yield a record batch for each batch of users."""
        sources = load_sources(self.lake, self.ds, self.taste_decay_days)
        withheld = load_withheld(self.lake, self.ds, self.rules)
        if withheld is not None:
            sources = sources.without(withheld.from_everybody)
        ranker = load_ranker(self.lake, self.ds, self.rows)
        shoppers = load_shoppers(self.lake, self.ds, shard, len(sources.catalogue))
        listed = self.lake.shard(CANDIDATES, self.ds, shard)
        start = 0
        for batch in shoppers.batches():
            found = from_arrow(listed.slice(start, len(batch)))
            start += len(batch)
            shelves = self.shelves(batch, found, sources, ranker, withheld)
            yield _to_arrow(batch, shelves, sources, withheld)

    def shelves(
        self, batch: ShopperHistories, found: Candidates, sources: Sources, ranker: Ranker, withheld: Withheld | None
    ) -> FusedShelves:
        """Return the shelves of a batch of users, each as their tier has it, without what rules withhold."""
        awake = batch.awake(self.tiers.dormant_days)
        if not awake.all():
            found = found.where(awake[found.user])
        if withheld is not None:
            found = found.where(withheld.kept(batch, found.user, found.item))
        row, rank, value = top_n(batch, found, sources, ranker, self.n, self.blend, self.boost, self.keep)
        ranked = FusedShelves(found.user[row], found.item[row], rank, value, found.source[row])
        if awake.all() or self.tiers.dormant_shelf == "segment":
            return ranked
        return ranked.beside(fused_shelves(batch, sources, ~awake, self.n, withheld))


def _to_arrow(
    batch: ShopperHistories, on: FusedShelves, sources: Sources, withheld: Withheld | None
) -> pa.RecordBatch:
    """Return shelves as rows of the table, with a reason each that names nothing which rules withhold."""
    code, behind = reasons(batch, sources, on.user, on.item, on.source)
    if withheld is not None:
        behind = np.where(withheld.of_age(batch, on.user, np.maximum(behind, 0)), behind, -1)
    return pa.RecordBatch.from_pydict(
        {
            "variant": pa.repeat(VARIANT, len(on.user)),
            "user_id": batch.user_id.take(pa.array(on.user)),
            "rank": pa.array(on.rank, pa.int32()),
            "item_id": sources.catalogue.item_id.take(pa.array(on.item)),
            "score": pa.array(on.value),
            "source": pa.array(SOURCES).take(pa.array(on.source)),
            "reason_code": pa.array(REASON_CODES).take(pa.array(code)),
            "reason_item_id": sources.catalogue.item_id.take(pa.array(behind, mask=behind < 0)),
        }
    )


def build(spark: SparkSession, lake: Lake, ds: date, parameters: Parameters, identity: str) -> Manifest:
    """Build one day, unless it stands already, made of the same.

    Raises:
        MissingPartitionError: the day's candidates or ranker were not built.
    """
    shelves, rules = parameters.shelves, parameters.rules
    blend = Blend(shelves.blend.mmr_lambda, shelves.blend.places, shelves.blend.max_per.caps())
    boost = NewItemBoost(shelves.new_items.boost, shelves.new_items.boost_days)
    tiers = Tiers(shelves.dormant.after_days, shelves.dormant.shelf)
    inputs, chosen = lake.fingerprints(ds, *INPUTS), {"top_n": shelves.top_n, "run_id": identity, "rules": rules}
    keep = coarse_keep(parameters)
    chosen |= asdict(blend) | asdict(boost) | asdict(tiers) | {"coarse_keep": keep}

    def write() -> Manifest:
        rows = (lake.manifest(CANDIDATES, ds).row_count or 0) * parameters.candidates.per_user
        load_ranker(lake, ds, rows)  # compiled here, once, and not by each worker of this machine at the same time
        decay_days = parameters.candidates.taste_decay_days
        shard = RankShard(lake, ds, shelves.top_n, decay_days, rows, blend, boost, tiers, rules, keep)
        frame = map_shards(spark, TOP_N, shard)
        return lake.write(frame, TOP_N, ds, inputs=inputs, parameters=chosen, in_shards=True)

    return lake.build_if_stale(TOP_N, ds, inputs, chosen, write)
