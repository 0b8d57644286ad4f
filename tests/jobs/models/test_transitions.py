from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.models.transitions import BACKWARD, MOST_NEXT, MOST_STEPS, PAUSE_S, NextItems, looked_next, sessions_of

N_ITEMS = 9
looks = st.lists(st.tuples(st.integers(0, 4), st.integers(0, N_ITEMS - 1), st.integers(0, 12)), max_size=60)


def found(rows: list[tuple[int, int, float]], n_items: int = N_ITEMS, most: int = MOST_NEXT) -> NextItems:
    """What follows from looks, each a session, an item and a time."""
    columns = np.array(rows, dtype=np.float64).reshape(-1, 3)
    return looked_next(columns[:, 0].astype(np.int64), columns[:, 1].astype(np.int32), columns[:, 2], n_items, most)


def lists(next_items: NextItems) -> list[list[tuple[int, float]]]:
    both = list(zip(next_items.positions.tolist(), next_items.scores.tolist(), strict=True))
    return [both[low:high] for low, high in pairwise(next_items.indptr.tolist())]


def visit(*items: int, session: int = 0) -> list[tuple[int, int, float]]:
    return [(session, item, float(at)) for at, item in enumerate(items)]


def counted_by_hand(rows: list[tuple[int, int, int]]) -> list[list[tuple[int, float]]]:
    """The same, pair by pair."""
    visits: dict[int, list[int]] = defaultdict(list)
    for session, _, item in sorted((session, at, item) for session, item, at in rows):
        if item not in visits[session]:
            visits[session].append(item)
    weight: dict[tuple[int, int], float] = defaultdict(float)
    for step in range(1, MOST_STEPS + 1):
        for items in visits.values():
            for one, other in zip(items, items[step:], strict=False):
                weight[one, other] += 1 / step
                weight[other, one] += BACKWARD / step
    wanted = []
    for item in range(N_ITEMS):
        count = sum(item in items for items in visits.values())
        row = [(other, value / np.sqrt(count)) for (one, other), value in weight.items() if one == item]
        wanted.append(sorted(row, key=lambda entry: (-round(entry[1], 9), entry[0])))
    return wanted


@settings(max_examples=150, deadline=None)
@given(looks)
def test_the_lists_are_those_that_counting_pair_by_pair_gives(rows: list[tuple[int, int, int]]) -> None:
    # The values of ties may differ in the last digit by how they were summed, and so may their order.
    for row, wanted in zip(lists(found(rows)), counted_by_hand(rows), strict=True):
        assert [score for _, score in row] == pytest.approx([score for _, score in wanted], rel=1e-6)
        assert dict(row) == pytest.approx(dict(wanted), rel=1e-6)


@settings(max_examples=100, deadline=None)
@given(looks, st.randoms(use_true_random=False), st.integers(1, 5))
def test_the_order_of_the_rows_and_the_numbers_of_sessions_change_nothing(
    rows: list[tuple[int, int, int]], random: "np.random.Generator", most: int
) -> None:
    before = found(rows, most=most)
    names = {session: session * 1_000 + 7 for session, _, _ in rows}
    shuffled = [(names[session], item, at) for session, item, at in rows]
    random.shuffle(shuffled)
    after = found(shuffled, most=most)
    assert [column.tobytes() for column in before] == [column.tobytes() for column in after]


@settings(max_examples=100, deadline=None)
@given(looks, st.integers(1, 5))
def test_lists_are_best_first_ties_by_position_without_the_item_itself_and_no_longer_than_asked(
    rows: list[tuple[int, int, int]], most: int
) -> None:
    next_items = found(rows, most=most)
    assert len(next_items.indptr) == N_ITEMS + 1
    for item, row in enumerate(lists(next_items)):
        assert len(row) <= most
        assert item not in dict(row)
        assert row == sorted(row, key=lambda entry: (-entry[1], entry[0]))
        assert row == lists(found(rows))[item][:most]


def test_what_comes_right_after_weighs_more_than_what_comes_later_or_came_before() -> None:
    assert lists(found(visit(1, 2, 3, 4)))[2] == [
        (3, pytest.approx(1.0)),
        (1, pytest.approx(BACKWARD)),
        (4, pytest.approx(1 / 2)),
    ]


def test_an_item_looked_at_again_counts_where_it_was_looked_at_first() -> None:
    assert lists(found(visit(1, 2, 1, 1, 3))) == lists(found(visit(1, 2, 3)))


def test_visits_that_share_no_session_share_no_pair() -> None:
    rows = lists(found(visit(1, 2) + visit(3, 4, session=1)))
    assert [[other for other, _ in row] for row in rows[1:5]] == [[2], [1], [4], [3]]


def test_a_rare_items_one_visit_weighs_more_than_one_of_many_of_a_popular_item() -> None:
    rows = [row for session in range(2, 6) for row in visit(1, 3, session=session)]
    next_items = lists(found([*rows, *visit(1, 7, session=0), *visit(2, 7, session=1)]))
    assert dict(next_items[2])[7] == pytest.approx(1.0)
    assert dict(next_items[1])[7] == pytest.approx(1 / np.sqrt(5))


def test_items_farther_apart_than_the_most_steps_are_no_pair() -> None:
    items = range(MOST_STEPS + 2)
    row = lists(found(visit(*items), n_items=len(items)))[0]
    assert [other for other, _ in row] == list(range(1, MOST_STEPS + 1))


@pytest.mark.parametrize("rows", [[], visit(3), visit(3) + visit(4, session=1)], ids=["none", "one", "two visits"])
def test_where_no_visit_has_two_items_all_lists_are_empty(rows: list[tuple[int, int, float]]) -> None:
    next_items = found(rows)
    assert next_items.indptr.tolist() == [0] * (N_ITEMS + 1)
    assert (len(next_items.positions), len(next_items.scores)) == (0, 0)


def test_an_item_that_the_catalogue_lacks_is_an_error() -> None:
    for item in (-1, N_ITEMS):
        with pytest.raises(ValueError, match="not all within 0 to 8"):
            found(visit(3, item))


def test_a_pause_of_more_than_half_an_hour_ends_a_session_and_so_does_another_visitor() -> None:
    visitor = np.array([7, 7, 7, 2, 7])
    at_s = np.array([100, 100 + PAUSE_S, 101 + 2 * PAUSE_S, 100, 90])
    assert sessions_of(visitor, at_s).tolist() == [1, 1, 2, 0, 1]
    assert sessions_of(visitor[:0], at_s[:0]).tolist() == []
