"""Cut a shop's events at a day: what was visible on its evening, and what its shoppers then chose.

>>> split = time_split(read_events(lake, until), ds, until)
>>> split.score(lists).metrics["all"]["recall@20"]

Truth is the distinct items that a user purchased in the window and that somebody had interacted with before it. The
users of the split are those with a purchase before the window and one in their truth. Where the shop has no
purchases, any positive event counts as one.
"""

from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from jobs.features.ratings import low_ratings
from jobs.lake.lake import Lake
from jobs.lake.partitions import MissingPartitionError
from jobs.lake.tables import INTERACTIONS, remedy
from jobs.numeric.arrays import Positions, coded
from jobs.numeric.list_metrics import K, ListScores, marked, score_lists

POSITIVE = ("click", "view", "add_to_cart", "purchase", "rating")
"""Types of positive events; a rating below the middle of the shop's scale is none, and a return is no purchase."""
COLUMNS = ("user_id", "item_id", "event_type", "event_date", "value")


class EvaluationError(ValueError):
    """The request cannot be evaluated; the message says why and what to do."""


@dataclass(frozen=True)
class Events:
    """Positive events of known users, as columns of one length: codes into sorted ids, days as datetime64[D].

    `day` is when an event happened, `landed` the day of the landing folder that it came in.
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
    """One split of time: users, catalogue, truth, and what was visible on the day.

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
        """Return lists given for other users and another catalogue in the order of the split's.

        Args:
            user_ids: the user of each row of `lists`.
            item_ids: the catalogue that `lists` has positions in; all of it must have been given to `time_split`.
            lists: positions [len(user_ids), length], -1 where a list has ended.

        Returns:
            Lists [len(self.user_ids), length], and how many of these users have none.

        Raises:
            EvaluationError: `item_ids` has an item that the split does not know.
        """
        position = pc.index_in(item_ids.cast(pa.string()), value_set=self.item_ids).fill_null(-1).to_numpy(False)
        if len(position) and position.min() < 0:
            raise EvaluationError("a list holds items that the split does not know; give time_split its catalogue")
        row = pc.index_in(self.user_ids, value_set=user_ids.cast(pa.string())).fill_null(-1).to_numpy(False)
        has_list = row >= 0
        aligned = np.full((len(row), lists.shape[1]), -1, dtype=np.int64)
        given = lists[row[has_list]]
        aligned[has_list] = np.where(given >= 0, position[np.maximum(given, 0)], -1) if len(position) else -1
        return aligned, int((~has_list).sum())

    def for_users(self, rows: npt.NDArray[np.int64]) -> "TimeSplit":
        """Return the split for some of its users only."""
        user_ids = self.user_ids.take(pa.array(rows))
        return replace(self, user_ids=user_ids, truth=self.truth[rows], seen=self.seen[rows])

    def score(self, lists: Positions, k: int = K) -> ListScores:
        """Score aligned lists; see `jobs.numeric.list_metrics.score_lists`."""
        return score_lists(lists, self.truth, self.seen, self.audience, self.n_history_users, k=k)


def read_events(lake: Lake, until: date) -> Events:
    """Return the positive events of known users that landed by `until`, read without Spark.

    Raises:
        MissingPartitionError: staging/interactions has no events up to `until`.
    """
    tables = []
    for ds in [day for day in lake.days(INTERACTIONS) if day <= until]:
        if lake.manifest(INTERACTIONS, ds).files:
            rows = lake.arrow(INTERACTIONS, ds, COLUMNS)
            kept = pc.and_(pc.is_valid(rows["user_id"]), pc.is_in(rows["event_type"], value_set=pa.array(POSITIVE)))
            rows = rows.filter(kept)
            tables.append(rows.append_column("landed", pa.array(np.full(len(rows), np.datetime64(ds, "D")))))
    if not tables:
        raise MissingPartitionError(f"{INTERACTIONS} has no events up to ds={until}; {remedy(INTERACTIONS, until)}")
    events = pa.concat_tables(tables)
    events = events.filter(pa.array(~low_ratings(events["event_type"], events["value"])))
    user_ids, user = coded(events["user_id"])
    item_ids, item = coded(events["item_id"])
    return Events(
        user_ids=user_ids,
        item_ids=item_ids,
        user=user,
        item=item,
        is_purchase=pc.equal(events["event_type"], "purchase").to_numpy(),
        day=events["event_date"].to_numpy().astype("datetime64[D]"),
        landed=events["landed"].to_numpy().astype("datetime64[D]"),
    )


def time_split(
    events: Events, ds: date, until: date, *, truth: str | None = None, catalogue: pa.Array | None = None
) -> TimeSplit:
    """Return the split that scores lists made on `ds` by the events of (`ds`, `until`].

    Args:
        events: as `read_events` returns them; what landed or happened after `until` is left out.
        ds: the day whose evening the lists were made on: events that had landed and happened by then are visible.
        until: the last day of the window, inclusive.
        truth: `purchase`, `any` positive event, or None: purchases unless the shop has none.
        catalogue: ids of items that lists may hold besides those with visible events.

    Raises:
        EvaluationError: the window is empty, or there are no users to score.
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
    position = pc.index_in(events.item_ids, value_set=item_ids).fill_null(-1).to_numpy(False).astype(np.int64)
    events = replace(events, item_ids=item_ids, item=position[events.item])
    visible = events.where(is_visible)
    before = visible.where(chosen[is_visible])
    was_known = np.isin(events.item, np.unique(visible.item))
    window = events.where(in_window & chosen & was_known)

    users = np.intersect1d(before.user, window.user)
    if not len(users):
        raise EvaluationError(_no_users(kind, ds, until))
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
    """Return a split without a window or truth: what was visible on `ds`, for users who all have events."""
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


def _no_users(kind: str, ds: date, until: date) -> str:
    event = "a purchase" if kind == "purchase" else "an event"
    remedy = "move --until further" + (" or give --truth any" if kind == "purchase" else "")
    return f"no user has {event} of a known item up to {ds} and again in the days after it up to {until}; {remedy}"


def counts(events: Events) -> sparse.csr_matrix:
    """Return the number of events of each user and item, CSR [all user ids, item ids]."""
    shape = (len(events.user_ids), len(events.item_ids))
    return sparse.coo_matrix((np.ones(len(events.user)), (events.user, events.item)), shape=shape).tocsr()
