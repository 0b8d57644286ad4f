"""TIFU-KNN: what a shopper's baskets hold again and again, and what those of like shoppers hold.

Hu, He, Gao and Zhang, Modeling personalized item frequency information for next-basket recommendation, SIGIR 2020. A
basket is what a shopper took on one day. The constants are the authors' for Ta-Feng, a grocer.
"""

import numpy as np
import numpy.typing as npt
from scipy import sparse

from jobs.evaluation.time_split import Events
from jobs.numeric.arrays import Values

GROUPS, BASKET_DECAY, GROUP_DECAY = 7, 0.9, 0.7
OWN_SHARE, LIKE_SHOPPERS = 0.7, 300
DISTANCES_PER_BLOCK = 1 << 23
"""Users are compared with all others in blocks of about this many distances: 64 MB an array."""


def basket_vectors(events: Events) -> sparse.csr_matrix:
    """Return how much of each item there is in each user's baskets, CSR [all user ids, item ids].

    A user's baskets are in GROUPS groups, or in one each where there are fewer; sizes differ by one at most. A basket
    counts BASKET_DECAY for each later one of its group, a group GROUP_DECAY for each later group; both are means.
    """
    shape = (len(events.user_ids), len(events.item_ids))
    if not len(events.user):
        return sparse.csr_matrix(shape)
    day = events.day.astype(np.int64)
    day -= day.min()
    days = int(day.max()) + 1
    baskets, basket = np.unique(events.user * days + day, return_inverse=True)
    owner = baskets // days
    of_user = np.bincount(owner, minlength=shape[0])
    later = np.cumsum(of_user)[owner] - 1 - np.arange(len(baskets))
    count, groups = of_user[owner], np.minimum(of_user[owner], GROUPS)
    group = later * groups // count
    first, after = (-(-number * count // groups) for number in (group, group + 1))
    place, in_group = later - first, after - first
    weight = BASKET_DECAY**place * GROUP_DECAY**group / (in_group * groups)
    basket, item = np.divmod(np.unique(basket * shape[1] + events.item), shape[1])
    return sparse.csr_matrix((weight[basket], (owner[basket], item)), shape=shape)


def next_basket_scores(vectors: sparse.csr_matrix, rows: npt.NDArray[np.int64]) -> Values:
    """Return scores [len(rows), n_items]: the users' own vectors, and the mean of those nearest to each."""
    squares = np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel()
    distant = np.where(squares > 0, squares, np.inf)  # who has no basket is like nobody
    near = min(LIKE_SHOPPERS, int((squares > 0).sum()) - 1)
    own = OWN_SHARE * np.asarray(vectors[rows].toarray())
    if near < 1:
        return own
    step = max(1, DISTANCES_PER_BLOCK // len(squares))
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        distance = distant - 2 * np.asarray((vectors[block] @ vectors.T).toarray())
        distance[np.arange(len(block)), block] = np.inf
        like = np.argpartition(distance, near - 1, axis=1)[:, :near]
        indptr = np.arange(len(block) + 1) * near
        mean = sparse.csr_matrix((np.full(like.size, 1 / near), like.ravel(), indptr), (len(block), len(squares)))
        own[start : start + step] += (1 - OWN_SHARE) * (mean @ vectors).toarray()
    return own
