"""Build `marts/experiment_units`: what each unit of each running experiment was shown on a day, and what it did.

A day is built once, and again where its exposures, its events or an earlier day of the same experiments changed. So
a night that was left out, or landed late, is made up for by the next one.
"""

from collections.abc import Mapping, Sequence
from datetime import date

import pyarrow as pa

from jobs.config.experiments import Experiment, Experiments
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest, digest_of
from jobs.lake.tables import EXPERIMENT_UNITS, EXPOSURES, INTERACTIONS
from jobs.spark.engine import Engine, Rows, engine_for
from jobs.spark.queries import QueryParameter

_MEMBER = ("experiment", "arm", "unit_id")


def build(lake: Lake, ds: date, declared: Experiments, limits: Mapping[str, QueryParameter]) -> list[date]:
    """Build the days up to `ds` of the experiments that run on it; return those that had to be built.

    `limits`: `places` and `follow_minutes`, as `sql/marts/followed_exposures.sql` has them.

    Raises:
        MissingPartitionError: the day was not ingested.
    """
    running = declared.running(ds)
    lake.fingerprints(ds, EXPOSURES, INTERACTIONS)  # the day itself has to stand
    built = []
    for day in days_of(lake, running, ds):
        on_day = {name: one for name, one in running.items() if one.runs_on(day)}
        earlier = [before for before in days_of(lake, on_day, day) if before < day]
        inputs = lake.fingerprints(day, EXPOSURES, INTERACTIONS)
        if earlier:
            of_earlier = digest_of(lake.manifest(EXPERIMENT_UNITS, before).fingerprint for before in earlier)
            inputs[f"{EXPERIMENT_UNITS}/{earlier[0]} to {earlier[-1]}"] = of_earlier
        chosen = {
            "experiments": {name: {"unit": one.unit, "kind": one.kind} for name, one in on_day.items()},
            **limits,
        }
        if lake.is_stale(EXPERIMENT_UNITS, day, inputs, chosen):
            with engine_for(lake.row_count(EXPOSURES, [day]) + lake.row_count(INTERACTIONS, [day])) as engine:
                _write(engine, lake, day, on_day, earlier, inputs, chosen, limits)
            built.append(day)
    return built


def days_of(lake: Lake, running: Mapping[str, Experiment], ds: date) -> list[date]:
    """Return the days up to `ds`, ascending, on which any of some experiments ran and events were ingested."""
    if not running:
        return []
    first = min(one.first_day for one in running.values())
    return [day for day in lake.days(INTERACTIONS) if first <= day <= ds and lake.find_manifest(EXPOSURES, day)]


def _write(
    engine: Engine,
    lake: Lake,
    day: date,
    running: Mapping[str, Experiment],
    earlier: Sequence[date],
    inputs: Mapping[str, str],
    chosen: Mapping[str, object],
    limits: Mapping[str, QueryParameter],
) -> Manifest:
    exposures, interactions = (engine.stored(lake, table, [day]) for table in (EXPOSURES, INTERACTIONS))
    views = {
        "declared": _declared(engine, running),
        "exposures": exposures,
        "interactions": interactions,
        "followed_exposures": engine.query(
            "marts/followed_exposures",
            {"exposures": exposures, "interactions": interactions},
            {"ds": day, "window_days": 1, **limits},
        ),
        "known_units": _known(engine, lake, running, earlier),
    }
    rows = engine.query("marts/experiment_units", views, {"ds": day, "follow_minutes": limits["follow_minutes"]})
    return engine.write(lake, rows, EXPERIMENT_UNITS, day, inputs=inputs, parameters=chosen)


def _declared(engine: Engine, running: Mapping[str, Experiment]) -> Rows:
    rows = [{"experiment": name, "unit": one.unit, "kind": one.kind} for name, one in running.items()]
    return engine.table(pa.Table.from_pylist(rows))


def _known(engine: Engine, lake: Lake, running: Mapping[str, Experiment], earlier: Sequence[date]) -> Rows:
    """Return the shoppers whom earlier days know, by experiment and arm."""
    of_shoppers = [name for name, one in running.items() if one.unit == "user" and one.kind == "ab"]
    names = ", ".join(f"'{name}'" for name in of_shoppers)
    chosen = f"experiment IN ({names})" if names else "FALSE"
    text = f"SELECT DISTINCT {', '.join(_MEMBER)} FROM before WHERE {chosen}"
    return engine.select(text, {"before": engine.stored(lake, EXPERIMENT_UNITS, earlier)})
