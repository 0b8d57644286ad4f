"""Build the tables of `features/` as of one day: what was known of items, shoppers and pairs when it ended.

    topshelf stage features --ds 2026-01-31 --lake data/lake

A staged row counts from the day of the landing folder that it came in. Training uses the features of earlier days.
"""

from collections.abc import Mapping, Sequence
from datetime import date

from pyspark.sql import DataFrame, SparkSession
from pyspark.storagelevel import StorageLevel

from jobs.config.parameters import Parameters
from jobs.features.counting import counted_events
from jobs.features.event_days import event_days
from jobs.features.item_embeddings import days_as_metrics
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest, digest_of
from jobs.lake.tables import INTERACTIONS, ITEM, ITEMS, NEWCOMER, SESSION_ITEM, USER, USER_CATEGORY, USER_ITEM, USERS
from jobs.spark.queries import QueryParameter, query, read_query

Staged = Mapping[str, Sequence[tuple[date, Manifest]]]
"""Days of staging tables with their manifests."""
TABLES = (ITEM, USER, NEWCOMER, USER_ITEM, USER_CATEGORY, SESSION_ITEM)
EVENTS, HISTORY = "features/events", "features/user_item_history"
LATEST_ITEM, LATEST_USER = "features/latest_item", "features/latest_user"
_PERSISTED = (LATEST_USER, EVENTS, HISTORY)
"""Queries whose rows a build keeps: each is read several times, and opening hundreds of staged days costs seconds."""


def build_if_stale(
    spark: SparkSession, lake: Lake, ds: date, parameters: Parameters, interactions: DataFrame | None = None
) -> bool:
    """Build the tables as of `ds` whose inputs, weights or code have changed; return whether there was one.

    `interactions` is staging/interactions up to `ds` or a later day, if the caller has it at hand.

    Raises:
        MissingPartitionError: staging has no day `ds`, or lacks a day between its first event and `ds`.
    """
    staged = _staged(lake, ds)
    inputs = _inputs(staged, ds)
    chosen = _table_parameters(parameters)
    stale = [table for table in TABLES if lake.is_stale(table, ds, inputs[table], chosen)]
    if stale:
        _build(spark, lake, ds, parameters, stale, staged, interactions)
    return bool(stale)


def _event_weights(parameters: Parameters) -> dict[str, int]:
    return parameters.features.event_weight_milli.by_event_type()


def _table_parameters(parameters: Parameters) -> dict[str, dict[str, int]]:
    return {"event_weight_milli": _event_weights(parameters)}


def _staged(lake: Lake, ds: date) -> Staged:
    """Return the days up to `ds` of each staging table that is read."""
    days = {INTERACTIONS: event_days(lake, ds)}
    days |= {table: [day for day in lake.days(table) if day <= ds] for table in (ITEMS, USERS)}
    return {table: [(day, lake.manifest(table, day)) for day in of_table] for table, of_table in days.items()}


def _inputs(manifests: Staged, ds: date) -> dict[str, dict[str, str]]:
    """Return each table's inputs: one digest over all days of a staging table, so that manifests stay small."""
    staged = {
        f"{table}/ds<={ds}": digest_of(manifest.fingerprint for _, manifest in days)
        for table, days in manifests.items()
    }

    def inputs_from(*tables: str) -> dict[str, str]:
        return {key: staged[key] for key in (f"{table}/ds<={ds}" for table in tables)}

    return {
        ITEM: inputs_from(INTERACTIONS, ITEMS),
        USER: inputs_from(INTERACTIONS, USERS),
        NEWCOMER: inputs_from(INTERACTIONS, USERS),
        USER_ITEM: inputs_from(INTERACTIONS, ITEMS, USERS),
        USER_CATEGORY: inputs_from(INTERACTIONS, ITEMS, USERS),
        SESSION_ITEM: inputs_from(INTERACTIONS, ITEMS),
    }


def _build(
    spark: SparkSession,
    lake: Lake,
    ds: date,
    parameters: Parameters,
    stale: Sequence[str],
    staged: Staged,
    interactions: DataFrame | None,
) -> None:
    """Build the stale tables in the order of TABLES, as later ones read earlier ones."""
    inputs, values = _inputs(staged, ds), _query_parameters(ds, parameters)
    views = _staged_views(spark, lake, ds, interactions)
    views["counted_events"] = counted_events(views["interactions"], ds)
    persisted = []
    try:
        for name in (LATEST_ITEM, LATEST_USER, EVENTS, HISTORY):
            frame = _run(spark, name, views, values)
            if name in _PERSISTED:
                persisted.append(frame.persist(StorageLevel.MEMORY_AND_DISK))
            views[_view(name)] = frame
        for table in TABLES:
            if table in stale:
                frame = _run(spark, table, views, values)
                lake.write(
                    frame,
                    table,
                    ds,
                    inputs=inputs[table],
                    parameters=_table_parameters(parameters),
                    metrics=days_as_metrics(staged[ITEMS]) if table == ITEM else None,
                )
            views[_view(table)] = lake.read(spark, table, ds)
    finally:
        for frame in persisted:
            frame.unpersist()


def _run(
    spark: SparkSession, name: str, views: Mapping[str, DataFrame], values: Mapping[str, QueryParameter]
) -> DataFrame:
    """Run a query on those of the views and values that it takes."""
    takes = read_query(name)
    return query(
        spark,
        name,
        {view: views[view] for view in takes.reads},
        {parameter: values[parameter] for parameter in takes.parameters},
    )


def _query_parameters(ds: date, parameters: Parameters) -> dict[str, QueryParameter]:
    weights = _event_weights(parameters)
    return {"ds": ds, **{f"weight_{event_type}_milli": weight for event_type, weight in weights.items()}}


def _staged_views(spark: SparkSession, lake: Lake, ds: date, interactions: DataFrame | None) -> dict[str, DataFrame]:
    """Return staging up to `ds` as views."""

    def staged(table: str) -> DataFrame:
        return lake.read_days(spark, table, [day for day in lake.days(table) if day <= ds])

    return {
        "interactions": staged(INTERACTIONS) if interactions is None else interactions,
        "items": staged(ITEMS),
        "users": staged(USERS),
    }


def _view(name: str) -> str:
    return name.split("/")[1]
