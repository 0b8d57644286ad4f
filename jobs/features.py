"""Build the tables of `features/` as of one day: what was known of items, shoppers and pairs when it ended.

    python -m jobs.features --ds 2026-01-31 --lake data/lake

A row of staging counts from the day of the folder that it came in. Training frames are the features of earlier days.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, timedelta
from functools import cache
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.storagelevel import StorageLevel

from jobs.lake import Lake, MissingPartitionError
from jobs.manifest import Manifest, digest_of
from jobs.settings import Parameters, stage_arguments
from jobs.spark import session
from jobs.sql import query

INTERACTIONS, ITEMS, USERS = "staging/interactions", "staging/items", "staging/users"
ITEM, USER, USER_ITEM = "features/item", "features/user", "features/user_item"
USER_CATEGORY, SESSION_ITEM = "features/user_category", "features/session_item"
TABLES = (ITEM, USER, USER_ITEM, USER_CATEGORY, SESSION_ITEM)
_STAGED_VIEWS = {
    ITEM: {"items": ITEMS},
    USER: {"users": USERS},
    USER_ITEM: {"users": USERS},
    SESSION_ITEM: {"interactions": INTERACTIONS},
}
_FEATURE_VIEWS = {
    USER_ITEM: {"item": ITEM},
    USER_CATEGORY: {"item": ITEM, "user_item": USER_ITEM},
    SESSION_ITEM: {"item": ITEM},
}
WEIGHED = ("impression", "click", "view", "rating", "add_to_cart", "purchase")


class UnknownEventTypeError(ValueError):
    """A weight is given for an event type that does not exist, or one is missing."""


def features(
    spark: SparkSession, lake: Lake, ds: date, parameters: Parameters, history: DataFrame | None = None
) -> dict[str, Manifest]:
    """Build all tables of features as of `ds` and return their manifests, whatever stands already.

    `history` is `interaction_days` of the same lake and parameters up to `ds` or a later day, where the caller builds
    several days and keeps it; it is not released here.

    Raises:
        MissingPartitionError: staging has no day `ds`, or a day before it was never ingested whole.
    """
    return _build(spark, lake, ds, parameters, TABLES, _inputs(lake, ds), history)


def build_if_stale(
    spark: SparkSession, lake: Lake, ds: date, parameters: Parameters, history: DataFrame | None = None
) -> bool:
    """Build the tables whose inputs, weights or code have changed; tell whether there was one.

    Raises:
        MissingPartitionError: as `features` does.
    """
    inputs = _inputs(lake, ds)
    chosen = _table_parameters(parameters)
    found = {table: lake.find_manifest(table, ds) for table in TABLES}
    stale = [
        table
        for table in TABLES
        if (manifest := found[table]) is None or not manifest.is_current(inputs[table], chosen)
    ]
    _build(spark, lake, ds, parameters, stale, inputs, history)
    return bool(stale)


@contextmanager
def interaction_days(spark: SparkSession, lake: Lake, ds: date, parameters: Parameters) -> Iterator[DataFrame]:
    """Yield the history up to `ds` that all tables are rolled up from, kept in memory; release it afterwards.

    Columns as in sql/features/interaction_days.sql. Laid out by shopper, so that what is grouped by shopper
    and item needs no further shuffle.

    Raises:
        MissingPartitionError: as `features` does.
    """
    interactions = lake.read_days(spark, INTERACTIONS, staged_days(lake, ds))
    weights = {f"weight_{kind}_milli": weight for kind, weight in _weights(parameters).items()}
    days = query(spark, "features/interaction_days", {"interactions": interactions}, {"ds": ds, **weights})
    kept = days.repartition("user_id").persist(StorageLevel.MEMORY_AND_DISK)
    try:
        yield kept
    finally:
        kept.unpersist()


def staged_days(lake: Lake, ds: date) -> list[date]:
    """Return the days of staging/interactions up to `ds`, ascending and without a gap.

    Raises:
        MissingPartitionError: `ds` or a day between the first and `ds` is missing, with the remedy.
    """
    days = [day for day in lake.days(INTERACTIONS) if day <= ds]
    first = days[0] if days else ds
    have = set(days)
    for ago in range((ds - first).days + 1):
        if (day := first + timedelta(days=ago)) not in have:
            raise MissingPartitionError(f"{INTERACTIONS} has no ds={day}; run python -m jobs.ingest --ds {ds}")
    return days


def _weights(parameters: Parameters) -> dict[str, int]:
    weights = parameters.event_weight_milli
    if set(weights) != set(WEIGHED):
        raise UnknownEventTypeError(
            f"event_weight_milli weighs {', '.join(sorted(weights))}; give each of {', '.join(WEIGHED)} a weight"
        )
    return weights


def _table_parameters(parameters: Parameters) -> dict[str, Any]:
    return {"event_weight_milli": _weights(parameters)}


def _inputs(lake: Lake, ds: date) -> dict[str, dict[str, str]]:
    """Return each table's inputs: one digest over all days of a staging table, so that manifests stay small."""
    staged = {
        f"{table}/ds<={ds}": digest_of(lake.manifest(table, day).fingerprint for day in days)
        for table, days in (
            (INTERACTIONS, staged_days(lake, ds)),
            *((table, [day for day in lake.days(table) if day <= ds]) for table in (ITEMS, USERS)),
        )
    }

    def of(*tables: str) -> dict[str, str]:
        return {f"{table}/ds<={ds}": staged[f"{table}/ds<={ds}"] for table in tables}

    return {
        ITEM: of(INTERACTIONS, ITEMS),
        USER: of(INTERACTIONS, USERS),
        USER_ITEM: of(INTERACTIONS, ITEMS, USERS),
        USER_CATEGORY: of(INTERACTIONS, ITEMS, USERS),
        SESSION_ITEM: of(INTERACTIONS, ITEMS),
    }


def _build(
    spark: SparkSession,
    lake: Lake,
    ds: date,
    parameters: Parameters,
    wanted: Iterable[str],
    inputs: Mapping[str, Mapping[str, str]],
    history: DataFrame | None,
) -> dict[str, Manifest]:
    """Build the wanted tables in the order of TABLES, as later ones read earlier ones."""
    wanted = tuple(wanted)
    if history is None and {ITEM, USER, USER_ITEM} & set(wanted):
        with interaction_days(spark, lake, ds, parameters) as built:
            return _build(spark, lake, ds, parameters, wanted, inputs, built)

    @cache
    def staged(table: str) -> DataFrame:
        # Kept, because listing hundreds of days costs Spark a second.
        return lake.read_days(spark, table, [day for day in lake.days(table) if day <= ds])

    manifests = {}
    for table in wanted:
        views: dict[str, DataFrame] = {}
        if history is not None and table in (ITEM, USER, USER_ITEM):
            views["interaction_days"] = history
        views |= {view: staged(name) for view, name in _STAGED_VIEWS.get(table, {}).items()}
        views |= {view: lake.read(spark, name, ds) for view, name in _FEATURE_VIEWS.get(table, {}).items()}
        params: dict[str, Any] = {"ds": ds}
        if table == SESSION_ITEM:
            params |= {
                f"{kind}_weight": weight for kind, weight in _weights(parameters).items() if kind != "impression"
            }
        frame = query(spark, table, views, params)
        manifests[table] = lake.write(
            frame, table, ds, inputs=inputs[table], parameters=_table_parameters(parameters)
        )
    return manifests


def main() -> None:
    """Run the stage from the command line."""
    given = stage_arguments(__doc__)
    lake = Lake(given.settings.lake)
    built = build_if_stale(session(), lake, given.ds, given.parameters)
    counts = ", ".join(f"{table} {lake.manifest(table, given.ds).row_count:,}" for table in TABLES)
    print(f"ds={given.ds}: {counts} rows" + ("" if built else "; nothing had changed"))


if __name__ == "__main__":
    main()
