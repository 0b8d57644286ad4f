"""Build the tables of `features/` as of one day: what was known of items, shoppers and pairs when it ended.

    topshelf stage features --ds 2026-01-31 --lake data/lake

A staged row counts from the day of the landing folder that it came in. Training uses the features of earlier days.
"""

from collections.abc import Mapping, Sequence
from datetime import date

from jobs.config.parameters import Parameters
from jobs.features.event_days import event_days
from jobs.features.event_history import EventHistory
from jobs.features.item_embeddings import days_as_metrics
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest, digest_of
from jobs.lake.tables import INTERACTIONS, ITEM, ITEMS, NEWCOMER, SESSION_ITEM, USER, USER_CATEGORY, USER_ITEM, USERS
from jobs.spark.engine import Engine, Rows, engine_for
from jobs.spark.queries import QueryParameter, read_query

Staged = Mapping[str, Sequence[tuple[date, Manifest]]]
"""Days of staging tables with their manifests."""
TABLES = (ITEM, USER, NEWCOMER, USER_ITEM, USER_CATEGORY, SESSION_ITEM)
EVENTS, HISTORY = "features/events", "features/user_item_history"
LATEST_ITEM, LATEST_USER = "features/latest_item", "features/latest_user"
_KEPT = (LATEST_USER, EVENTS, HISTORY)
"""Queries whose rows a build keeps: each is read several times, and opening hundreds of staged days costs seconds."""


def build_if_stale(lake: Lake, ds: date, parameters: Parameters, events: EventHistory | None = None) -> bool:
    """Build the tables as of `ds` whose inputs, weights or code have changed; return whether there was one.

    `events` reach to `ds` or further, if the caller has them. Without, old events are settled for the nights to come.

    Raises:
        MissingPartitionError: staging has no day `ds`, or lacks a day between its first event and `ds`.
    """
    staged = _staged(lake, ds)
    inputs = _inputs(staged, ds)
    chosen = _table_parameters(parameters)
    stale = [table for table in TABLES if lake.is_stale(table, ds, inputs[table], chosen)]
    if not stale:
        return False
    if events is not None:
        _build(lake, ds, parameters, stale, staged, events)
        return True
    with engine_for(sum(manifest.row_count or 0 for _, manifest in staged[INTERACTIONS])) as engine:
        own = EventHistory(lake, engine, [day for day, _ in staged[INTERACTIONS]])
        own.settle(ds)
        _build(lake, ds, parameters, stale, staged, own)
    return True


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
    lake: Lake, ds: date, parameters: Parameters, stale: Sequence[str], staged: Staged, events: EventHistory
) -> None:
    """Build the stale tables in the order of TABLES, as later ones read earlier ones."""
    engine, inputs, values = events.engine, _inputs(staged, ds), _query_parameters(ds, parameters)
    views: dict[str, Rows] = {"counted_events": events.counted(ds)}
    views |= {_view(table): engine.stored(lake, table, (day for day, _ in staged[table])) for table in (ITEMS, USERS)}
    kept = []
    try:
        for name in (LATEST_ITEM, LATEST_USER, EVENTS, HISTORY):
            rows = _run(engine, name, views, values)
            if name in _KEPT:
                rows = engine.keep(rows)
                kept.append(rows)
            views[_view(name)] = rows
        for table in TABLES:
            if table in stale:
                engine.write(
                    lake,
                    _run(engine, table, views, values),
                    table,
                    ds,
                    inputs=inputs[table],
                    parameters=_table_parameters(parameters),
                    metrics=days_as_metrics(staged[ITEMS]) if table == ITEM else None,
                )
            views[_view(table)] = engine.stored(lake, table, [ds])
    finally:
        for rows in kept:
            engine.release(rows)


def _run(engine: Engine, name: str, views: Mapping[str, Rows], values: Mapping[str, QueryParameter]) -> Rows:
    """Run a query on those of the views and values that it takes."""
    takes = read_query(name)
    return engine.query(
        name,
        {view: views[view] for view in takes.reads},
        {parameter: values[parameter] for parameter in takes.parameters},
    )


def _query_parameters(ds: date, parameters: Parameters) -> dict[str, QueryParameter]:
    weights = _event_weights(parameters)
    return {"ds": ds, **{f"weight_{event_type}_milli": weight for event_type, weight in weights.items()}}


def _view(name: str) -> str:
    return name.split("/")[1]
