"""Cut a shop's events at a day: what was visible on its evening, and what its shoppers then chose.

>>> split = time_split(read_events(lake, until), ds, until)
>>> split.score(lists).metrics["all"]["recall@20"]

Truth is the distinct items that a user purchased in the window and that somebody had interacted with before it;
asked are the users with a purchase on both sides. Where the shop has no purchases, any positive event counts in their
place.
"""

from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from jobs.lake.lake import Lake
from jobs.lake.partitions import MissingPartitionError
from jobs.numeric.arrays import Positions, coded
from jobs.numeric.list_metrics import K, ListScores, marked, score_lists

POSITIVE = ("click", "view", "add_to_cart", "purchase", "rating")
TRUTHS = ("purchase", "any")
COLUMNS = ("user_id", "item_id", "event_type", "event_date")


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

    def of_users(self, rows: npt.NDArray[np.int64]) -> "TimeSplit":
        """Return the split with some of its users alone."""
        asked = self.user_ids.take(pa.array(rows))
        return replace(self, user_ids=asked, truth=self.truth[rows], seen=self.seen[rows])

    def score(self, lists: Positions, k: int = K) -> ListScores:
        """Score aligned lists; see `jobs.numeric.list_metrics.score_lists`."""
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
            f"staging/interactions has no events up to ds={until}; run topshelf stage ingest --ds {until}"
        )
    whole = pa.concat_tables(tables)
    user_ids, user = coded(whole["user_id"])
    item_ids, item = coded(whole["item_id"])
    return Events(
        user_ids=user_ids,
        item_ids=item_ids,
        user=user,
        item=item,
        is_purchase=pc.equal(whole["event_type"], "purchase").to_numpy(),
        day=whole["event_date"].to_numpy().astype("datetime64[D]"),
        landed=whole["landed"].to_numpy().astype("datetime64[D]"),
    )


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
    chosen = events.is_purchase if kind == "purchase" else np.ones(len(events.user), dtype=bool)

    known = events.item_ids.take(pa.array(np.unique(events.item[is_visible])))
    item_ids = known if catalogue is None else pa.concat_arrays([known, catalogue.cast(pa.string())]).unique()
    item_ids = item_ids.take(pc.sort_indices(item_ids))
    place = pc.index_in(events.item_ids, value_set=item_ids).fill_null(-1).to_numpy(False).astype(np.int64)
    events = replace(events, item_ids=item_ids, item=place[events.item])
    visible = events.where(is_visible)
    before = visible.where(chosen[is_visible])
    was_known = np.isin(events.item, np.unique(visible.item))
    window = events.where(in_window & chosen & was_known)

    users = np.intersect1d(before.user, window.user)
    if not len(users):
        raise EvaluationError(_nobody(kind, ds, until))
    return TimeSplit(
        ds=ds,
        until=until,
        truth_kind=kind,
        user_ids=events.user_ids.take(pa.array(users)),
        item_ids=item_ids,
        truth=marked(counts(window)[users]),
        seen=marked(counts(before)[users]),
        audience=np.diff(marked(counts(visible)).tocsc().indptr).astype(np.int64),
        n_history_users=len(np.unique(visible.user)),
        visible=visible,
    )


def all_visible(events: Events, ds: date, user_ids: pa.Array) -> TimeSplit:
    """Return a split without a window: what was visible on `ds`, asked of the users given, who must have events."""
    visible = events.where((events.day <= np.datetime64(ds, "D")) & (events.landed <= np.datetime64(ds, "D")))
    kind = "purchase" if visible.is_purchase.any() else "any"
    before = visible.where(visible.is_purchase) if kind == "purchase" else visible
    rows = pc.index_in(user_ids, value_set=events.user_ids).to_numpy(False).astype(np.int64)
    seen = marked(counts(before)[rows])
    return TimeSplit(
        ds=ds,
        until=ds,
        truth_kind=kind,
        user_ids=user_ids,
        item_ids=events.item_ids,
        truth=sparse.csr_matrix(seen.shape),
        seen=seen,
        audience=np.diff(marked(counts(visible)).tocsc().indptr).astype(np.int64),
        n_history_users=len(np.unique(visible.user)),
        visible=visible,
    )


def _nobody(kind: str, ds: date, until: date) -> str:
    event = "a purchase" if kind == "purchase" else "an event"
    remedy = "move --until further" + (" or give --truth any" if kind == "purchase" else "")
    return f"no user has {event} of a known item up to {ds} and again in the days after it up to {until}; {remedy}"


def counts(events: Events) -> sparse.csr_matrix:
    """Return the rows of each user and item, CSR [all user ids, item ids]."""
    shape = (len(events.user_ids), len(events.item_ids))
    return sparse.coo_matrix((np.ones(len(events.user)), (events.user, events.item)), shape=shape).tocsr()
