"""Labels of a training window: what shoppers did in the horizon after its day, and what they were shown."""

from datetime import date

from jobs.config.parameters import Parameters
from jobs.features.exposure_outcomes import FOLLOW_MINUTES, PLACES
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest
from jobs.lake.tables import LABELS
from jobs.spark.engine import Engine, Rows
from jobs.spark.queries import QueryParameter

A_MILLION = 1_000_000


def positive_pairs(engine: Engine, acts: Rows, item: Rows) -> Rows:
    """Return one row per known user and catalogue item with any of `acts` but an impression or a low rating.

    `acts` are `counted_events`.
    """
    return engine.query("marts/labels", {"acts": acts, "item": item}, {})


def shown_pairs(
    engine: Engine, exposures: Rows, interactions: Rows, item: Rows, until: date, horizon_days: int
) -> Rows:
    """Return one row per known user and catalogue item that was on a shelf in the `horizon_days` up to `until`."""
    views = {"exposures": exposures, "interactions": interactions}
    limits: dict[str, QueryParameter] = {
        "ds": until,
        "window_days": horizon_days,
        "places": PLACES,
        "follow_minutes": FOLLOW_MINUTES,
    }
    followed = engine.query("marts/followed_exposures", views, limits)
    return engine.query("marts/shown", {"followed_exposures": followed, "item": item}, {})


def sample_users(engine: Engine, labels: Rows, max_users: int) -> Rows:
    """Return the labels of about `max_users` users at most. A hash of the id chooses them, so the choice repeats."""
    users = engine.count(labels, "user_id")
    if users <= max_users:
        return labels
    return engine.query(
        "marts/sampled_labels", {"labels": labels}, {"users_of_a_million": A_MILLION * max_users // users}
    )


def write_labels(
    engine: Engine, lake: Lake, labels: Rows, ds: date, parameters: Parameters, inputs: dict[str, str]
) -> Manifest:
    """Write `marts/labels` for one as-of day."""
    kept = engine.keep(labels)
    try:
        sample = sample_users(engine, kept, parameters.training.windows.max_users)
        return engine.write(lake, sample, LABELS, ds, inputs=inputs, parameters=label_parameters(parameters))
    finally:
        engine.release(kept)


def label_parameters(parameters: Parameters) -> dict[str, int]:
    """Return the parameters that shape labels."""
    return {
        "horizon_days": parameters.training.horizon_days,
        "max_training_users": parameters.training.windows.max_users,
    }
