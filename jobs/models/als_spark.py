"""Fit ALS's item factors for `artifacts/cf` with Spark's own ALS, where a shop's matrix outgrows one machine.

    TOPSHELF_PARAMETERS__MODELS__ALS__ON_SPARK_FROM_PAIRS=0 topshelf stage train_cf --ds 2026-01-31

Both libraries fit Hu, Koren and Volinsky (2008). Their parameters mean different things; here both fit one model:

- Confidence. implicit gives a pair of value r the confidence alpha r, Spark 1 + alpha r; both give 1 to no pair.
  So Spark gets the value alpha r - 1 with an alpha of 1: a confidence of alpha r as well.
- Regularisation. implicit adds lambda to each row's equations, Spark lambda times the row's count of pairs (Zhou et
  al. 2008). So Spark gets lambda over the geometric mean of a user's and an item's mean count.
- Balance. Shoppers are folded in with implicit's lambda, which fits only factors of implicit's length: at implicit's
  optimum, users' and items' factors have the same Gram matrix. Spark's factors are turned and stretched together,
  which changes no score, until theirs have too.

Three differences remain. A row of many pairs is regularised more than a row of few. A pair with alpha r below 1 gets
a confidence of 1, as Spark has no confidence below that of no pair. Spark solves each row exactly, where implicit
takes three conjugate gradient steps. The factors differ from implicit's; their recall is about the same.

The same pairs give the same bytes on one machine up to two blocks. With more, Spark adds up the blocks' Gram matrices
in the order in which tasks end, and a cluster's shuffle brings pairs in any order. Double sums may then differ in
their last bits, and now and then a factor in its last bit.

Item-item neighbours, EASE and what follows still take the whole matrix in one process.
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
from jobs.lake.tables import SHARDS, USER_ITEM
from jobs.models.als import CfParameters
from jobs.numeric.arrays import Floats, Values

PAIRS_A_BLOCK = 2_000_000
"""Of a task, about; at least two blocks are made. (64 factors of a million users take 256 MB.)"""
LEAST_RATING = 1e-6
"""Spark takes a rating of 0 for a dislike."""


def item_factors(spark: SparkSession, lake: Lake, ds: date, n_items: int, parameters: CfParameters) -> Floats:
    """Return [n_items, factors] of the day's `features/user_item`, in catalogue order; untouched items are zero.

    Raises:
        MissingPartitionError: the day's features were not built.
    """
    ratings = ratings_of(lake.read(spark, USER_ITEM, ds), parameters.alpha).persist()
    try:
        return fit(ratings, n_items, parameters)
    finally:
        ratings.unpersist()


def ratings_of(pairs: DataFrame, alpha: float) -> DataFrame:
    """Return (`user`, `item`, `rating`) of the pairs with weight, in fixed partitions, sorted.

    A user's number is rank x SHARDS + shard, where rank is that of the id within its shard. It needs no join, and is
    an int up to two billion users.
    """

    def rated(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for frame in frames:
            rating = np.float32(alpha) * interaction_values(frame.pop("weight_milli").to_numpy()) - 1
            yield frame.assign(rating=np.maximum(rating, np.float32(LEAST_RATING)))

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
    grams = [gram(side, parameters.factors) for side in (model.userFactors, model.itemFactors)]
    factors = np.zeros((n_items, parameters.factors), np.float32)
    for ids, rows in packed(model.itemFactors):
        factors[ids] = rows
    return factors @ balance(*grams).astype(np.float32)


def gram(factors: DataFrame, rank: int) -> Values:
    """Return F'F [rank, rank] of Spark's (`id`, `features`), blocks added up in their order."""

    def block_gram(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        sums = np.zeros((rank, rank))
        for frame in frames:
            rows = np.stack(frame["features"].to_list()).astype(np.float64)
            sums += rows.T @ rows
        yield pd.DataFrame({"block": [TaskContext.get().partitionId()], "sums": [sums.ravel()]})  # type: ignore[union-attr]

    blocks = factors.select("features").mapInPandas(block_gram, "block int, sums array<double>").collect()
    ordered = [block.sums for block in sorted(blocks, key=lambda block: block.block)]
    return np.asarray(np.sum(ordered, axis=0).reshape(rank, rank))


def packed(factors: DataFrame) -> Iterator[tuple[npt.NDArray[np.int32], Floats]]:
    """Yield ids [n] and rows [n, rank] of Spark's (`id`, `features`), a block at a time to spare memory."""

    def block_bytes(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for frame in frames:
            rows = np.stack(frame["features"].to_list()).astype(np.float32)
            yield pd.DataFrame({"ids": [frame["id"].to_numpy(np.int32).tobytes()], "rows": [rows.tobytes()]})

    for block in factors.mapInPandas(block_bytes, "ids binary, rows binary").toLocalIterator():
        ids = np.frombuffer(block.ids, np.int32)
        yield ids, np.frombuffer(block.rows, np.float32).reshape(len(ids), -1)


def balance(users: Values, items: Values) -> Values:
    """Return M [rank, rank] such that items' factors Y M and users' X M^-T have one Gram matrix, given X'X and Y'Y.

    With the singular value decomposition X Y' = V S U', Y M is U S^(1/2); the two Gram matrices suffice to find M.
    Directions in which items have next to no length are left out: their columns are zero.
    """
    length, axes = np.linalg.eigh(items)
    kept = length > length.max() * 1e-10
    root = np.sqrt(length[kept])
    down = axes[:, kept] / root  # Y down has orthonormal columns
    up = axes[:, kept] * root
    squared, turn = np.linalg.eigh(up.T @ users @ up)
    turn *= np.where(turn[np.abs(turn).argmax(axis=0), np.arange(len(turn))] < 0, -1, 1)
    balanced = np.zeros_like(items)
    balanced[:, : len(root)] = down @ turn[:, ::-1] * np.maximum(squared[::-1], 0) ** 0.25
    return balanced
