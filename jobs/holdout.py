"""The night's own evaluation, `marts/evaluation/ds=<day>/holdout.json`: a ranker that never saw what it is asked.

With two windows or more, a shadow ranker learns from all but the newest one and orders that window's candidates;
with one, it learns from half of the users and orders the other half's. This guards a night before it is published;
what people quote is `topshelf evaluate`, on days that nothing of the night had seen.
"""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from jobs.catalogue import load_catalogue
from jobs.label_windows import Window
from jobs.metrics import Positions, rounded, score_lists
from jobs.settings import Parameters
from jobs.training_examples import LABELS, Examples


class Scorer(Protocol):
    """What a trained ranker can do."""

    def value(self, features: npt.NDArray[np.float32], threads: int = 1) -> npt.NDArray[np.float64]:
        """Return the value of each row of features."""


Train = Callable[[Sequence[Examples], Parameters], Scorer]


def holdout_path(ds: date) -> str:
    """Return where the night's own evaluation stands in the lake."""
    return f"marts/evaluation/ds={ds}/holdout.json"


def holdout(
    windows: Sequence[Window], examples: Sequence[Examples], train: Train, parameters: Parameters
) -> dict[str, Any]:
    """Return the metrics of a shadow ranker on labels that it did not see, beside plain popularity's."""
    newest = examples[0]
    odd = np.arange(len(newest.user_id)) % 2 == 1
    if len(examples) > 1:
        shadow, asked, rule = train(examples[1:], parameters), np.ones_like(odd), "the newest window"
    else:
        shadow, asked = train([_of_users(newest, ~odd)], parameters), odd
        rule = "every second shopper of the only window"
    rows = np.flatnonzero(asked[newest.user])
    values = shadow.value(newest.features[rows], threads=parameters.ranker_threads)
    user, item = newest.user[rows], newest.item[rows]
    order = np.lexsort((item, -values, user))
    lists = _as_lists(user[order], item[order], len(newest.user_id))[asked]
    return {
        "window": _window_days(windows[0], len(examples) > 1, parameters),
        "held_out": rule,
        "users_of_shadow": int(len(np.unique(newest.user)) if len(examples) == 1 else 0),
        **_scores(windows[0], newest.user_id.filter(pa.array(asked)), lists),
    }


def _window_days(window: Window, by_time: bool, parameters: Parameters) -> dict[str, str]:
    first = window.ds + timedelta(days=1) if by_time else window.ds
    last = window.ds + timedelta(days=parameters.horizon_days) if by_time else window.ds
    return {"from": str(first), "until": str(last)}


def _of_users(examples: Examples, kept_users: npt.NDArray[np.bool_]) -> Examples:
    kept = kept_users[examples.user]
    return Examples(
        user=examples.user[kept],
        user_id=examples.user_id,
        item=examples.item[kept],
        features=examples.features[kept],
        labels={name: label[kept] for name, label in examples.labels.items()},
    )


def _as_lists(user: npt.NDArray[np.int64], item: npt.NDArray[np.int32], n_users: int) -> Positions:
    """Lay (user, item) in order of rank out as [n_users, longest], padded with -1."""
    rank = np.arange(len(user)) - np.searchsorted(user, user)
    lists = np.full((n_users, int(rank.max(initial=0)) + 1), -1, dtype=np.int64)
    lists[user, rank] = item
    return lists


def _scores(window: Window, user_id: pa.Array, lists: Positions) -> dict[str, Any]:
    """Score lists of the users against the window's labels: purchases, or anything where nothing was bought."""
    lake, ds = window.lake, window.ds
    catalogue = load_catalogue(lake, ds)
    labels = lake.arrow(LABELS, ds)
    history = lake.arrow("features/user_item", ds, ["user_id", "item_pos", "purchase_count"])
    by_purchase = bool(pc.any(labels["purchased"]).as_py())
    if by_purchase:
        labels = labels.filter(labels["purchased"])
        history = history.filter(pc.greater(history["purchase_count"], 0))
    truth = _marks(labels, user_id, len(catalogue))
    seen = _marks(history, user_id, len(catalogue))
    audience = catalogue.columns["user_count_total"].astype(np.int64)
    n_users = lake.manifest("features/user", ds).row_count or 1
    popular = np.tile(catalogue.by_popularity.astype(np.int64)[:300], (len(user_id), 1))
    shelf, baseline = (score_lists(made, truth, seen, audience, n_users) for made in (lists, popular))
    return dict(
        rounded(
            {
                "truth": "purchase" if by_purchase else "any",
                "n_users": shelf.n_users,
                "metrics": shelf.metrics,
                "baselines": {"popular": baseline.metrics},
            }
        )
    )


def _marks(rows: pa.Table, user_id: pa.Array, n_items: int) -> sp.csr_matrix:
    """Return users x items with a 1 where `rows` has the pair."""
    owner = pc.index_in(rows["user_id"], value_set=user_id)
    known = rows.append_column("owner", owner).filter(pc.is_valid(owner))
    at = (known["owner"].to_numpy(), known["item_pos"].to_numpy())
    matrix = sp.csr_matrix((np.ones(len(known)), at), shape=(len(user_id), n_items))
    matrix.data[:] = 1
    return matrix
