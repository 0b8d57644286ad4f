"""Choose the training windows of a night and build each one: features, CF, labels, examples.

A window is an as-of day c. Features and models are fitted to what was known on c; the labels are the events of the
horizon after it. Windows start on Sundays, one horizon apart, newest first; the newest must have its full horizon by
the night. So for a week the nights find them built, and the ranker too.
In a shop with too few days for a window, each user's latest pairs are held out and everything is fitted to the rest.
So too where windows would not be like tonight: most events are younger than the newest window, as after a launch, or
windows have far fewer labels than held-out pairs would give.
With fewer pairs than a head of the ranker needs, there is no window.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from functools import partial

from jobs.config.calendar import window_days
from jobs.config.parameters import Parameters
from jobs.features import feature_tables
from jobs.features.event_days import event_days, most_came_later
from jobs.features.event_history import EventHistory
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest, digest_of
from jobs.lake.partitions import log_stale
from jobs.lake.tables import (
    EXPOSURES,
    HELD_OUT,
    INTERACTIONS,
    ITEM,
    ITEMS,
    LABELS,
    SHOWN,
    USER,
    USER_ITEM,
    USERS,
    WINDOW_CF,
)
from jobs.models import collaborative, content, train_towers
from jobs.ranking.heads import MIN_POSITIVES, required_facts
from jobs.spark.engine import Engine, Rows, engine_for
from jobs.spark.queries import QueryParameter
from jobs.training import examples
from jobs.training.examples import Window
from jobs.training.labels import label_parameters, positive_pairs, shown_pairs, write_labels

HELD_OUT_SHARE = 5
"""One pair in this many is held out."""
HELD_OUT_USERS = 2
"""A window of held-out pairs has so many times the shoppers of another one, as it is the only one."""
FEWEST_LABELS, FEWEST_LABELS_SHARE = 10_000, 50
"""Windows must hold so many labels, or one for so many of the shop's pairs: a tenth of what would be held out."""
MIN_TRAINING_WINDOWS = 3
"""With more windows than this, the oldest one is used for calibration."""


def build(lake: Lake, ds: date, parameters: Parameters) -> list[Window]:
    """Build the windows of night `ds`, newest first; without labels in any of them, one window of held-out pairs.

    There is none where nothing can be learned: no shopper is known, or there are too few pairs to hold any out.

    Raises:
        MissingPartitionError: staging or features have no day `ds`.
    """
    if not lake.manifest(USER, ds).row_count:
        return []
    staged = event_days(lake, ds)
    days = window_days(staged[0], ds, parameters)
    if days and most_came_later(lake, staged, days[0]):
        days = []
    with engine_for(lake.row_count(INTERACTIONS, staged)) as engine:
        events = EventHistory(lake, engine, staged, keep=True)
        labels: dict[date, int] = {}

        def build_and_count(day: date) -> int:
            labels[day] = build_window(lake, day, parameters, events).row_count or 0
            return labels[day]

        windows = choose_windows(lake, days, build_and_count, parameters)
        pairs = lake.manifest(USER_ITEM, ds).row_count or 0
        if windows and sum(labels.values()) >= min(FEWEST_LABELS, pairs // FEWEST_LABELS_SHARE):
            return windows
        return [] if pairs < MIN_POSITIVES else [_build_held_out(lake, ds, events, parameters)]


def choose_windows(
    lake: Lake, days: Sequence[date], build_and_count: Callable[[date], int], parameters: Parameters
) -> list[Window]:
    """Build windows of `days`, in their order, until at least two hold enough labels, then one more for calibration.

    If `days` end before that, the last window calibrates if MIN_TRAINING_WINDOWS others are left to train on.
    `build_and_count` builds the window of one day and returns its number of labels. Without labels in any window,
    none is returned.
    """
    with_calibration = parameters.ranking.calibration != "none"
    windows: list[Window] = []
    label_count = 0
    for day in days:
        is_enough = label_count >= parameters.training.windows.enough_labels and len(windows) > 1
        if is_enough and not with_calibration:
            break
        label_count += build_and_count(day)
        windows.append(Window(lake, day, calibrates=is_enough))
        if is_enough:
            break
    if with_calibration and len(windows) > MIN_TRAINING_WINDOWS:
        windows[-1] = replace(windows[-1], calibrates=True)
    return windows if label_count else []


def build_window(lake: Lake, day: date, parameters: Parameters, events: EventHistory) -> Manifest:
    """Build one window; return the manifest of its labels, which come from events that landed within the horizon."""
    until = day + timedelta(days=parameters.training.horizon_days)
    _fit(lake, day, parameters, events)
    landed = _landed_days(lake, INTERACTIONS, day, until)
    inputs = lake.fingerprints(day, ITEM) | {INTERACTIONS: _digest(lake, INTERACTIONS, landed)}
    chosen, engine = label_parameters(parameters), events.engine

    def write() -> Manifest:
        item = engine.stored(lake, ITEM, [day])
        labels = positive_pairs(engine, events.counted(until, after=day), item)
        return write_labels(engine, lake, labels, day, parameters, inputs)

    labels = lake.build_if_stale(LABELS, day, inputs, chosen, write)
    if "place" in required_facts(parameters.ranking.head_weight.positive()):
        _build_shown(lake, day, parameters, events)
    examples.build(lake, day, parameters)
    return labels


def _fit(lake: Lake, day: date, parameters: Parameters, events: EventHistory) -> None:
    """Build the features and models of one window."""
    feature_tables.build_if_stale(lake, day, parameters, events)
    collaborative.build(lake, day, parameters, WINDOW_CF)
    content.build(lake, day, parameters)
    train_towers.build(lake, day, parameters)


def _landed_days(lake: Lake, table: str, after: date, until: date) -> list[date]:
    return [day for day in lake.days(table) if after < day <= until]


def _digest(lake: Lake, table: str, days: Iterable[date]) -> str:
    return digest_of(lake.manifest(table, day).fingerprint for day in days)


def _build_shown(lake: Lake, day: date, parameters: Parameters, events: EventHistory) -> None:
    """Build `marts/shown` of one window, unless it is current or no exposures landed within the horizon."""
    until = day + timedelta(days=parameters.training.horizon_days)
    landed = {table: _landed_days(lake, table, day, until) for table in (EXPOSURES, INTERACTIONS)}
    inputs = lake.fingerprints(day, ITEM) | {table: _digest(lake, table, days) for table, days in landed.items()}
    chosen, engine = {"horizon_days": parameters.training.horizon_days}, events.engine

    def write() -> Manifest:
        exposures = engine.stored(lake, EXPOSURES, landed[EXPOSURES])
        item = engine.stored(lake, ITEM, [day])
        landed_since = events.landed(after=day)
        shown = shown_pairs(engine, exposures, landed_since, item, until, parameters.training.horizon_days)
        return engine.write(lake, shown, SHOWN, day, inputs=inputs, parameters=chosen)

    if landed[EXPOSURES]:
        lake.build_if_stale(SHOWN, day, inputs, chosen, write)


def _build_held_out(lake: Lake, ds: date, events: EventHistory, parameters: Parameters) -> Window:
    """Build one window as of `ds` itself: a fifth of the pairs are its labels, everything is fitted to the others."""
    rest, engine = Lake(f"{lake.root}/{HELD_OUT}"), events.engine
    split: dict[str, QueryParameter] = {"share": HELD_OUT_SHARE, "seed": parameters.seed}
    held_out = engine.query("marts/held_out_pairs", {"interactions": events.landed()}, {"ds": ds, **split})

    def other_pairs(days: Sequence[date]) -> Rows:
        views = {"interactions": engine.stored(lake, INTERACTIONS, days), "held_out_pairs": held_out}
        return engine.query("marts/events_of_other_pairs", views, {"ds": ds})

    days = [day for day in lake.days(INTERACTIONS) if day <= ds]
    digest = _digest(lake, INTERACTIONS, days)
    # Which pairs of a day are held out depends on all days: a later one may have a shopper's latest pairs.
    _copy_stale_days(engine, lake, rest, INTERACTIONS, ds, split | {"days": digest}, other_pairs)
    for table in (ITEMS, USERS):
        _copy_stale_days(engine, lake, rest, table, ds, {}, partial(engine.stored, lake, table))
    _fit(rest, ds, parameters, EventHistory(rest, engine, event_days(rest, ds)))
    inputs = rest.fingerprints(ds, ITEM) | {INTERACTIONS: digest}
    acts = engine.query("marts/held_out_acts", {"acts": events.counted(ds), "held_out_pairs": held_out}, {})
    labels = positive_pairs(engine, acts, engine.stored(rest, ITEM, [ds]))
    most = {"training.windows.max_users": HELD_OUT_USERS * parameters.training.windows.max_users}
    write_labels(engine, rest, labels, ds, parameters.with_values(most), inputs)
    examples.build(rest, ds, parameters)
    return Window(rest, ds)


def _copy_stale_days(
    engine: Engine,
    lake: Lake,
    rest: Lake,
    table: str,
    ds: date,
    parameters: Mapping[str, object],
    rows_of: Callable[[list[date]], Rows],
) -> None:
    """Write the rows of those days of a table, up to `ds`, that have changed in `lake` since `rest` got them.

    `parameters` says how the rows were chosen: with others, all days are written again.
    """
    inputs = {day: lake.fingerprints(day, table) for day in lake.days(table) if day <= ds}
    reasons = {day: rest.why_stale(table, day, of_day, parameters) for day, of_day in inputs.items()}
    log_stale(table, reasons)
    stale = [day for day, why in reasons.items() if why]
    if stale:
        # Of days that are copied whole, what is counted stays true.
        metrics = {} if parameters else {day: lake.manifest(table, day).metrics for day in stale}
        engine.write_days(rest, rows_of(stale), table, stale, inputs=inputs, parameters=parameters, metrics=metrics)
