"""Fit ALS's item factors with Spark's own ALS, for `artifacts/cf` of a shop whose matrix outgrows one machine.

    TOPSHELF_PARAMETERS__MODELS__ALS__ON_SPARK_FROM_PAIRS=0 topshelf stage train_cf --ds 2026-01-31

Both libraries fit Hu, Koren and Volinsky (2008), and both are asked here for the same model:

- Confidence. implicit gives a pair of value r the confidence alpha r, Spark 1 + alpha r, everything else having 1.
  Spark is therefore fed alpha r - 1 with an alpha of 1, and both mean alpha r.
- Regularisation. implicit adds lambda to each row's equations, Spark lambda times the row's count of pairs (Zhou et
  al. 2008). It is given lambda over the geometric mean of a user's and an item's mean count.
- Balance. Shoppers are folded in by implicit's lambda, which means something only beside factors of implicit's
  length: at its optimum users' and items' factors have the same Gram matrix. Spark's are turned and stretched
  together, which no score notices, until theirs have too.

What remains different: a busy row is regularised more than an idle one; a pair with alpha r below 1 counts with a
confidence of 1, as Spark knows none below that of no pair at all; Spark solves each row exactly, where implicit takes
three conjugate gradient steps. The factors themselves are others, of a like recall.

The same pairs give the same bytes on one machine up to two blocks. With more, Spark adds up the blocks' Gram matrices
as their tasks end, and a cluster's shuffle brings pairs in any order: double sums may then differ in their last bits,
and now and then a factor in its own.

What is left: item-item neighbours and EASE of the artifact still take the whole matrix in one process.
"""

from collections.abc import Iterator
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark import TaskContext
from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from jobs.features.strength import interaction_values
from jobs.lake.lake import Lake
from jobs.lake.tables import SHARDS
from jobs.models.als import CfParameters

PAIRS_A_BLOCK = 2_000_000
"""About so many for a task; of a million users, 64 factors are 256 MB. Never fewer than two blocks."""
LEAST_RATING = 1e-6
"""Spark takes a rating of 0 for a dislike."""

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


def item_factors(spark: SparkSession, lake: Lake, ds: date, n_items: int, parameters: CfParameters) -> Floats:
    """Return [n_items, factors] of the day's `features/user_item`, in catalogue order; untouched items are zero.

    Raises:
        MissingPartitionError: the day's features were not built.
    """
    ratings = ratings_of(lake.read(spark, "features/user_item", ds), parameters.alpha).persist()
    try:
        return fit(ratings, n_items, parameters)
    finally:
        ratings.unpersist()


def ratings_of(pairs: DataFrame, alpha: float) -> DataFrame:
    """Return (`user`, `item`, `rating`) of pairs with weight, in fixed partitions, sorted.

    A user's number is rank x SHARDS + shard, by the rank of the id within its shard: no join brings it, and it stays
    an int up to two billion users.
    """

    def rated(parts: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for part in parts:
            above = np.float32(alpha) * interaction_values(part.pop("weight_milli").to_numpy()) - 1
            yield part.assign(rating=np.maximum(above, np.float32(LEAST_RATING)))

    shard = F.crc32(F.col("user_id").cast("binary")) % SHARDS
    rank = F.dense_rank().over(Window.partitionBy("shard").orderBy("user_id")) - 1
    numbered = (
        pairs.where("weight_milli > 0")
        .select("user_id", F.col("item_pos").alias("item"), "weight_milli", shard.alias("shard"))
        .select((rank * SHARDS + F.col("shard")).cast("int").alias("user"), "item", "weight_milli")
        .sortWithinPartitions("user", "item")
    )
    return numbered.mapInPandas(rated, "user int, item int, rating float")


def fit(ratings: DataFrame, n_items: int, parameters: CfParameters) -> Floats:
    """Return balanced item factors [n_items, factors] of (`user`, `item`, `rating`)."""
    counts = ratings.agg(F.count("*"), F.count_distinct("user"), F.count_distinct("item"))
    pairs, users, items = counts.collect()[0]
    blocks = max(2, pairs // PAIRS_A_BLOCK)
    model = ALS(
        rank=parameters.factors,
        maxIter=parameters.iterations,
        regParam=parameters.regularization / (pairs / users * pairs / items) ** 0.5,
        implicitPrefs=True,
        alpha=1.0,
        seed=parameters.seed,
        numUserBlocks=blocks,
        numItemBlocks=blocks,
    ).fit(ratings)
    sides = [gram(of, parameters.factors) for of in (model.userFactors, model.itemFactors)]
    factors = np.zeros((n_items, parameters.factors), np.float32)
    for ids, rows in packed(model.itemFactors):
        factors[ids] = rows
    return factors @ balance(*sides).astype(np.float32)


def gram(factors: DataFrame, rank: int) -> Doubles:
    """Return F'F [rank, rank] of Spark's (`id`, `features`), blocks added up in their order."""

    def of_block(parts: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        sums = np.zeros((rank, rank))
        for part in parts:
            rows = np.stack(part["features"].to_list()).astype(np.float64)
            sums += rows.T @ rows
        yield pd.DataFrame({"block": [TaskContext.get().partitionId()], "sums": [sums.ravel()]})  # type: ignore[union-attr]

    blocks = factors.select("features").mapInPandas(of_block, "block int, sums array<double>").collect()
    ordered = [block.sums for block in sorted(blocks, key=lambda block: block.block)]
    return np.asarray(np.sum(ordered, axis=0).reshape(rank, rank))


def packed(factors: DataFrame) -> Iterator[tuple[npt.NDArray[np.int32], Floats]]:
    """Yield ids [n] and rows [n, rank] of Spark's (`id`, `features`), a block at a time: all are too many."""

    def of_block(parts: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for part in parts:
            rows = np.stack(part["features"].to_list()).astype(np.float32)
            yield pd.DataFrame({"ids": [part["id"].to_numpy(np.int32).tobytes()], "rows": [rows.tobytes()]})

    for told in factors.mapInPandas(of_block, "ids binary, rows binary").toLocalIterator():
        ids = np.frombuffer(told.ids, np.int32)
        yield ids, np.frombuffer(told.rows, np.float32).reshape(len(ids), -1)


def balance(users: Doubles, items: Doubles) -> Doubles:
    """Return M [rank, rank] such that items' factors Y M and users' X M^-T have one Gram matrix, given X'X and Y'Y.

    That is U S^(1/2) of the singular value decomposition X Y' = V S U', of which Y M is known without X or Y at hand.
    Directions in which items have nothing to speak of are left out: their columns are zero.
    """
    length, axes = np.linalg.eigh(items)
    kept = length > length.max() * 1e-10
    root = np.sqrt(length[kept])
    down = axes[:, kept] / root  # Y down has orthonormal columns
    up = axes[:, kept] * root
    squared, turn = np.linalg.eigh(up.T @ users @ up)
    turn *= np.where(turn[np.abs(turn).argmax(axis=0), np.arange(len(turn))] < 0, -1, 1)
    found = np.zeros_like(items)
    found[:, : len(root)] = down @ turn[:, ::-1] * np.maximum(squared[::-1], 0) ** 0.25
    return found
