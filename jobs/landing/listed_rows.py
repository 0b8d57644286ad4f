"""Turn landed rows that stand for several, as an answer for all its items, into a row each.

>>> one_row_each(rows, {"item_id": "item_ids", "position": "positions"})
"""

from collections.abc import Mapping
from functools import reduce

from pyspark.sql import Column as Expression
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

CORRUPT = "_corrupt_record"


def one_row_each(rows: DataFrame, lists: Mapping[str, str]) -> DataFrame:
    """Return a row for each place in the lists of `rows`; the other columns stand in each of them, `_metadata` too.

    `lists` has each column's name and that of its list, of strings; a list that is null leaves its column null. A row
    without the first list, or whose lists differ in length, becomes one row with its JSON in CORRUPT. `rows` must
    have the column CORRUPT, of what Spark could not read.
    """
    length = F.size(F.col(next(iter(lists.values()))))
    are_even = [F.coalesce(F.size(F.col(name)) == length, F.lit(True)) for name in lists.values()]
    is_whole = F.col(CORRUPT).isNull() & F.coalesce(length >= 0, F.lit(False)) & reduce(Expression.__and__, are_even)
    landed = [name for name in rows.columns if name != CORRUPT]
    shared = [name for name in landed if name not in lists.values()]
    line = F.coalesce(F.col(CORRUPT), F.to_json(F.struct(*map(F.col, landed))))
    placed = rows.select(
        "*",
        "_metadata",
        F.when(~is_whole, line).alias("line"),
        F.posexplode(F.when(is_whole, F.col(next(iter(lists.values())))).otherwise(F.array(F.lit(None)))),
    )
    return placed.select(
        *shared,
        *(F.get(F.col(listed), F.col("pos")).alias(name) for name, listed in lists.items()),
        F.col("line").alias(CORRUPT),
        "_metadata",
    )
