"""Build `marts/fallback`: the shelves for shoppers who have none of their own.

python -m jobs.fallback --ds 2026-01-31 --lake data/lake
"""

from datetime import date

from pyspark.sql import DataFrame, SparkSession

from jobs.lake import Lake
from jobs.manifest import Manifest
from jobs.settings import Parameters, stage_arguments
from jobs.spark import session
from jobs.sql import query

FALLBACK = "marts/fallback"
INPUTS = ("features/item", "features/user", "features/user_item")
SHELF_LENGTH = 200
NEW_ITEM_DAYS = 30


def fallback(item: DataFrame, user: DataFrame, user_item: DataFrame, ds: date) -> DataFrame:
    """Return the shelves as of `ds`, up to SHELF_LENGTH places each, from that day's features."""
    return query(
        item.sparkSession,
        FALLBACK,
        {"item": item, "user": user, "user_item": user_item},
        {"ds": ds, "shelf_length": SHELF_LENGTH, "new_item_days": NEW_ITEM_DAYS},
    )


def build(spark: SparkSession, lake: Lake, ds: date, parameters: Parameters) -> Manifest:
    """Build the shelves of one day, unless they stand already, made of the same.

    `parameters` work through the event weights in the features; nothing else of them matters here.

    Raises:
        MissingPartitionError: the day's features were not built.
    """
    inputs = lake.fingerprints(ds, *INPUTS)
    chosen = {"shelf_length": SHELF_LENGTH, "new_item_days": NEW_ITEM_DAYS}
    found = lake.find_manifest(FALLBACK, ds)
    if found is not None and found.is_current(inputs, chosen):
        return found
    item, user, user_item = (lake.read(spark, table, ds) for table in INPUTS)
    return lake.write(fallback(item, user, user_item, ds), FALLBACK, ds, inputs=inputs, parameters=chosen)


def main() -> None:
    """Run the stage from the command line."""
    given = stage_arguments(__doc__)
    manifest = build(session(), Lake(given.settings.lake), given.ds, given.parameters)
    print(f"{FALLBACK}/ds={given.ds}: {manifest.row_count:,} places")


if __name__ == "__main__":
    main()
