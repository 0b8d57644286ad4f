"""Interleaved shelves: every team gets its turns, and propensities are what the draws make of them."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.shelf.interleave import DRAWS_A_TEAM, ROUNDS, InterleavedShelf, draft, draw_number, draws
from serving.snapshot.record import PackedShelf, ShelfColumns, encode, unpack

lists = st.lists(st.permutations(range(12)).map(lambda items: items[:9]), min_size=2, max_size=4)


def packed(positions: list[int]) -> PackedShelf:
    count = len(positions)
    scores = np.linspace(1, 0.1, count) if count else np.empty(0)
    columns = ShelfColumns(
        np.array([0, count], np.int64),
        np.array(positions, np.uint32),
        scores,
        np.zeros(count, np.uint8),
        np.zeros(count, np.uint8),
        np.full(count, -1, np.int64),
        np.zeros(1, np.uint16),
    )
    return unpack(encode(columns)[0])


@pytest.mark.parametrize("teams", [2, 3, 4])
def test_in_every_round_each_team_is_first_equally_often(teams: int) -> None:
    of_all = draws(teams)
    assert len(of_all) == DRAWS_A_TEAM * teams
    for number in range(ROUNDS):
        assert set(Counter(turns[number][0] for turns in of_all).values()) == {DRAWS_A_TEAM}
        assert all(sorted(turns[number]) == list(range(teams)) for turns in of_all)


def test_two_rounds_of_two_teams_are_independent() -> None:
    first = np.array([[order[0] for order in turns] for turns in draws(2)])
    for one in range(ROUNDS):
        for other in range(one):
            assert Counter(zip(first[:, one].tolist(), first[:, other].tolist(), strict=True)) == dict.fromkeys(
                [(0, 0), (0, 1), (1, 0), (1, 1)], 4
            )


@given(lists, st.integers(0, 1 << 30))
def test_a_draft_has_each_item_once_and_each_team_its_best_that_is_left(shelves: list[list[int]], seed: int) -> None:
    turns = draws(len(shelves))[seed % (DRAWS_A_TEAM * len(shelves))]
    places = draft(shelves, turns, 100)
    items = [item for item, _, _ in places]
    assert sorted(items) == sorted(set().union(*shelves))
    for number, (item, team, row) in enumerate(places):
        assert shelves[team][row] == item
        assert set(shelves[team][:row]) <= set(items[:number]), "the team had no better item left"
    picks = [team for _, team, _ in places]
    full = min(map(len, shelves)) // len(shelves)  # rounds in which no team can run out
    assert all(
        sorted(picks[number * len(shelves) : (number + 1) * len(shelves)]) == list(range(len(shelves)))
        for number in range(full)
    )


@given(lists, st.integers(1, 20))
def test_propensities_are_the_shares_of_all_draws(shelves: list[list[int]], wanted: int) -> None:
    stored = [packed(positions) for positions in shelves]
    everything = [np.arange(len(positions)) for positions in shelves]
    made = [InterleavedShelf(stored, everything, number, wanted) for number in range(len(draws(len(shelves))))]
    shown = np.array([one.positions(one.count)[:wanted] for one in made])
    for one in made:
        assert one.count == len(set().union(*shelves))
        head = one.positions(wanted)
        expected = [(shown[:, place] == item).mean() for place, item in enumerate(head.tolist())]
        np.testing.assert_allclose(one.propensities, expected, atol=1e-12)


def test_equal_shelves_leave_nothing_to_chance() -> None:
    stored = [packed([5, 3, 8]), packed([5, 3, 8])]
    one = InterleavedShelf(stored, [np.arange(3)] * 2, 7, 3)
    assert one.positions(3).tolist() == [5, 3, 8] and one.propensities == [1.0, 1.0, 1.0]


def test_items_that_may_not_be_shown_take_no_turn() -> None:
    stored = [packed([1, 2, 3]), packed([4, 5, 6])]
    one = InterleavedShelf(stored, [np.array([1, 2]), np.array([0, 2])], 0, 4)
    assert sorted(one.positions(10).tolist()) == [2, 3, 4, 6]
    scores = {int(item): score for item, score in zip(one.positions(10), one.scores(np.arange(4)), strict=True)}
    assert scores[2] == pytest.approx(stored[0].scores(np.array([1]))[0])
    assert scores[6] == pytest.approx(stored[1].scores(np.array([2]))[0])


def test_draws_follow_from_the_secret_and_the_requests_key_and_spread_evenly() -> None:
    numbers = [draw_number(b"secret", key.to_bytes(16, "big"), 2) for key in range(3_200)]
    assert numbers == [draw_number(b"secret", key.to_bytes(16, "big"), 2) for key in range(3_200)]
    assert min(Counter(numbers).values()) > 140 and len(set(numbers)) == 16
