"""Interleave the stored shelves of several arms into one: team-draft interleaving and multileaving.

In each round every team, in a drawn order, adds its best item that is not there yet (Radlinski et al., CIKM 2008;
Schuth et al., CIKM 2014, for more than two). The request's key chooses one of a fixed list of draws, so the
propensity of an item in a place is counted: the share of the draws that would have put it there. In the draws of two
teams each is first in half of all rounds, and two rounds are independent of each other.
"""

import hmac
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from serving.snapshot.record import PackedShelf

ROUNDS = 15
"""Rounds with draws of their own; later rounds repeat them."""
DRAWS_A_TEAM = 8
Turns = tuple[tuple[int, ...], ...]


@cache
def draws(teams: int) -> tuple[Turns, ...]:
    """Return the draws, DRAWS_A_TEAM for each team: the order of the teams in each of ROUNDS rounds."""
    if teams == 2:
        hadamard = np.array([[1]])
        while len(hadamard) < DRAWS_A_TEAM * teams:
            hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
        first = (hadamard[:, 1:] < 0).astype(int)  # [draws, rounds]: an orthogonal array of strength 2
        return tuple(tuple((int(team), 1 - int(team)) for team in row) for row in first)
    drawn = np.random.default_rng(teams).permuted(np.tile(np.arange(teams), (DRAWS_A_TEAM, ROUNDS, 1)), axis=2)
    rotated = [np.roll(orders, turn, axis=1) for orders in drawn for turn in range(teams)]
    return tuple(tuple(tuple(order) for order in orders.tolist()) for orders in rotated)


def draw_number(secret: bytes, request_key: bytes, teams: int) -> int:
    """Return the number of the draw that a request uses."""
    drawn = int.from_bytes(hmac.digest(secret, request_key + b"draft", "sha256")[:8], "big")
    return drawn % len(draws(teams))


def draft(lists: Sequence[Sequence[int]], turns: Turns, limit: int) -> list[tuple[int, int, int]]:
    """Return the first `limit` places of the interleaved lists as (item, team, row of the team's list)."""
    places: list[tuple[int, int, int]] = []
    taken: set[int] = set()
    next_row = [0] * len(lists)
    open_teams = len(lists)
    round_number = 0
    while open_teams and len(places) < limit:
        open_teams = 0
        for team in turns[round_number % ROUNDS]:
            items, row = lists[team], next_row[team]
            while row < len(items) and items[row] in taken:
                row += 1
            next_row[team] = row + 1
            if row < len(items):
                open_teams += 1
                taken.add(items[row])
                places.append((items[row], team, row))
        round_number += 1
    return places[:limit]


class InterleavedShelf:
    """Several stored shelves of one user as one, read as a `PackedShelf` is. It has only items that may be shown now.

    `teams` are the teams of its places, and `propensities` the share of the draws that put the place's item there.
    """

    def __init__(
        self,
        shelves: Sequence[PackedShelf],
        eligible: Sequence[NDArray[np.intp]],
        number: int,
        wanted: int,
        most: int | None = None,
    ) -> None:
        """`eligible` are the rows of each shelf that may be shown. Propensities are of the first `wanted` places.

        With `most`, it has no more places.
        """
        positions = [
            shelf.positions(shelf.count)[rows].tolist() for shelf, rows in zip(shelves, eligible, strict=True)
        ]
        places = draft(positions, draws(len(shelves))[number], sum(map(len, positions)) if most is None else most)
        self.count = len(places)
        self.segment = shelves[0].segment
        self.teams = [team for _, team, _ in places]
        self._positions = np.array([item for item, _, _ in places], np.int64)
        used = [
            rows[: 1 + max((row for _, of, row in places if of == team), default=-1)]
            for team, rows in enumerate(eligible)
        ]
        scores = [shelf.scores(rows) for shelf, rows in zip(shelves, used, strict=True)]
        whys = [shelf.reasons(rows.tolist()) for shelf, rows in zip(shelves, used, strict=True)]
        self._scores = [scores[team][row] for _, team, row in places]
        self._whys = [(whys[team][0][row], whys[team][1][row], whys[team][2][row]) for _, team, row in places]
        self.propensities = _shares(positions, [item for item, _, _ in places[:wanted]])

    def positions(self, count: int) -> NDArray[np.int64]:
        """Return the first `count` items."""
        return self._positions[:count]

    def scores(self, rows: NDArray[np.integer]) -> list[float]:
        """Return the scores of some places, each of its own team's shelf."""
        return [self._scores[row] for row in rows]

    def reasons(self, rows: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
        """Return sources, reasons and the items that reasons name (-1 for none) of some places."""
        whys = [self._whys[row] for row in rows]
        return [why[0] for why in whys], [why[1] for why in whys], [why[2] for why in whys]


def _shares(lists: Sequence[Sequence[int]], shown: Sequence[int]) -> list[float]:
    """Return the share of all draws that put each item of `shown` into its place."""
    of_all = draws(len(lists))
    same = [0] * len(shown)
    for turns in of_all:
        drawn = draft(lists, turns, len(shown))
        for place, (item, _, _) in enumerate(drawn):
            same[place] += item == shown[place]
    return [count / len(of_all) for count in same]
