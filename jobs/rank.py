"""Build `marts/top_n` for one day: score every candidate, keep each shopper's best N, say why.

python -m jobs.rank --ds 2026-01-31 --top-n 100
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import SparkSession

from jobs.blend import Blend, blended
from jobs.candidate_sources import Sources, load_sources
from jobs.candidates import TABLE as CANDIDATES
from jobs.candidates import Candidates, from_arrow
from jobs.lake import Lake
from jobs.manifest import Manifest
from jobs.ranking_features import ranking_features
from jobs.reasons import reasons
from jobs.run_identity import run_id
from jobs.settings import Parameters, stage_arguments
from jobs.shards import map_shards
from jobs.shoppers import Shoppers, load_shoppers
from jobs.spark import session
from jobs.train_ranker import ARTIFACT as RANKER
from jobs.train_ranker import Ranker, load_ranker
from serving.record import REASON_CODES, SOURCES

TABLE = "marts/top_n"
FEATURES = ("features/item", "features/user", "features/user_item")
INPUTS = (*FEATURES, "artifacts/cf", "artifacts/content", CANDIDATES, RANKER)
VARIANT = "base"
BY_VALUE = Blend()


def top_n(
    shoppers: Shoppers, found: Candidates, sources: Sources, ranker: Ranker, n: int, blend: Blend = BY_VALUE
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return (row of `found`, rank from 1, value) of each user's best `n`, in order of (user, rank).

    Rows rank by value, equal ones by item position, and then as `blend` orders their head: the value of a row stays.
    """
    value = ranker.value(ranking_features(shoppers, found, sources))
    order = np.lexsort((found.item, -value, found.user))
    order = blended(found.user, found.item, value, order, sources.catalogue, sources.item_vectors, blend)
    rank = np.arange(len(order)) - np.searchsorted(found.user[order], found.user[order]) + 1
    kept = rank <= n
    return order[kept], rank[kept], value[order[kept]]


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

    def __call__(self, shard: int) -> Iterator[pa.RecordBatch]:
        """Yield a record batch for each batch of users."""
        sources = load_sources(self.lake, self.ds, self.taste_decay_days)
        ranker = load_ranker(self.lake, self.ds, self.rows)
        shoppers = load_shoppers(self.lake, self.ds, shard, len(sources.catalogue))
        listed = self.lake.shard(CANDIDATES, self.ds, shard)
        start = 0
        for batch in shoppers.batches():
            found = from_arrow(listed.slice(start, len(batch)))
            start += len(batch)
            row, rank, value = top_n(batch, found, sources, ranker, self.n, self.blend)
            user, item, source = found.user[row], found.item[row], found.source[row]
            code, behind = reasons(batch, sources, user, item, source)
            yield pa.RecordBatch.from_pydict(
                {
                    "variant": pa.repeat(VARIANT, len(row)),
                    "user_id": batch.user_id.take(pa.array(user)),
                    "rank": pa.array(rank, pa.int32()),
                    "item_id": sources.catalogue.item_id.take(pa.array(item)),
                    "score": pa.array(value),
                    "source": pa.array(SOURCES).take(pa.array(source)),
                    "reason_code": pa.array(REASON_CODES).take(pa.array(code)),
                    "reason_item_id": sources.catalogue.item_id.take(pa.array(behind, mask=behind < 0)),
                }
            )


def build(spark: SparkSession, lake: Lake, ds: date, parameters: Parameters, identity: str) -> Manifest:
    """Build one day, unless it stands already, made of the same.

    Raises:
        MissingPartitionError: the day's candidates or ranker were not built.
    """
    blend = Blend(parameters.mmr_lambda, parameters.blend_places, parameters.most_of)
    inputs, chosen = lake.fingerprints(ds, *INPUTS), {"top_n": parameters.top_n, "run_id": identity, **asdict(blend)}
    found = lake.find_manifest(TABLE, ds)
    if found is not None and found.is_current(inputs, chosen):
        return found
    rows = (lake.manifest(CANDIDATES, ds).row_count or 0) * parameters.candidates_per_user
    load_ranker(lake, ds, rows)  # compiled here, once, and not by each worker of this machine at the same time
    shard = RankShard(lake, ds, parameters.top_n, parameters.taste_decay_days, rows, blend)
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
