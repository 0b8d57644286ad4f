"""Score the published shelf of one day on the days after it: `marts/evaluation/ds=<day>/published.json` and a table.

    python -m jobs.evaluate --ds 2011-11-09 --until 2011-11-23

Nothing of the night is trained again. The simple baselines of `jobs.baselines` are fitted to the interactions that
were visible on the day, and stand beside the shelf. Truth is the distinct items that a user purchased in the window
and that somebody had interacted with before it; asked are the users with a purchase on both sides. Where the shop has
no purchases, any positive event counts in their place. A user who was given no shelf counts with nothing found.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from jobs.baselines import POPULARITY_DAYS, History, baseline_lists
from jobs.lake import Lake, MissingPartitionError
from jobs.landing import UnmarkedDayError
from jobs.metrics import DRAWS, K, ListScores, Positions, intervals, marked, rounded, score_lists
from jobs.settings import Parameters, Settings, parameters_from_environment

POSITIVE = ("click", "view", "add_to_cart", "purchase", "rating")
TRUTHS = ("purchase", "any")
COLUMNS = ("user_id", "item_id", "event_type", "event_date")
SHELVES = "marts/top_n"


class EvaluationError(ValueError):
    """What was asked cannot be evaluated; the message says why and what to do."""


@dataclass(frozen=True)
class Events:
    """Positive events of known users, as columns of one length: codes into sorted ids, days as datetime64[D].

    `day` is when it happened, `landed` the landing folder it came in.
    """

    user_ids: pa.Array
    item_ids: pa.Array
    user: npt.NDArray[np.int64]
    item: npt.NDArray[np.int64]
    is_purchase: npt.NDArray[np.bool_]
    day: npt.NDArray[np.datetime64]
    landed: npt.NDArray[np.datetime64]

    def where(self, kept: npt.NDArray[np.bool_]) -> "Events":
        """Return the events that `kept` marks."""
        columns = ("user", "item", "is_purchase", "day", "landed")
        return replace(self, **{name: getattr(self, name)[kept] for name in columns})


@dataclass(frozen=True)
class TimeSplit:
    """What one split of time asks: users, catalogue, truth, and what was visible on the day.

    `truth` and `seen` are CSR [len(user_ids), len(item_ids)]; `audience` is the distinct users of each item before
    the window; `visible` holds the events up to the day, with items in the order of `item_ids`.
    """

    ds: date
    until: date
    truth_kind: str
    user_ids: pa.Array
    item_ids: pa.Array
    truth: sparse.csr_matrix
    seen: sparse.csr_matrix
    audience: npt.NDArray[np.int64]
    n_history_users: int
    visible: Events

    def align(self, user_ids: pa.Array, item_ids: pa.Array, lists: Positions) -> tuple[Positions, int]:
        """Return lists [len(self.user_ids), length] from lists of other users and positions; and users without one.

        Args:
            user_ids: whose list each row of `lists` is.
            item_ids: the catalogue that `lists` has positions in; all of it must have been given to `time_split`.
            lists: positions [len(user_ids), length], -1 where a list has ended.
        """
        into = pc.index_in(item_ids.cast(pa.string()), value_set=self.item_ids).fill_null(-1).to_numpy(False)
        if len(into) and into.min() < 0:
            raise EvaluationError("a list names items that the split has not; give time_split the same catalogue")
        row = pc.index_in(self.user_ids, value_set=user_ids.cast(pa.string())).fill_null(-1).to_numpy(False)
        aligned = np.full((len(row), lists.shape[1]), -1, dtype=np.int64)
        given = lists[row[row >= 0]]
        aligned[row >= 0] = np.where(given >= 0, into[np.maximum(given, 0)], -1) if len(into) else -1
        return aligned, int((row < 0).sum())

    def score(self, lists: Positions, k: int = K) -> ListScores:
        """Score aligned lists; see `jobs.metrics.score_lists`."""
        return score_lists(lists, self.truth, self.seen, self.audience, self.n_history_users, k=k)


def read_events(lake: Lake, until: date) -> Events:
    """Return the positive events of known users that landed by `until`, read without Spark.

    Raises:
        MissingPartitionError: no day of staging/interactions has been built.
    """
    tables, days = [], [ds for ds in lake.days("staging/interactions") if ds <= until]
    for ds in days:
        if lake.manifest("staging/interactions", ds).files:
            rows = lake.arrow("staging/interactions", ds, COLUMNS)
            kept = pc.and_(pc.is_valid(rows["user_id"]), pc.is_in(rows["event_type"], value_set=pa.array(POSITIVE)))
            rows = rows.filter(kept)
            tables.append(rows.append_column("landed", pa.array(np.full(len(rows), np.datetime64(ds, "D")))))
    if not tables:
        raise MissingPartitionError(
            f"staging/interactions has no events up to ds={until}; run python -m jobs.ingest --ds {until}"
        )
    whole = pa.concat_tables(tables)
    user_ids, user = _coded(whole["user_id"])
    item_ids, item = _coded(whole["item_id"])
    return Events(
        user_ids=user_ids,
        item_ids=item_ids,
        user=user,
        item=item,
        is_purchase=pc.equal(whole["event_type"], "purchase").to_numpy(),
        day=whole["event_date"].to_numpy().astype("datetime64[D]"),
        landed=whole["landed"].to_numpy().astype("datetime64[D]"),
    )


def _coded(column: pa.ChunkedArray) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """Return the distinct ids in byte order, and each row's index among them."""
    ids = column.cast(pa.string()).unique()
    ids = ids.take(pc.sort_indices(ids))
    return ids, pc.index_in(column.cast(pa.string()), value_set=ids).to_numpy().astype(np.int64)


def time_split(
    events: Events, ds: date, until: date, *, truth: str | None = None, catalogue: pa.Array | None = None
) -> TimeSplit:
    """Return what the events of (`ds`, `until`] ask of lists made on `ds`.

    Args:
        events: as `read_events` returns them; what landed or happened after `until` is left out.
        ds: the day whose evening the lists were made on: events that had landed and happened by then are visible.
        until: the last day of the window, inclusive.
        truth: `purchase`, `any` positive event, or None: purchases unless the shop has none.
        catalogue: ids of items that lists may hold besides those with visible events.

    Raises:
        EvaluationError: the window is empty, or nobody can be asked.
    """
    if until <= ds:
        raise EvaluationError(f"--until {until} is not after --ds {ds}; the window is the days after ds up to until")
    day, last = np.datetime64(ds, "D"), np.datetime64(until, "D")
    is_visible = (events.day <= day) & (events.landed <= day)
    in_window = (events.day > day) & (events.day <= last) & (events.landed <= last)
    kind = truth or ("purchase" if events.is_purchase[is_visible | in_window].any() else "any")
    counts = events.is_purchase if kind == "purchase" else np.ones(len(events.user), dtype=bool)

    known = events.item_ids.take(pa.array(np.unique(events.item[is_visible])))
    item_ids = known if catalogue is None else pa.concat_arrays([known, catalogue.cast(pa.string())]).unique()
    item_ids = item_ids.take(pc.sort_indices(item_ids))
    place = pc.index_in(events.item_ids, value_set=item_ids).fill_null(-1).to_numpy(False).astype(np.int64)
    events = replace(events, item_ids=item_ids, item=place[events.item])
    visible = events.where(is_visible)
    before = visible.where(counts[is_visible])
    was_known = np.isin(events.item, np.unique(visible.item))
    window = events.where(in_window & counts & was_known)

    users = np.intersect1d(before.user, window.user)
    if not len(users):
        raise EvaluationError(_nobody(kind, ds, until))
    return TimeSplit(
        ds=ds,
        until=until,
        truth_kind=kind,
        user_ids=events.user_ids.take(pa.array(users)),
        item_ids=item_ids,
        truth=marked(_counts(window)[users]),
        seen=marked(_counts(before)[users]),
        audience=np.diff(marked(_counts(visible)).tocsc().indptr).astype(np.int64),
        n_history_users=len(np.unique(visible.user)),
        visible=visible,
    )


def _nobody(kind: str, ds: date, until: date) -> str:
    event = "a purchase" if kind == "purchase" else "an event"
    remedy = "move --until further" + (" or give --truth any" if kind == "purchase" else "")
    return f"no user has {event} of a known item up to {ds} and again in the days after it up to {until}; {remedy}"


def _counts(events: Events) -> sparse.csr_matrix:
    """Return the rows of each user and item, CSR [all user ids, item ids]."""
    shape = (len(events.user_ids), len(events.item_ids))
    return sparse.coo_matrix((np.ones(len(events.user)), (events.user, events.item)), shape=shape).tocsr()


def baseline_scores(split: TimeSplit, k: int = K) -> tuple[dict[str, ListScores], dict[str, str]]:
    """Return the scores of the baselines fitted to what was visible, and why one was skipped, by name.

    They are fitted to the truth's kind of event; where the shop has others too, once more to every positive event
    (`<name>_any`), since views and carts may say more.
    """
    rows = pc.index_in(split.user_ids, value_set=split.visible.user_ids).to_numpy(False).astype(np.int64)
    kinds = {"": split.visible}
    if split.truth_kind == "purchase" and not split.visible.is_purchase.all():
        kinds = {"": split.visible.where(split.visible.is_purchase), "_any": split.visible}
    scores: dict[str, ListScores] = {}
    skipped: dict[str, str] = {}
    since = np.datetime64(split.ds - timedelta(days=POPULARITY_DAYS), "D")
    for suffix, events in kinds.items():
        recent = marked(_counts(events.where(events.day > since)))
        history = History(_counts(events), np.diff(recent.tocsc().indptr).astype(np.int64))
        lists, left_out = baseline_lists(history, rows, split.seen, k=k)
        scores |= {name + suffix: split.score(of, k) for name, of in lists.items()}
        skipped |= {name + suffix: reason for name, reason in left_out.items()}
    return scores, skipped


def shelf_lists(lake: Lake, ds: date) -> tuple[pa.Array, pa.Array, Positions]:
    """Return the users of the published base shelves, the items on them, and the shelves as positions of the items.

    Raises:
        EvaluationError: that day has no published shelves.
    """
    if lake.find_manifest(SHELVES, ds) is None:
        days = [str(day) for day in lake.days(SHELVES)][-5:]
        raise EvaluationError(
            f"{SHELVES} has no ds={ds}; run topshelf nightly --ds {ds}, or name one of its latest days: "
            f"{', '.join(days) or 'there is none'}"
        )
    if not lake.manifest(SHELVES, ds).row_count:
        raise EvaluationError(f"{SHELVES}/ds={ds} holds no shelf; run topshelf nightly --ds {ds} again")
    rows = lake.arrow(SHELVES, ds, ("variant", "user_id", "rank", "item_id"))
    rows = rows.filter(pc.equal(rows["variant"], "base"))
    user_ids, user = _coded(rows["user_id"])
    item_ids, item = _coded(rows["item_id"])
    rank = rows["rank"].to_numpy().astype(np.int64)
    lists = np.full((len(user_ids), int(rank.max(initial=0))), -1, dtype=np.int64)
    lists[user, rank - 1] = item
    return user_ids, item_ids, lists


def published(
    lake: Lake, landing: str, ds: date, until: date, parameters: Parameters, *, truth: str | None = None
) -> dict[str, Any]:
    """Score the shelves of `ds` on the days after it up to `until`; write published.json and return what it says.

    Days of staging that are not there yet are ingested first, which starts Spark.

    Raises:
        EvaluationError: the window is empty, that day has no shelves, or nobody can be asked.
        UnmarkedDayError: a day of the window has not landed whole.
    """
    if until <= ds:
        raise EvaluationError(f"--until {until} is not after --ds {ds}; the window is the days after ds up to until")
    user_ids, item_ids, lists = shelf_lists(lake, ds)
    ingest_missing_days(lake, landing, until, parameters)
    split = time_split(read_events(lake, until), ds, until, truth=truth, catalogue=item_ids)
    aligned, without_shelf = split.align(user_ids, item_ids, lists)
    shelf = split.score(aligned)
    others, skipped = baseline_scores(split)
    said = report(split, shelf, others, seed=parameters.seed)
    said |= {
        "n_users_without_shelf": without_shelf,
        "skipped": skipped,
        "model_version": model_version(lake, ds),
        "run_id": lake.manifest(SHELVES, ds).parameters.get("run_id"),
    }
    lake.put_json(f"marts/evaluation/ds={ds}/published.json", said)
    return said


def report(split: TimeSplit, shelf: ListScores, baselines: dict[str, ListScores], *, seed: int = 0) -> dict[str, Any]:
    """Return the report of one split as JSON values: metrics, 95% intervals, the shelf's margin over each baseline.

    A margin is the mean difference over the same users, with its interval: [difference, low, high].
    """
    bounds: dict[str, dict[str, list[float]]] = {}
    margins: dict[str, dict[str, dict[str, list[float]]]] = {name: {} for name in baselines}
    for kind, values in shelf.values.items():
        differences = {
            (name, metric): values[metric] - of
            for name, baseline in baselines.items()
            for metric, of in baseline.values[kind].items()
        }
        # One call for all, so that the users are drawn once.
        found = intervals(differences | {("", metric): of for metric, of in values.items()}, seed=seed)
        bounds[kind] = {metric: found["", metric] for metric in values if found}
        for (name, metric), by in differences.items():
            if found:
                margins[name].setdefault(kind, {})[metric] = [float(by.mean()), *found[name, metric]]
    said = {
        "window": {"from": str(split.ds + timedelta(days=1)), "until": str(split.until)},
        "truth": split.truth_kind,
        "k": K,
        "n_users": shelf.n_users,
        "n_items": len(split.item_ids),
        "metrics": shelf.metrics,
        "intervals": bounds,
        "bootstrap_draws": DRAWS,
        "baselines": {name: baseline.metrics for name, baseline in baselines.items()},
        "margins": margins,
    }
    return dict(rounded(said))


def model_version(lake: Lake, ds: date) -> str | None:
    """Return the ranker's version as its manifest has it, or None where no ranker made the shelf."""
    manifest = lake.find_manifest("artifacts/ranker", ds)
    found = (manifest.parameters | manifest.metrics).get("model_version") if manifest else None
    return str(found) if found else None


def ingest_missing_days(lake: Lake, landing: str, until: date, parameters: Parameters) -> None:
    """Bring staging/interactions up to `until`, if a day from its first one is not there."""
    have = set(lake.days("staging/interactions"))
    if have and all(min(have) + timedelta(days=n) in have for n in range((until - min(have)).days + 1)):
        return
    from jobs.ingest import ingest
    from jobs.spark import session

    ingest(session(), lake, landing, until, parameters)


def print_report(said: dict[str, Any]) -> None:
    """Print the shelf and the baselines as a table: the four columns that people quote."""
    from rich.console import Console
    from rich.table import Table

    columns = [(kind, metric) for kind in ("all", "new") for metric in (f"recall@{K}", f"ndcg@{K}")]
    window, n_users, k = said["window"], said["n_users"], said["k"]
    table = Table(title=f"{window['from']} to {window['until']}, truth: {said['truth']}")
    table.add_column("list")
    for heading in (f"all R@{k}", f"all NDCG@{k}", f"new R@{k}", f"new NDCG@{k}"):
        table.add_column(heading, justify="right")
    for name, metrics in {"shelf": said["metrics"], **said["baselines"]}.items():
        cells = [f"{metrics[kind][metric]:.4f}" for kind, metric in columns]
        table.add_row(name, *cells, style="bold" if name == "shelf" else None, end_section=name == "shelf")
    console = Console()
    console.print(table)
    console.print(
        f"{n_users['all']:,} users, {n_users['new']:,} of them with something new; 95% of the shelf: ", end=""
    )
    bounds = [said["intervals"][kind].get(metric, [0.0, 0.0]) for kind, metric in columns]
    console.print(", ".join(f"{low:.4f} to {high:.4f}" for low, high in bounds), highlight=False)
    if said.get("n_users_without_shelf"):
        console.print(f"{said['n_users_without_shelf']:,} users had no shelf and count with nothing found")
    for name, reason in said.get("skipped", {}).items():
        console.print(f"{name} was skipped: {reason}")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ds", required=True, type=date.fromisoformat, metavar="DAY", help="day of the shelves")
    parser.add_argument("--until", required=True, type=date.fromisoformat, metavar="DAY", help="last day scored")
    parser.add_argument("--truth", choices=TRUTHS, help="purchase, unless the shop has none")
    parser.add_argument("--landing", help="TOPSHELF_LANDING, or the embedded default")
    parser.add_argument("--lake", help="TOPSHELF_LAKE, or the embedded default")
    given = parser.parse_args(argv)
    settings = Settings.from_environment(given.landing, given.lake)
    try:
        said = published(
            Lake(settings.lake),
            settings.landing,
            given.ds,
            given.until,
            parameters_from_environment(),
            truth=given.truth,
        )
    except (EvaluationError, MissingPartitionError, UnmarkedDayError) as error:
        raise SystemExit(f"evaluate: {error}") from error
    print_report(said)
    print(f"{settings.lake}/marts/evaluation/ds={given.ds}/published.json")


if __name__ == "__main__":
    main()
