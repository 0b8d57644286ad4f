"""Choose the as-of days whose aftermath teaches the ranker, and build each one: features, CF, labels, examples.

A window stands at day c: everything that is learned from is fitted to what was known on c, and the labels are the
events of the horizon after it. Windows begin on a Sunday, the newest on the last whose horizon is over by the night:
so for a week the nights find them built, and the ranker as well. Older ones follow back to back.
Where the shop has too few days for one, each user's pairs are held out by hash and everything is fitted to the rest.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

import msgspec
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.storagelevel import StorageLevel

from jobs.config.calendar import window_days
from jobs.config.parameters import Parameters
from jobs.features import feature_tables
from jobs.lake.code_version import code_of
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest, digest_of
from jobs.lake.tables import EXAMPLES, EXPOSURES, HELD_OUT, INTERACTIONS, ITEM, ITEMS, LABELS, SHOWN, USERS, WINDOW_CF
from jobs.models import collaborative, content, train_towers
from jobs.ranking.heads import required_facts
from jobs.training import examples
from jobs.training.examples import Window
from jobs.training.labels import horizon_labels, label_parameters, positive_pairs, shown_pairs, write_labels

HELD_OUT_SHARE = 5
"""One pair in this many is held out."""
LEARNED_FIRST = 3
"""Of more windows than this one can be spared for calibration."""


def build(spark: SparkSession, lake: Lake, ds: date, parameters: Parameters) -> list[Window]:
    """Build the windows of night `ds`, newest first, until they hold enough labels, and one that calibrates.

    The oldest calibrates where three or more train, or where fewer hold enough labels: of so few, none can be spared.

    Raises:
        MissingPartitionError: the staging tables have no day `ds`.
    """
    lake.manifest(INTERACTIONS, ds)
    days = window_days(lake.days(INTERACTIONS)[0], ds, parameters)
    # Opened once for all windows: hundreds of days' files take seconds to list and to open.
    events = visible(spark, lake, ds).persist(StorageLevel.MEMORY_AND_DISK)
    calibrates = parameters.ranking.calibration != "none"
    windows: list[Window] = []
    labels = 0
    try:
        for day in days:
            is_enough = labels >= parameters.training.windows.enough_labels and len(windows) > 1
            if is_enough and not calibrates:
                break
            labels += build_window(spark, lake, day, parameters, events).row_count or 0
            windows.append(Window(lake, day, is_enough))
            if is_enough:
                break
        if calibrates and len(windows) > LEARNED_FIRST:
            windows[-1] = replace(windows[-1], calibrates=True)
        return windows if labels else [_build_held_out(spark, lake, ds, events, parameters)]
    finally:
        events.unpersist()


class RecordedWindow(msgspec.Struct, frozen=True):
    """One window as `runs/ds=…/label_windows.json` has it."""

    ds: date
    held_out: bool
    calibrates: bool
    examples: str | None
    """Fingerprint of its examples, None where they do not stand."""


class WindowRecord(msgspec.Struct, frozen=True):
    """The windows of one night, and what they were built with."""

    windows: tuple[RecordedWindow, ...]
    parameters: str
    code: str


def windows_path(ds: date) -> str:
    """Return where in the lake a night's windows are written down."""
    return f"runs/ds={ds}/label_windows.json"


def build_and_record(spark: SparkSession, lake: Lake, ds: date, parameters: Parameters) -> list[Window]:
    """Build the windows, and write them down for the ranker's stage, which may be a command of its own."""
    windows = build(spark, lake, ds, parameters)
    lake.put_json(windows_path(ds), msgspec.to_builtins(_record(lake, windows, parameters)))
    return windows


def read_windows(lake: Lake, ds: date) -> list[Window]:
    """Return the windows that were written down last for night `ds`; none where there were none."""
    found = _read_record(lake, ds)
    held_out = Lake(f"{lake.root}/{HELD_OUT}")
    windows = found.windows if found else ()
    return [Window(held_out if each.held_out else lake, each.ds, each.calibrates) for each in windows]


def recorded(lake: Lake, ds: date, parameters: Parameters) -> list[Window] | None:
    """Return the windows written down for night `ds`; None where they do not stand as they were built then."""
    windows = read_windows(lake, ds)
    return windows if windows and _record(lake, windows, parameters) == _read_record(lake, ds) else None


def _read_record(lake: Lake, ds: date) -> WindowRecord | None:
    found = lake.get_json(windows_path(ds))
    return msgspec.convert(found, WindowRecord) if found else None


def _record(lake: Lake, windows: Sequence[Window], parameters: Parameters) -> WindowRecord:
    return WindowRecord(
        windows=tuple(
            RecordedWindow(
                window.ds,
                window.lake.root != lake.root,
                window.calibrates,
                found.fingerprint if (found := window.lake.find_manifest(EXAMPLES, window.ds)) else None,
            )
            for window in windows
        ),
        parameters=parameters.digest(),
        code=code_of(__name__).digest,
    )


def visible(spark: SparkSession, lake: Lake, ds: date) -> DataFrame:
    """Return the events that night `ds` sees."""
    days = [day for day in lake.days(INTERACTIONS) if day <= ds]
    return lake.read_days(spark, INTERACTIONS, days).where(F.col("event_date") <= F.lit(ds))


def build_window(
    spark: SparkSession, lake: Lake, day: date, parameters: Parameters, interactions: DataFrame | None = None
) -> Manifest:
    """Build one window; return the manifest of its labels: of events that landed within the horizon.

    `interactions` is staging/interactions up to the horizon's end or a later day, where the caller has it at hand.
    """
    until = day + timedelta(days=parameters.training.horizon_days)
    feature_tables.build_if_stale(spark, lake, day, parameters, interactions)
    collaborative.build(lake, day, parameters, WINDOW_CF)
    content.build(lake, day, parameters)
    train_towers.build(lake, day, parameters)
    landed = [known for known in lake.days(INTERACTIONS) if day < known <= until]
    inputs = {
        **lake.fingerprints(day, ITEM),
        INTERACTIONS: digest_of(lake.manifest(INTERACTIONS, known).fingerprint for known in landed),
    }
    chosen = label_parameters(parameters)

    def write() -> Manifest:
        item = lake.read(spark, ITEM, day)
        events = lake.read_days(spark, INTERACTIONS, landed) if interactions is None else interactions
        events = events.where(F.col("ds").between(F.lit(day + timedelta(days=1)), F.lit(until)))
        return write_labels(
            lake, horizon_labels(events, item, day, parameters.training.horizon_days), day, parameters, inputs
        )

    labels = lake.build_if_stale(LABELS, day, inputs, chosen, write)
    if "place" in required_facts(parameters.ranking.head_weight.positive()):
        _build_shown(spark, lake, day, parameters, interactions)
    examples.build(spark, lake, day, parameters)
    return labels


def _build_shown(
    spark: SparkSession, lake: Lake, day: date, parameters: Parameters, interactions: DataFrame | None
) -> None:
    """Build `marts/shown` of one window, unless it stands already, or nothing was shown in it."""
    until = day + timedelta(days=parameters.training.horizon_days)
    landed = {
        table: [known for known in lake.days(table) if day < known <= until] for table in (EXPOSURES, INTERACTIONS)
    }
    inputs = lake.fingerprints(day, ITEM) | {
        table: digest_of(lake.manifest(table, known).fingerprint for known in days) for table, days in landed.items()
    }
    chosen = {"horizon_days": parameters.training.horizon_days}

    def write() -> Manifest:
        exposures = lake.read_days(spark, EXPOSURES, landed[EXPOSURES])
        events = lake.read_days(spark, INTERACTIONS, landed[INTERACTIONS]) if interactions is None else interactions
        item = lake.read(spark, ITEM, day)
        shown = shown_pairs(exposures, events, item, until, parameters.training.horizon_days)
        return lake.write(shown, SHOWN, day, inputs=inputs, parameters=chosen)

    if landed[EXPOSURES]:
        lake.build_if_stale(SHOWN, day, inputs, chosen, write)


def _build_held_out(spark: SparkSession, lake: Lake, ds: date, events: DataFrame, parameters: Parameters) -> Window:
    """Build one window as of `ds` itself: a fifth of the pairs are its labels, all else is fitted without them."""
    rest = Lake(f"{lake.root}/{HELD_OUT}")
    days = [day for day in lake.days(INTERACTIONS) if day <= ds]
    inputs = {day: lake.fingerprints(day, INTERACTIONS) for day in days}
    pair = F.xxhash64(F.lit(parameters.seed), F.col("user_id"), F.col("item_id"))
    is_held_out = F.col("user_id").isNotNull() & (F.pmod(pair, F.lit(HELD_OUT_SHARE)) == 0)
    stale = [day for day in days if rest.is_stale(INTERACTIONS, day, inputs[day], {})]
    if stale:
        rest.write_days(events.where(~is_held_out & F.col("ds").isin(stale)), INTERACTIONS, stale, inputs=inputs)
    for table in (ITEMS, USERS):
        stale = [
            day
            for day in lake.days(table)
            if day <= ds and rest.is_stale(table, day, lake.fingerprints(day, table), {})
        ]
        if stale:
            given = {day: lake.fingerprints(day, table) for day in stale}
            rest.write_days(lake.read_days(spark, table, stale), table, stale, inputs=given)
    feature_tables.build_if_stale(spark, rest, ds, parameters)
    collaborative.build(rest, ds, parameters, WINDOW_CF)
    content.build(rest, ds, parameters)
    train_towers.build(rest, ds, parameters)
    label_inputs = {
        **rest.fingerprints(ds, ITEM),
        INTERACTIONS: digest_of(lake.manifest(INTERACTIONS, day).fingerprint for day in days),
    }
    item = rest.read(spark, ITEM, ds)
    labels = positive_pairs(events.where(is_held_out), item)
    write_labels(rest, labels, ds, parameters, label_inputs)
    examples.build(spark, rest, ds, parameters)
    return Window(rest, ds)
