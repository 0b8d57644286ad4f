"""Held-out users' candidates, and turning any ranking of them into lists.

>>> candidates.lists(candidates.ranks(value))[:, :20]
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jobs.numeric.arrays import Positions, Values, rank_by_order

LIST_LENGTH = 300
"""Lists are cut at this length, before the items that a user has seen are taken out."""

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class HeldOutCandidates:
    """The candidates of the held-out users as flat columns, in order of user; users are numbered from 0."""

    user: Codes
    item: npt.NDArray[np.int32]
    features: npt.NDArray[np.float32]
    labels: dict[str, npt.NDArray[np.int32]]
    n_users: int

    def first(self, n_users: int) -> "HeldOutCandidates":
        """Return the candidates of the first `n_users` users."""
        rows = slice(0, int(np.searchsorted(self.user, n_users)))
        labels = {name: label[rows] for name, label in self.labels.items()}
        return HeldOutCandidates(
            self.user[rows], self.item[rows], self.features[rows], labels, min(n_users, self.n_users)
        )

    def lists(self, rank: Codes) -> Positions:
        """Return each user's items by rank: [n_users, longest list up to LIST_LENGTH], padded with -1."""
        kept = rank <= LIST_LENGTH
        lists = np.full((self.n_users, int(rank[kept].max(initial=1))), -1, dtype=np.int64)
        lists[self.user[kept], rank[kept] - 1] = self.item[kept]
        return lists

    def ranks(self, *values: Values | npt.NDArray[np.float32]) -> Codes:
        """Return each row's rank among its user's, from 1: highest value first, then the next value, then by item."""
        return self.ranks_in(np.lexsort((self.item, *(-value for value in reversed(values)), self.user)))

    def ranks_in(self, order: Codes) -> Codes:
        """Return each row's rank among its user's, from 1; `order` lists the rows user by user, best first."""
        return rank_by_order(self.user, order) + 1
