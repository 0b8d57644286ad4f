"""Build the tables of `features/` as of one day: what was known of items, shoppers and pairs when it ended.

    topshelf stage features --ds 2026-01-31 --lake data/lake

A row of staging counts from the day of the folder that it came in. Training frames are the features of earlier days.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.storagelevel import StorageLevel

from jobs.config.parameters import Parameters
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest, digest_of
from jobs.lake.partitions import MissingPartitionError
from jobs.lake.tables import INTERACTIONS, ITEM, ITEMS, NEWCOMER, SESSION_ITEM, USER, USER_CATEGORY, USER_ITEM, USERS
from jobs.spark.queries import query, read_query

TABLES = (ITEM, USER, NEWCOMER, USER_ITEM, USER_CATEGORY, SESSION_ITEM)
HISTORY = "features/user_item_history"
_KEPT = ("items", "users", "events", "user_item_history")
"""Views that a build holds in memory, as each is read several times and opening hundreds of days costs seconds."""


def features(
    spark: SparkSession, lake: Lake, ds: date, parameters: Parameters, interactions: DataFrame | None = None
) -> dict[str, Manifest]:
    """Build all tables of features as of `ds` and return their manifests, whatever stands already.

    `interactions` is staging/interactions up to `ds` or a later day, where the caller has it at hand.

    Raises:
        MissingPartitionError: staging has no day `ds`, or a day before it was never ingested whole.
    """
    return _build(spark, lake, ds, parameters, TABLES, _inputs(lake, ds), interactions)


def build_if_stale(
    spark: SparkSession, lake: Lake, ds: date, parameters: Parameters, interactions: DataFrame | None = None
) -> bool:
    """Build the tables whose inputs, weights or code have changed; tell whether there was one.

    Raises:
        MissingPartitionError: as `features` does.
    """
    inputs = _inputs(lake, ds)
    chosen = _table_parameters(parameters)
    stale = [table for table in TABLES if lake.is_stale(table, ds, inputs[table], chosen)]
    if stale:
        _build(spark, lake, ds, parameters, stale, inputs, interactions)
    return bool(stale)


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
            raise MissingPartitionError(f"{INTERACTIONS} has no ds={day}; run topshelf stage ingest --ds {ds}")
    return days


def _event_weights(parameters: Parameters) -> dict[str, int]:
    return parameters.features.event_weight_milli.by_event_type()


def _table_parameters(parameters: Parameters) -> dict[str, Any]:
    return {"event_weight_milli": _event_weights(parameters)}


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
        NEWCOMER: of(INTERACTIONS, USERS),
        USER_ITEM: of(INTERACTIONS, ITEMS, USERS),
        USER_CATEGORY: of(INTERACTIONS, ITEMS, USERS),
        SESSION_ITEM: of(INTERACTIONS, ITEMS),
    }


def _build(
    spark: SparkSession,
    lake: Lake,
    ds: date,
    parameters: Parameters,
    wanted: Sequence[str],
    inputs: Mapping[str, Mapping[str, str]],
    interactions: DataFrame | None,
) -> dict[str, Manifest]:
    """Build the wanted tables in the order of TABLES, as later ones read earlier ones."""
    views = _views(spark, lake, ds, parameters, interactions)
    kept = [views[view].persist(StorageLevel.MEMORY_AND_DISK) for view in _KEPT]
    manifests = {}
    try:
        for table in wanted:
            params: dict[str, Any] = {"ds": ds}
            if table == SESSION_ITEM:
                weights = _event_weights(parameters)
                params |= {f"{kind}_weight": weight for kind, weight in weights.items() if kind != "impression"}
            frame = query(spark, table, {view: views[view] for view in read_query(table).reads}, params)
            chosen = _table_parameters(parameters)
            manifests[table] = lake.write(frame, table, ds, inputs=inputs[table], parameters=chosen)
            views[table.split("/")[1]] = lake.read(spark, table, ds)
    finally:
        for frame in kept:
            frame.unpersist()
    return manifests


def _views(
    spark: SparkSession, lake: Lake, ds: date, parameters: Parameters, interactions: DataFrame | None
) -> dict[str, DataFrame]:
    """Return all that a query of this layer may read as of `ds`: staging, what is derived, tables that stand."""

    def staged(table: str) -> DataFrame:
        return lake.read_days(spark, table, [day for day in lake.days(table) if day <= ds])

    views = {
        "interactions": staged(INTERACTIONS) if interactions is None else interactions,
        "items": staged(ITEMS),
        "users": staged(USERS),
        **{table.split("/")[1]: lake.read(spark, table, ds) for table in TABLES if lake.find_manifest(table, ds)},
    }
    weights = {f"weight_{kind}_milli": weight for kind, weight in _event_weights(parameters).items()}
    views["events"] = query(spark, "features/events", {"interactions": views["interactions"]}, {"ds": ds, **weights})
    views["user_item_history"] = query(spark, HISTORY, {"events": views["events"]}, {})
    return views
