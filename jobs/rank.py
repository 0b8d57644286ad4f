"""Build `marts/top_n` for one day: score every candidate, keep each shopper's best N, say why.

python -m jobs.rank --ds 2026-01-31 --top-n 100
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import SparkSession

from jobs.blend import Blend, NewItemBoost, blended
from jobs.candidate_sources import Sources, load_sources
from jobs.candidates import TABLE as CANDIDATES
from jobs.candidates import Candidates, from_arrow
from jobs.coarse_cut import coarse_cut, kept_per_user
from jobs.lake import Lake
from jobs.manifest import Manifest
from jobs.ranker import ARTIFACT as RANKER
from jobs.ranker import Ranker, load_ranker
from jobs.ranking_features import COARSE_FEATURES, ranking_features
from jobs.reasons import reasons
from jobs.run_identity import run_id
from jobs.settings import Parameters, stage_arguments
from jobs.shards import map_shards
from jobs.shoppers import Shoppers, load_shoppers
from jobs.spark import session
from jobs.tiers import Shelves, Tiers, fused_shelves
from jobs.withheld import Withheld, load_withheld
from serving.record import REASON_CODES, SOURCES

TABLE = "marts/top_n"
FEATURES = ("features/item", "features/user", "features/user_item")
INPUTS = (*FEATURES, "artifacts/cf", "artifacts/content", CANDIDATES, RANKER)
VARIANT = "base"
BY_VALUE = Blend()
NO_BOOST = NewItemBoost()
EVERYBODY_AWAKE = Tiers()


def top_n(
    shoppers: Shoppers,
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
    rank = np.arange(len(order)) - np.searchsorted(user[order], user[order]) + 1
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
        self, batch: Shoppers, found: Candidates, sources: Sources, ranker: Ranker, withheld: Withheld | None
    ) -> Shelves:
        """Return the shelves of a batch of users, each as their tier has it, without what rules withhold."""
        awake = batch.awake(self.tiers.dormant_days)
        if not awake.all():
            found = found.where(awake[found.user])
        if withheld is not None:
            found = found.where(withheld.kept(batch, found.user, found.item))
        row, rank, value = top_n(batch, found, sources, ranker, self.n, self.blend, self.boost, self.keep)
        ranked = Shelves(found.user[row], found.item[row], rank, value, found.source[row])
        if awake.all() or self.tiers.dormant_shelf == "segment":
            return ranked
        return ranked.beside(fused_shelves(batch, sources, ~awake, self.n, withheld))


def _to_arrow(batch: Shoppers, on: Shelves, sources: Sources, withheld: Withheld | None) -> pa.RecordBatch:
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
        BlendError, TierError: a parameter that cannot be meant.
    """
    blend = Blend(parameters.mmr_lambda, parameters.blend_places, parameters.most_of)
    boost = NewItemBoost(parameters.new_item_boost, parameters.new_item_boost_days)
    tiers, rules = Tiers(parameters.dormant_days, parameters.dormant_shelf), parameters.rules
    inputs, chosen = lake.fingerprints(ds, *INPUTS), {"top_n": parameters.top_n, "run_id": identity, "rules": rules}
    keep = kept_per_user(parameters)
    chosen |= asdict(blend) | asdict(boost) | asdict(tiers) | {"coarse_keep": keep}
    found = lake.find_manifest(TABLE, ds)
    if found is not None and found.is_current(inputs, chosen):
        return found
    rows = (lake.manifest(CANDIDATES, ds).row_count or 0) * parameters.candidates_per_user
    load_ranker(lake, ds, rows)  # compiled here, once, and not by each worker of this machine at the same time
    decay_days = parameters.taste_decay_days
    shard = RankShard(lake, ds, parameters.top_n, decay_days, rows, blend, boost, tiers, rules, keep)
    frame = map_shards(spark, TABLE, shard)
    return lake.write(frame, TABLE, ds, inputs=inputs, parameters=chosen, in_shards=True)


def main() -> None:
    """Run the stage from the command line."""
    given = stage_arguments(__doc__)
    lake = Lake(given.settings.lake)
    identity = run_id(lake, given.ds, given.parameters, given.settings.landing)
    manifest = build(session(), lake, given.ds, given.parameters, identity)
    print(f"{TABLE}/ds={given.ds}: {manifest.row_count} places on shelves")


if __name__ == "__main__":
    # Under its own name, by which Spark's workers find what is sent to them: `__main__` is another module there.
    from jobs.rank import main as main_of_module

    main_of_module()
