"""Build `artifacts/examples` for one as-of day: candidates as the night makes them, with what happened after.

    python -m jobs.training_examples --ds 2026-01-17

Features stand as of the day; labels are the events of the horizon that follows it (14 days unless set). Only
shoppers who did something in the horizon are examples: for the others nothing can be ordered.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.candidate_sources import load_sources
from jobs.candidates import candidate_parameters, candidates
from jobs.lake import Lake
from jobs.manifest import Manifest
from jobs.ranking_features import FEATURES, ranking_features
from jobs.settings import SHARDS, Parameters, stage_arguments
from jobs.shards import map_shards
from jobs.shoppers import load_shoppers
from jobs.spark import session
from jobs.two_tower import ARTIFACT as TOWERS

TABLE = "marts/examples"
LABELS = "marts/labels"
INPUTS = ("features/item", "features/user", "features/user_item", "artifacts/cf", "artifacts/content", TOWERS)


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
        sources = load_sources(self.lake, self.ds, self.taste_decay_days)
        users = pc.unique(labels["user_id"])
        for batch in load_shoppers(self.lake, self.ds, shard, len(sources.catalogue), only=users).batches():
            found = candidates(batch, sources, self.candidates_per_user, self.without)
            matrix = ranking_features(batch, found, sources)
            yield pa.RecordBatch.from_pydict(
                {
                    "user_id": batch.user_id.take(pa.array(found.user)),
                    "item_pos": pa.array(found.item, pa.int32()),
                    "sources": pa.array(found.sources, pa.int32()),
                    "features": pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), len(FEATURES)).cast(
                        pa.list_(pa.float32())
                    ),
                    **labels_of(labels, batch.user_id, found.user, found.item, len(sources.catalogue)),
                }
            )


def labels_of(
    labels: pa.Table,
    user_id: pa.Array,
    user: npt.NDArray[np.int64],
    item: npt.NDArray[np.int32],
    n_items: int,
) -> dict[str, pa.Array]:
    """Return whether each (user, item) was bought, and whether anything was done with it, in the horizon."""
    owner = pc.index_in(labels["user_id"], value_set=user_id)
    rows = labels.append_column("owner", owner).filter(pc.is_valid(owner)).combine_chunks()
    keys = rows["owner"].to_numpy().astype(np.int64) * n_items + rows["item_pos"].to_numpy()
    order = np.argsort(keys, kind="stable")
    wanted = user * n_items + item
    at = np.minimum(np.searchsorted(keys[order], wanted), max(len(keys) - 1, 0))
    hit = keys[order][at] == wanted if len(keys) else np.zeros(len(wanted), dtype=np.bool_)
    bought = rows["purchased"].to_numpy(zero_copy_only=False)[order]
    return {
        "purchase": pa.array((hit & bought[at] if len(keys) else hit).astype(np.int32)),
        "interaction": pa.array(hit.astype(np.int32)),
    }


def horizon_labels(interactions: DataFrame, item: DataFrame, ds: date, horizon_days: int) -> DataFrame:
    """Return `positive_pairs` of the `horizon_days` after `ds`."""
    last = ds + timedelta(days=horizon_days)
    after = (F.col("event_date") > F.lit(ds)) & (F.col("event_date") <= F.lit(last))
    return positive_pairs(interactions.where(after), item)


def positive_pairs(interactions: DataFrame, item: DataFrame) -> DataFrame:
    """Return one row per known user and catalogue item with a positive event: anything but an impression."""
    return (
        interactions.where(F.col("user_id").isNotNull() & (F.col("event_type") != "impression"))
        .join(item.select("item_id", "item_pos"), "item_id")
        .groupBy("user_id", "item_pos")
        .agg(F.max(F.col("event_type") == "purchase").alias("purchased"))
    )


def sampled(labels: DataFrame, max_users: int) -> DataFrame:
    """Keep at most about `max_users` users, chosen by a hash of their id, so that the choice repeats."""
    users = labels.select("user_id").distinct().count()
    if users <= max_users:
        return labels
    return labels.where(F.pmod(F.xxhash64("user_id"), F.lit(1_000_000)) < int(1_000_000 * max_users / users))


def write_labels(lake: Lake, labels: DataFrame, ds: date, parameters: Parameters, inputs: dict[str, str]) -> Manifest:
    """Write `marts/labels` for one as-of day."""
    chosen = label_parameters(parameters)
    return lake.write(sampled(labels, parameters.max_training_users), LABELS, ds, inputs=inputs, parameters=chosen)


def label_parameters(parameters: Parameters) -> dict[str, int]:
    """Return the parameters that shape labels."""
    return {"horizon_days": parameters.horizon_days, "max_training_users": parameters.max_training_users}


def build(spark: SparkSession, lake: Lake, ds: date, parameters: Parameters) -> Manifest:
    """Build the examples of one as-of day from its features, CF artifact and labels, unless they stand already.

    Raises:
        MissingPartitionError: one of them was not built.
    """
    inputs, chosen = lake.fingerprints(ds, *INPUTS, LABELS), candidate_parameters(parameters)
    found = lake.find_manifest(TABLE, ds)
    if found is not None and found.is_current(inputs, chosen):
        return found
    frame = map_shards(spark, TABLE, ExampleShard(lake, ds, **chosen))
    return lake.write(frame, TABLE, ds, inputs=inputs, parameters=chosen, in_shards=True)


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
    labels: dict[str, npt.NDArray[np.int32]]


def load_examples(lake: Lake, ds: date) -> Examples:
    """Load the examples of one as-of day, shard after shard.

    Raises:
        MissingPartitionError: they were not built.
    """
    return examples_of(pa.concat_tables([lake.shard(TABLE, ds, shard) for shard in range(SHARDS)]))


def examples_of(rows: pa.Table) -> Examples:
    """Return rows of `marts/examples` as flat arrays."""
    table = rows.combine_chunks()
    encoded = table["user_id"].combine_chunks().dictionary_encode()
    return Examples(
        user=encoded.indices.to_numpy().astype(np.int64),
        user_id=encoded.dictionary,
        item=table["item_pos"].to_numpy(),
        sources=table["sources"].to_numpy(),
        features=table["features"].combine_chunks().flatten().to_numpy().reshape(-1, len(FEATURES)),
        labels={name: table[name].to_numpy() for name in ("purchase", "interaction")},
    )


def main() -> None:
    """Run the stage from the command line: labels, then examples."""
    given = stage_arguments(__doc__)
    from jobs.label_windows import build_window

    manifest = build_window(session(), Lake(given.settings.lake), given.ds, given.parameters)
    print(f"{TABLE}/ds={given.ds}: {manifest.row_count} examples")


if __name__ == "__main__":
    # Under its own name, by which Spark's workers find what is sent to them: `__main__` is another module there.
    from jobs.training_examples import main as main_of_module

    main_of_module()
