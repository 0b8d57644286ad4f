"""Score the published shelves of a day on the days after it: `marts/evaluation/ds=<day>/published.json` and a table.

    topshelf evaluate --ds 2011-11-09 --until 2011-11-23
    topshelf evaluate --ds 2011-10-12 --ds 2011-10-26 --ds 2011-11-09 --days 14

Nothing of the night is trained again. The simple baselines of `jobs.evaluation.baselines` are fitted to the
interactions that were visible on the day, and stand beside the shelf. `jobs.evaluation.time_split` says which users
and items count. A user without a shelf counts as one whose shelf has no hit. Several days are several splits of
time, each with its own night.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.config.parameters import Parameters
from jobs.config.settings import Settings
from jobs.evaluation.baselines import POPULARITY_DAYS, History, baseline_lists
from jobs.evaluation.console import print_published, print_splits
from jobs.evaluation.next_basket import basket_vectors
from jobs.evaluation.segments import by_segment
from jobs.evaluation.time_split import EvaluationError, TimeSplit, counts, read_events, time_split
from jobs.lake.evaluations import DayRange, Published
from jobs.lake.lake import Lake
from jobs.lake.tables import INTERACTIONS, RANKER, TOP_N
from jobs.numeric.arrays import Positions, coded
from jobs.numeric.list_metrics import DRAWS, K, bounds_and_margins, marked


def split_baselines(split: TimeSplit, k: int = K) -> tuple[dict[str, Positions], dict[str, str]]:
    """Return the lists of the baselines fitted to what was visible, and why a baseline was skipped, by name.

    They are fitted to the truth's kind of event; where the shop has others too, once more to every positive event
    (`<name>_any`), since views and carts may say more.
    """
    rows = pc.index_in(split.user_ids, value_set=split.visible.user_ids).to_numpy(False).astype(np.int64)
    histories = {"": split.visible}
    if split.truth_kind == "purchase" and not split.visible.is_purchase.all():
        histories = {"": split.visible.where(split.visible.is_purchase), "_any": split.visible}
    lists: dict[str, Positions] = {}
    skipped: dict[str, str] = {}
    since = np.datetime64(split.ds - timedelta(days=POPULARITY_DAYS), "D")
    for suffix, events in histories.items():
        recent = marked(counts(events.where(events.day > since)))
        popularity = np.diff(recent.tocsc().indptr).astype(np.int64)
        history = History(counts(events), popularity, None if suffix else basket_vectors(events))
        fitted, left_out = baseline_lists(history, rows, split.seen, k=k)
        lists |= {name + suffix: positions for name, positions in fitted.items()}
        skipped |= {name + suffix: reason for name, reason in left_out.items()}
    return lists, skipped


def shelf_lists(lake: Lake, ds: date) -> tuple[pa.Array, pa.Array, Positions]:
    """Return the users of the published base shelves, the items on them, and the shelves as positions of the items.

    Raises:
        EvaluationError: that day has no published shelves.
    """
    if lake.find_manifest(TOP_N, ds) is None:
        days = [str(day) for day in lake.days(TOP_N)][-5:]
        raise EvaluationError(
            f"{TOP_N} has no ds={ds}; run topshelf nightly --ds {ds}, or name one of its latest days: "
            f"{', '.join(days) or 'there is none'}"
        )
    if not lake.manifest(TOP_N, ds).row_count:
        raise EvaluationError(f"{TOP_N}/ds={ds} holds no shelf; run topshelf nightly --ds {ds} again")
    rows = lake.arrow(TOP_N, ds, ("variant", "user_id", "rank", "item_id"))
    rows = rows.filter(pc.equal(rows["variant"], "base"))
    user_ids, user = coded(rows["user_id"])
    item_ids, item = coded(rows["item_id"])
    rank = rows["rank"].to_numpy().astype(np.int64)
    lists = np.full((len(user_ids), int(rank.max(initial=0))), -1, dtype=np.int64)
    lists[user, rank - 1] = item
    return user_ids, item_ids, lists


def published(
    lake: Lake, landing: str, ds: date, until: date, parameters: Parameters, *, truth: str | None = None
) -> Published:
    """Score the shelves of `ds` on the days after it up to `until`; write the record and return it.

    Days that staging lacks are ingested first, which starts Spark.

    Raises:
        EvaluationError: the window is empty, that day has no shelves, or there are no users to score.
        UnmarkedDayError: a day of the window has not landed whole.
    """
    if until <= ds:
        raise EvaluationError(f"--until {until} is not after --ds {ds}; the window is the days after ds up to until")
    user_ids, item_ids, lists = shelf_lists(lake, ds)
    ingest_missing_days(lake, landing, until, parameters)
    split = time_split(read_events(lake, until), ds, until, truth=truth, catalogue=item_ids)
    aligned, without_shelf = split.align(user_ids, item_ids, lists)
    baselines, skipped = split_baselines(split)
    record = msgspec.structs.replace(
        scored(split, aligned, baselines, seed=parameters.seed),
        n_users_without_shelf=without_shelf,
        skipped=skipped,
        model_version=model_version(lake, ds),
        run_id=lake.manifest(TOP_N, ds).parameters.get("run_id"),
    )
    record.write(lake, ds)
    return record


def scored(split: TimeSplit, lists: Positions, baselines: Mapping[str, Positions], *, seed: int = 0) -> Published:
    """Return the metrics of one split's lists, 95% intervals, margins over each baseline, and segments.

    A margin is the mean difference over the same users, with its interval: [difference, low, high].
    """
    shelf, others = split.score(lists), {name: split.score(other) for name, other in baselines.items()}
    bounds, margins = bounds_and_margins(shelf, others, seed=seed)
    return Published(
        window=DayRange(split.ds + timedelta(days=1), split.until),
        truth=split.truth_kind,
        k=K,
        n_users=shelf.n_users,
        n_items=len(split.item_ids),
        metrics=shelf.metrics,
        intervals=bounds,
        bootstrap_draws=DRAWS,
        baselines={name: scores.metrics for name, scores in others.items()},
        margins=margins,
        segments=by_segment(split, lists, baselines),
    ).rounded()


def model_version(lake: Lake, ds: date) -> str | None:
    """Return the version of the ranker that made the shelves of `ds`, or None if none did."""
    manifest = lake.find_manifest(RANKER, ds)
    version = (manifest.parameters | manifest.metrics).get("model_version") if manifest else None
    return str(version) if version else None


def ingest_missing_days(lake: Lake, landing: str, until: date, parameters: Parameters) -> None:
    """Bring staging/interactions up to `until`, unless it has every day from its first one on."""
    staged = set(lake.days(INTERACTIONS))
    if staged and all(min(staged) + timedelta(days=n) in staged for n in range((until - min(staged)).days + 1)):
        return
    from jobs.staging.ingest import ingest

    ingest(lake, landing, until, parameters)


def evaluate(
    settings: Settings,
    days: Sequence[date],
    until: date | None,
    horizon_days: int,
    parameters: Parameters,
    *,
    truth: str | None = None,
) -> None:
    """Score the shelves of each day, up to `until` or for `horizon_days`; print them, and where the records are.

    Raises:
        EvaluationError: as `published`; or several days were given with one `until`.
    """
    if until is not None and len(days) > 1:
        raise EvaluationError("--until ends one split; with several --ds give --days instead")
    lake = Lake(settings.lake)
    records = {}
    for ds in sorted(set(days)):
        last = until or ds + timedelta(days=horizon_days)
        records[ds] = published(lake, settings.landing, ds, last, parameters, truth=truth)
    for record in records.values():
        print_published(record)
    if len(records) > 1:
        print_splits(records)
    for ds in records:
        print(f"{settings.lake}/{Published.path(ds)}")
