"""Ranking metrics over many users' lists at once: recall, NDCG, hit rate, coverage, Gini, novelty, and intervals.

A list is a row of catalogue positions, best first, padded with -1 at its end; it holds an item at most once. What a
user chose (truth) and what a user had seen are CSR matrices [users, items]; their stored entries mark the items.

>>> score_lists(lists, truth, seen, audience, n_history_users=4_086).metrics["new"]["recall@20"]
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt
from scipy import sparse

from jobs.numeric.arrays import Flags, Positions, Values, find_sorted

K = 20
"""Where lists are cut."""
DRAWS = 1_000
"""Bootstrap samples of an interval."""
_CELLS_A_BLOCK = 1 << 23

Name = TypeVar("Name", bound=Hashable)
Nested = TypeVar("Nested")


class RepeatedItemError(ValueError):
    """A list holds an item twice, so that its recall could exceed 1."""


@dataclass(frozen=True)
class ListScores:
    """The metrics of lists, by `all` (every item counts) and `new` (only items that the user had not seen).

    For `new`, seen items leave a list before it is cut. Only users who chose an item of that kind count.
    """

    n_users: dict[str, int]
    metrics: dict[str, dict[str, float]]
    """Means over the users, by the metric's name."""
    values: dict[str, dict[str, Values]]
    """Each user's own values, for intervals and paired differences."""


def score_lists(
    lists: Positions,
    truth: sparse.csr_matrix,
    seen: sparse.csr_matrix,
    audience: npt.NDArray[np.int64],
    n_history_users: int,
    *,
    k: int = K,
) -> ListScores:
    """Score lists [n_users, length] against truth: as they are, and without what was seen.

    Args:
        lists: positions in the catalogue, best first, then -1. A user without a list has a row of -1.
        truth: CSR [n_users, n_items]: what the user chose.
        seen: CSR [n_users, n_items]: what the user had chosen before. It leaves the lists and the truth of `new`.
        audience: int [n_items]: distinct users of each item in the history.
        n_history_users: distinct users in the history.
        k: where a list is cut.

    Raises:
        RepeatedItemError: a list holds an item twice.
    """
    _check_lists(lists)
    truth = marked(truth)
    new = sparse.csr_matrix(truth - truth.multiply(marked(seen)))
    new.eliminate_zeros()
    kinds = {"all": (lists[:, :k], truth), "new": (without_seen(lists, seen)[:, :k], new)}
    n_users, metrics, values = {}, {}, {}
    for kind, (kind_lists, kind_truth) in kinds.items():
        users = np.flatnonzero(np.diff(kind_truth.indptr) > 0)
        cut, chosen = kind_lists[users], sparse.csr_matrix(kind_truth[users])
        n_users[kind] = len(users)
        values[kind] = user_values(cut, chosen, k)
        metrics[kind] = {name: _mean(user_value) for name, user_value in values[kind].items()}
        metrics[kind][f"coverage@{k}"] = coverage(cut, chosen.shape[1], k)
        metrics[kind][f"gini@{k}"] = gini(cut, chosen.shape[1], k)
        metrics[kind][f"novelty@{k}"] = novelty(cut, audience, n_history_users, k)
    return ListScores(n_users, metrics, values)


def user_values(lists: Positions, truth: sparse.csr_matrix, k: int = K) -> dict[str, Values]:
    """Return each user's `recall@k`, `ndcg@k` and `hit_rate@k`, [n_users] each; a user without truth has 0."""
    is_hit = hits(lists[:, :k], truth)
    return {
        f"recall@{k}": recall(is_hit, truth),
        f"ndcg@{k}": ndcg(is_hit, truth, k),
        f"hit_rate@{k}": np.asarray(is_hit.any(axis=1), dtype=np.float64),
    }


def hits(lists: Positions, truth: sparse.csr_matrix) -> Flags:
    """Tell for each place [n_users, length] whether its item is in the user's row of `truth`."""
    n_users, n_items = truth.shape
    rows = np.repeat(np.arange(n_users, dtype=np.int64), np.diff(truth.indptr))
    keys = np.sort(rows * n_items + truth.indices)
    wanted = np.arange(n_users, dtype=np.int64)[:, None] * n_items + lists
    return (lists >= 0) & (find_sorted(keys, wanted) >= 0)


def recall(is_hit: Flags, truth: sparse.csr_matrix) -> Values:
    """Return the share of each user's chosen items that stand in the list."""
    return np.asarray(is_hit.sum(axis=1) / np.maximum(np.diff(truth.indptr), 1), dtype=np.float64)


def ndcg(is_hit: Flags, truth: sparse.csr_matrix, k: int = K) -> Values:
    """Return each user's NDCG with binary gains; the ideal list starts with min(k, items chosen) hits.

    Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques, TOIS 20(4), 2002.
    """
    discount = 1.0 / np.log2(np.arange(k) + 2.0)
    ideal = np.cumsum(discount)[np.clip(np.diff(truth.indptr), 1, k) - 1]
    return np.asarray((is_hit * discount[: is_hit.shape[1]]).sum(axis=1) / ideal, dtype=np.float64)


def coverage(lists: Positions, n_items: int, k: int = K) -> float:
    """Return the share of the catalogue's items that stand in the first k places of any list."""
    cut = lists[:, :k]
    return len(np.unique(cut[cut >= 0])) / max(n_items, 1)


def gini(lists: Positions, n_items: int, k: int = K) -> float:
    """Return how unevenly items share the first k places: 0 if all have as many, near 1 if a few have them all.

    Fleder and Hosanagar, Blockbuster culture's next rise or fall, Management Science 55(5), 2009.
    """
    cut = lists[:, :k]
    places = np.sort(np.bincount(cut[cut >= 0], minlength=n_items))
    if not places.sum():
        return 0.0
    return float((2 * np.arange(1, n_items + 1) - n_items - 1) @ places / (n_items * places.sum()))


def novelty(lists: Positions, audience: npt.NDArray[np.int64], n_history_users: int, k: int = K) -> float:
    """Return the mean self-information of the items in the first k, in bits: -log2(share of users who know the item).

    It is averaged over a list, then over the users who have one. An item that nobody knows counts as known to one
    user. Zhou et al., Solving the apparent diversity-accuracy dilemma of recommender systems, PNAS 107(10), 2010.
    """
    cut = lists[:, :k]
    filled = (cut >= 0).sum(axis=1)
    if not filled.any():
        return 0.0
    bits = -np.log2(np.clip(audience, 1, None) / max(n_history_users, 1))
    list_bits = np.where(cut >= 0, bits[np.maximum(cut, 0)], 0.0).sum(axis=1)
    return float((list_bits[filled > 0] / filled[filled > 0]).mean())


def without_seen(lists: Positions, seen: sparse.csr_matrix) -> Positions:
    """Return the lists without the items of `seen`, in the same order, padded with -1 to the same length."""
    dropped = hits(lists, seen) | (lists < 0)
    order = np.argsort(dropped, axis=1, kind="stable")
    return np.asarray(np.where(np.take_along_axis(dropped, order, 1), -1, np.take_along_axis(lists, order, 1)))


def intervals(
    values: Mapping[Name, Values], *, draws: int = DRAWS, seed: int = 0, level: float = 0.95
) -> dict[Name, list[float]]:
    """Return [low, high] of each mean by a bootstrap over users (percentiles; Efron and Tibshirani, 1993).

    All values belong to the same users. They may be differences between two lists. Empty ones have no interval.
    """
    names = [name for name, user_value in values.items() if len(user_value)]
    if not names:
        return {}
    matrix = np.stack([values[name] for name in names], axis=1)
    n_users = len(matrix)
    generator = np.random.default_rng(seed)
    block = max(1, _CELLS_A_BLOCK // n_users)
    means = [
        generator.multinomial(n_users, np.full(n_users, 1.0 / n_users), size=min(block, draws - start))
        @ matrix
        / n_users
        for start in range(0, draws, block)
    ]
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(np.concatenate(means), [tail, 1.0 - tail], axis=0)
    return {name: [float(low[column]), float(high[column])] for column, name in enumerate(names)}


def bounds_and_margins(
    shelf: ListScores, baselines: Mapping[str, ListScores], *, seed: int = 0
) -> tuple[dict[str, dict[str, list[float]]], dict[str, dict[str, dict[str, list[float]]]]]:
    """Return [low, high] of the shelf by kind and metric, and [difference, low, high] over each baseline likewise.

    95% intervals by `intervals`: users are drawn, each with all of their values, so a margin is a paired difference.
    All scores belong to the same users in the same order. A kind without users is left out.
    """
    bounds: dict[str, dict[str, list[float]]] = {}
    margins: dict[str, dict[str, dict[str, list[float]]]] = {name: {} for name in baselines}
    for kind, values in shelf.values.items():
        differences = {
            (name, metric): values[metric] - theirs
            for name, baseline in baselines.items()
            for metric, theirs in baseline.values[kind].items()
        }
        # One call for all, so that the users are drawn once.
        found = intervals(differences | {("", metric): ours for metric, ours in values.items()}, seed=seed)
        bounds[kind] = {metric: found["", metric] for metric in values if found}
        for (name, metric), difference in differences.items():
            if found:
                margins[name].setdefault(kind, {})[metric] = [float(difference.mean()), *found[name, metric]]
    return bounds, margins


def marked(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return the matrix with a 1 for every pair that has an entry, indices sorted."""
    ones = sparse.csr_matrix(matrix, dtype=np.float64, copy=True)
    ones.sum_duplicates()
    ones.data[:] = 1.0
    return ones


def _check_lists(lists: Positions) -> None:
    ordered = np.sort(lists, axis=1)
    repeated = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if repeated.any():
        row, column = (int(index[0]) for index in np.nonzero(repeated))
        raise RepeatedItemError(
            f"list {row} holds item position {ordered[row, column + 1]} more than once; list every item once a user"
        )


def _mean(values: Values) -> float:
    return float(values.mean()) if len(values) else 0.0


def rounded(value: Nested, digits: int = 6) -> Nested:
    """Return nested dicts and lists with their floats rounded, so that a report does not hold a sum's last bits."""
    return cast(Nested, _rounded(value, digits))


def _rounded(value: object, digits: int) -> object:
    if isinstance(value, dict):
        return {key: _rounded(inner, digits) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner, digits) for inner in value]
    return round(value, digits) if isinstance(value, float) else value
