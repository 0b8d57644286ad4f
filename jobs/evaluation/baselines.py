"""The simple lists that a shelf must beat, fitted to a given history.

Popular, bought before, item-kNN, EASE, implicit's ALS, and TIFU-KNN where the days of events are given.

Each returns lists of 2k positions: the k best of all items, then the k best that the user has not seen and that are
not yet there. With what was seen taken out, the first k of the rest are exactly the k best unseen items, however long
the user's history. Equal scores, and so items without a score, stand by popularity; equal popularity by position.

>>> lists, skipped = baseline_lists(History(counts, popularity), rows, seen)
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy.linalg
from implicit.als import AlternatingLeastSquares
from scipy import sparse
from threadpoolctl import threadpool_limits

from jobs.evaluation.next_basket import next_basket_scores
from jobs.numeric.arrays import Positions, Values, top_columns
from jobs.numeric.list_metrics import K, marked

POPULARITY_DAYS = 30
EASE_LAMBDA = 1000.0
EASE_MAX_ITEMS = 10_000
"""EASE inverts a dense items x items matrix: at this size 800 MB, and about two minutes of one core."""
KNN_MAX_PRODUCTS = 10**10
"""Above EASE_MAX_ITEMS, item-kNN is summed over users, as TIFU-KNN is; so many multiplications, two minutes."""
ALS_FACTORS, ALS_ALPHA, ALS_REGULARIZATION, ALS_ITERATIONS = 128, 10.0, 5.0, 15
ALS_MAX_PAIRS = 10**7
"""ALS alone takes about two minutes of a core from this many pairs of user and item."""
SCORES_PER_BLOCK = 1 << 23
"""Users are scored in blocks of about this many scores: 64 MB."""

Scorer = Callable[[npt.NDArray[np.int64]], Values]


@dataclass(frozen=True)
class History:
    """The interactions visible on the day, with items in catalogue order.

    `counts` is CSR [n_users, n_items]: rows of events by user and item. `popularity` is int [n_items]: distinct users
    of the last POPULARITY_DAYS days.
    """

    counts: sparse.csr_matrix
    popularity: npt.NDArray[np.int64]
    baskets: sparse.csr_matrix | None = None
    """`jobs.evaluation.next_basket.basket_vectors`; without them there is no TIFU-KNN."""

    @cached_property
    def order(self) -> npt.NDArray[np.int64]:
        """The items by popularity, equals by position: the order in which all ties are broken."""
        return np.argsort(-self.popularity, kind="stable")

    @cached_property
    def ordered(self) -> sparse.csr_matrix:
        """`counts` with its columns in `order`."""
        return sparse.csr_matrix(self.counts[:, self.order], dtype=np.float64)

    @cached_property
    def binary(self) -> sparse.csr_matrix:
        """`ordered` with 1 for every user and item that met."""
        return marked(self.ordered)

    @cached_property
    def met(self) -> npt.NDArray[np.int64]:
        """The columns of `binary` with an entry; an item without one shares no user with any item."""
        return np.flatnonzero(np.diff(self.binary.tocsc().indptr))

    def together(self) -> Values:
        """Return how many users two items share, [len(met), len(met)]; dense, in Fortran order."""
        binary = self.binary[:, self.met]
        return np.asarray((binary.T @ binary).toarray(order="F"))

    def weighed_by(self, weights: Values) -> Scorer:
        """Return the scorer that sums `weights` [len(met), len(met)] over a user's items; 0 for all other items."""
        binary = sparse.csr_matrix(self.binary[:, self.met])

        def score(rows: npt.NDArray[np.int64]) -> Values:
            scores = np.zeros((len(rows), len(self.order)))
            scores[:, self.met] = binary[rows] @ weights
            return scores

        return score


def baseline_lists(
    history: History, rows: npt.NDArray[np.int64], seen: sparse.csr_matrix, *, k: int = K
) -> tuple[dict[str, Positions], dict[str, str]]:
    """Return each baseline's lists [len(rows), 2k], and why a baseline was skipped, by name.

    Args:
        history: what the baselines are fitted to.
        rows: the row of `history.counts` of each user asked for.
        seen: CSR [len(rows), n_items]: what leaves the lists of new items.
        k: where the lists are going to be cut.
    """
    makers = {"popular_30d": popular_scorer, "bought_before": bought_before_scorer}
    skipped = {}
    n_items, products = len(history.met), knn_products(history, rows)
    if products <= KNN_MAX_PRODUCTS or n_items <= EASE_MAX_ITEMS:
        makers["item_knn"] = item_knn_scorer
    else:
        skipped["item_knn"] = f"{products:,.0f} multiplications; it is made up to {KNN_MAX_PRODUCTS:,}"
    if n_items <= EASE_MAX_ITEMS:
        makers["ease"] = ease_scorer
    else:
        skipped["ease"] = f"{n_items:,} items; a dense inverse is made up to {EASE_MAX_ITEMS:,}"
    n_pairs = history.counts.nnz
    if n_pairs <= ALS_MAX_PAIRS:
        makers["als"] = als_scorer
    else:
        skipped["als"] = f"{n_pairs:,} pairs; it is fitted up to {ALS_MAX_PAIRS:,}"
    if history.baskets is not None:
        comparisons = comparisons_of(history, rows)
        if comparisons <= KNN_MAX_PRODUCTS:
            makers["tifu_knn"] = tifu_knn_scorer
        else:
            skipped["tifu_knn"] = f"{comparisons:,.0f} multiplications; it is made up to {KNN_MAX_PRODUCTS:,}"
    # One after the other: two dense matrices of items by items need not be held together.
    return {name: _lists(history, maker(history), rows, seen, k) for name, maker in makers.items()}, skipped


def popular_scorer(history: History) -> Scorer:
    """Score by distinct users of the last POPULARITY_DAYS days, the same for everyone."""
    score = history.popularity[history.order].astype(np.float64)
    return lambda rows: np.tile(score, (len(rows), 1))


def bought_before_scorer(history: History) -> Scorer:
    """Score by the user's own count of rows; what the user never met follows by popularity, as all ties do."""
    return lambda rows: np.asarray(history.ordered[rows].toarray())


def item_knn_scorer(history: History) -> Scorer:
    """Score by the sum of an item's cosines with the user's items, the item itself included, on the binary matrix.

    Sarwar et al., Item-based collaborative filtering recommendation algorithms, WWW 2001.
    """
    if len(history.met) <= EASE_MAX_ITEMS:
        cosine = history.together()
        scale = 1.0 / np.sqrt(np.diag(cosine))
        cosine *= scale[:, None]
        cosine *= scale[None, :]
        return history.weighed_by(cosine)
    binary = history.binary
    scale = 1.0 / np.sqrt(np.maximum(np.diff(binary.tocsc().indptr), 1))
    scaled = sparse.csr_matrix(binary @ sparse.diags(scale))
    # The same sum, taken over users: an items x items matrix would not fit into memory.
    return lambda rows: np.asarray(((scaled[rows] @ binary.T) @ scaled).toarray())


def knn_products(history: History, rows: npt.NDArray[np.int64]) -> float:
    """Return how many multiplications item-kNN takes for these users when it is summed over users."""
    items_of_user = np.diff(history.binary.indptr).astype(np.float64)
    return float((history.binary[rows] @ (history.binary.T @ items_of_user)).sum())


def comparisons_of(history: History, rows: npt.NDArray[np.int64]) -> float:
    """Return how many multiplications it takes to compare these users with all others."""
    users_of_item = np.diff(history.binary.tocsc().indptr).astype(np.float64)
    return float((history.binary[rows] @ users_of_item).sum() + len(rows) * history.counts.shape[0])


def tifu_knn_scorer(history: History) -> Scorer:
    """Score by TIFU-KNN (`jobs.evaluation.next_basket`)."""
    assert history.baskets is not None
    vectors = sparse.csr_matrix(history.baskets[:, history.order])
    return lambda rows: next_basket_scores(vectors, rows)


def ease_scorer(history: History) -> Scorer:
    """Score by EASE on the binary matrix.

    Steck, Embarrassingly shallow autoencoders for sparse data, WWW 2019. A night's own EASE regards each item's
    nearest items alone (`jobs.models.ease`).
    """
    return history.weighed_by(item_weights(history.together(), EASE_LAMBDA))


def item_weights(gram: Values, ridge: float) -> Values:
    """Return B [n_items, n_items] with a zero diagonal that minimises |X - X B|^2 + ridge |B|^2, given `gram` = X'X.

    `gram` is overwritten; in Fortran order it is inverted in place.
    """
    gram[np.diag_indices_from(gram)] += ridge
    weights = scipy.linalg.inv(gram, overwrite_a=True, check_finite=False)
    weights /= -np.diag(weights)
    np.fill_diagonal(weights, 0.0)
    return np.asarray(weights)


def als_scorer(history: History) -> Scorer:
    """Score by implicit's ALS alone, with every pair's rows counted by their logarithm.

    Hu, Koren and Volinsky, Collaborative filtering for implicit feedback datasets, ICDM 2008.
    """
    weights = sparse.csr_matrix(history.ordered, dtype=np.float32, copy=True)
    weights.data = np.log1p(weights.data)
    with threadpool_limits(1, "blas"):  # implicit has threads of its own, and BLAS's sums depend on their number
        model = AlternatingLeastSquares(
            factors=ALS_FACTORS,
            alpha=ALS_ALPHA,
            regularization=ALS_REGULARIZATION,
            iterations=ALS_ITERATIONS,
            random_state=0,
        )
        model.fit(weights, show_progress=False)
    return lambda rows: np.asarray(model.user_factors[rows] @ model.item_factors.T, dtype=np.float64)


def _lists(
    history: History, scorer: Scorer, rows: npt.NDArray[np.int64], seen: sparse.csr_matrix, k: int
) -> Positions:
    seen_ordered = sparse.csr_matrix(seen[:, history.order])
    blocks = []
    step = max(1, SCORES_PER_BLOCK // max(len(history.order), 1))
    for start in range(0, len(rows), step):
        block = slice(start, start + step)
        best = best_lists(scorer(rows[block]), seen_ordered[block].toarray() != 0, k)
        blocks.append(np.where(best >= 0, history.order[np.maximum(best, 0)], -1))
    return np.concatenate(blocks) if blocks else np.empty((0, 2 * k), dtype=np.int64)


def best_lists(scores: Values, seen: npt.NDArray[np.bool_], k: int) -> Positions:
    """Return lists [n_users, 2k] of columns: the k best, then the k best unseen that are not among them; -1 pads."""
    first = top_columns(scores, k)
    taken = seen.copy()
    np.put_along_axis(taken, first, True, axis=1)
    second = top_columns(np.where(taken, -np.inf, scores), k)
    second = np.where(np.take_along_axis(taken, second, 1), -1, second)
    both = np.concatenate([first, second], axis=1)
    return np.pad(both, ((0, 0), (0, 2 * k - both.shape[1])), constant_values=-1)
