"""The candidates of the users whom a held-out window asks, and how they lie in lists by whatever ranks them.

>>> asked.lists(asked.ranks(value))[:, :20]
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.numeric.arrays import Positions, rank_by_order

LIST_LENGTH = 300
"""Of a list, places beyond these are not looked at, not even where what a user knows is taken out."""

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class HeldOutCandidates:
    """The candidates of the asked users as flat columns; users are numbered from 0."""

    user: Codes
    item: npt.NDArray[np.int32]
    features: npt.NDArray[np.float32]
    labels: dict[str, npt.NDArray[np.int32]]
    n_users: int

    def first(self, n_users: int) -> "HeldOutCandidates":
        """Return the candidates of the first users."""
        rows = slice(0, int(np.searchsorted(self.user, n_users)))
        labels = {name: label[rows] for name, label in self.labels.items()}
        return HeldOutCandidates(
            self.user[rows], self.item[rows], self.features[rows], labels, min(n_users, self.n_users)
        )

    def lists(self, rank: Codes) -> Positions:
        """Lay the items out by rank: [n_users, longest up to LIST_LENGTH], padded with -1."""
        kept = rank <= LIST_LENGTH
        lists = np.full((self.n_users, int(rank[kept].max(initial=1))), -1, dtype=np.int64)
        lists[self.user[kept], rank[kept] - 1] = self.item[kept]
        return lists

    def ranks(self, *values: npt.NDArray[Any]) -> Codes:
        """Return each row's rank among its user's, from 1: highest value first, then the next value, then by item."""
        return self.ranks_in(np.lexsort((self.item, *(-value for value in reversed(values)), self.user)))

    def ranks_in(self, order: Codes) -> Codes:
        """Return each row's rank among its user's, from 1, of rows in an order that goes user by user."""
        return rank_by_order(self.user, order) + 1
