"""Labels of a training window: what shoppers did in the horizon after its day, and what they were shown."""

from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.config.parameters import Parameters
from jobs.features.counting import counted_events
from jobs.features.exposure_outcomes import FOLLOW_MINUTES, PLACES
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest
from jobs.lake.tables import LABELS
from jobs.spark.queries import QueryParameter, query


def horizon_labels(interactions: DataFrame, item: DataFrame, ds: date, horizon_days: int) -> DataFrame:
    """Return the `positive_pairs` of the `horizon_days` after `ds`.

    `interactions` is staging/interactions, of which earlier days tell the scale of ratings.
    """
    return positive_pairs(counted_events(interactions, ds + timedelta(days=horizon_days), after=ds), item)


def positive_pairs(acts: DataFrame, item: DataFrame) -> DataFrame:
    """Return one row per known user and catalogue item with any of `acts` but an impression or a low rating.

    `acts` are `counted_events`.
    """
    return query(acts.sparkSession, "marts/labels", {"acts": acts, "item": item}, {})


def shown_pairs(
    exposures: DataFrame, interactions: DataFrame, item: DataFrame, until: date, horizon_days: int
) -> DataFrame:
    """Return one row per known user and catalogue item that was on a shelf in the `horizon_days` up to `until`."""
    frames = {"exposures": exposures, "interactions": interactions}
    limits: dict[str, QueryParameter] = {
        "ds": until,
        "window_days": horizon_days,
        "places": PLACES,
        "follow_minutes": FOLLOW_MINUTES,
    }
    followed = query(item.sparkSession, "marts/followed_exposures", frames, limits)
    return query(item.sparkSession, "marts/shown", {"followed_exposures": followed, "item": item}, {})


def sample_users(labels: DataFrame, max_users: int) -> DataFrame:
    """Return the labels of about `max_users` users at most. A hash of the id chooses them, so the choice repeats."""
    users = labels.select("user_id").distinct().count()
    if users <= max_users:
        return labels
    return labels.where(F.pmod(F.xxhash64("user_id"), F.lit(1_000_000)) < int(1_000_000 * max_users / users))


def write_labels(lake: Lake, labels: DataFrame, ds: date, parameters: Parameters, inputs: dict[str, str]) -> Manifest:
    """Write `marts/labels` for one as-of day."""
    chosen = label_parameters(parameters)
    return lake.write(
        sample_users(labels, parameters.training.windows.max_users), LABELS, ds, inputs=inputs, parameters=chosen
    )


def label_parameters(parameters: Parameters) -> dict[str, int]:
    """Return the parameters that shape labels."""
    return {
        "horizon_days": parameters.training.horizon_days,
        "max_training_users": parameters.training.windows.max_users,
    }
