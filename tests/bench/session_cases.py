"""Sessions of published data, cut into those that teach and cases to be predicted, and how well lists predict them.

A case is a session up to an item that it had not looked at before; that item is to be predicted.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jobs.landing.adapters.retailrocket import BUYERS_EVENT_TYPES
from jobs.models.transitions import sessions_of
from serving.shelf.recent_actions import ACTION_KINDS, MAX_ACTIONS, LastActions

PLACES = 20
DAY_S = 86_400
_RESAMPLES, _SEED = 1_000, 13
ItemList = NDArray[np.integer]


@dataclass(frozen=True)
class Case:
    """One item to be predicted from what its session had until then."""

    seen: list[int]  # the items looked at, each once at its last look, newest first
    actions: LastActions
    target: int
    visitor: int
    at_s: float


@dataclass(frozen=True)
class Split:
    """What teaches, a row an event in the order of visitor and time, and what is to be predicted."""

    name: str
    train: pd.DataFrame  # visitor, session, item, kind, at_s, day
    cases: list[Case]
    n_items: int
    last_day: int

    def popular(self) -> NDArray[np.int64]:
        """Return all items by how many visitors of the last 30 days had them, then of all days, ties by position."""

        def visitors_of(rows: pd.DataFrame) -> NDArray[np.int64]:
            pairs = rows.drop_duplicates(["visitor", "item"])
            return np.bincount(pairs["item"], minlength=self.n_items)

        recent = visitors_of(self.train[self.train["day"] > self.last_day - 30])
        return np.lexsort((np.arange(self.n_items), -visitors_of(self.train), -recent))


def retailrocket(data: Path) -> pd.DataFrame:
    """Return the events of RetailRocket's buyers. The extract has each visitor's view of an item once."""
    rows = pd.read_csv(data / "retailrocket_buyers" / "events.csv.gz")
    rows = rows.rename(columns={"user": "visitor", "ts": "at_s"}).assign(kind=rows["event"].map(BUYERS_EVENT_TYPES))
    rows["session"] = sessions_of(rows["visitor"].to_numpy(), rows["at_s"].to_numpy())
    return _coded(rows)


def yoochoose(data: Path) -> tuple[pd.DataFrame, int]:
    """Return 100,000 clicks of the RecSys Challenge 2015, and their last day, which has the sessions held out.

    The files are those of github.com/rn5l/session-rec, in `data/rsc15/prepared`.
    """
    folder, names = data / "yoochoose_clicks", {"SessionId": "session", "ItemId": "item", "Time": "at_s"}
    parts = [
        pd.read_csv(folder / f"yoochoose-clicks-100k_{part}.txt", sep="\t").rename(columns=names)
        for part in ("train_full", "test")
    ]
    rows = pd.concat(parts)
    return _coded(rows.assign(visitor=rows["session"], kind="view")), int(parts[1]["at_s"].min() // DAY_S)


def sports(data: Path, every: int) -> Split:
    """Return Amazon's shoppers of sports goods as one session each: of every so many the last item is held out."""
    lines = pd.read_csv(data / "sports_sequences" / "sequences.txt.gz", header=None, names=["line"])["line"]
    sequences = [[int(item) for item in line.split()[1:]] for line in lines]
    n_items = 1 + max(map(max, sequences))
    train = [(user, item, at) for user, items in enumerate(sequences) for at, item in enumerate(items[:-1])]
    rows = pd.DataFrame(train, columns=["visitor", "item", "at_s"]).assign(kind="view", day=0)
    cases = []
    for user, items in list(enumerate(sequences))[::every]:
        before = pd.DataFrame({"item": items[:-1], "kind": "view", "at_s": range(len(items) - 1)})
        cases.append(_case(before, items[-1], user, len(items)))
    return Split("Sports", rows.assign(session=rows["visitor"]), cases, n_items, 0)


def _coded(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows by session and time, items numbered by their ids, with the day of each."""
    rows = rows.assign(item=np.unique(rows["item"], return_inverse=True)[1], day=(rows["at_s"] // DAY_S).astype(int))
    columns = ["visitor", "session", "item", "kind", "at_s", "day"]
    return rows.sort_values(["visitor", "session", "at_s", "item", "kind"], ignore_index=True)[columns]


def held_out(name: str, rows: pd.DataFrame, first: int, days: int) -> Split:
    """Return the split that learns from the days before `first`, and predicts the sessions that begin from it on."""
    began = rows.groupby("session")["day"].transform("min")
    train = rows[rows["day"] < first]
    tested = rows[(began >= first) & (began < first + days)]
    cases = [case for _, session in tested.groupby("session", sort=True) for case in _cases(session)]
    return Split(name, train, cases, int(rows["item"].max()) + 1, first - 1)


def _cases(session: pd.DataFrame) -> Iterator[Case]:
    is_new = ~session["item"].duplicated().to_numpy()
    for row in np.flatnonzero(is_new)[1:].tolist():
        at_s = float(session["at_s"].iat[row])
        yield _case(session.iloc[:row], int(session["item"].iat[row]), int(session["visitor"].iat[row]), at_s)


def _case(before: pd.DataFrame, target: int, visitor: int, at_s: float) -> Case:
    newest_first = before.iloc[::-1]
    acts = newest_first.drop_duplicates(["item", "kind"]).iloc[:MAX_ACTIONS]
    kinds = [ACTION_KINDS.index(kind) for kind in acts["kind"]]
    actions = LastActions(acts["item"].tolist(), kinds, [at_s - float(then) for then in acts["at_s"]])
    return Case(newest_first["item"].drop_duplicates().tolist(), actions, target, visitor, at_s)


def filled(found: ItemList, case: Case, popular: ItemList) -> ItemList:
    """Return the first PLACES of a list and, behind them, of the popular items: none seen, each once."""
    both = np.concatenate([found[: PLACES + len(case.seen)], popular[: 2 * PLACES + len(case.seen)]])
    both = both[~np.isin(both, case.seen)]
    return both[np.sort(np.unique(both, return_index=True)[1])][:PLACES]


def reciprocal_ranks(cases: Sequence[Case], lists: Callable[[Case], ItemList]) -> NDArray[np.float64]:
    """Return of each case 1 / rank of its item on its list of PLACES, 0 where it is not on it."""
    ranks = np.zeros(len(cases))
    for row, case in enumerate(cases):
        places = np.flatnonzero(lists(case)[:PLACES] == case.target)
        ranks[row] = 1 / (1 + places[0]) if len(places) else 0.0
    return ranks


class Resampled:
    """Means over cases, with 95% intervals from samples of visitors, the same samples for all means."""

    def __init__(self, cases: Sequence[Case]) -> None:
        _, self._visitor = np.unique([case.visitor for case in cases], return_inverse=True)
        n = int(self._visitor.max()) + 1
        self._drawn = np.random.default_rng(_SEED).multinomial(n, np.full(n, 1 / n), _RESAMPLES)

    def mean(self, values: NDArray[np.floating]) -> tuple[float, float, float]:
        """Return the mean, and the ends of its interval."""
        sums = np.bincount(self._visitor, values)
        means = (self._drawn @ sums) / (self._drawn @ np.bincount(self._visitor))
        low, high = np.quantile(means, [0.025, 0.975])
        return float(values.mean()), float(low), float(high)
