"""Array helpers against what plain Python makes of the same lists."""

import doctest
from itertools import groupby

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as drawn

import jobs.numeric.arrays
from jobs.numeric.arrays import (
    best_in_group,
    best_rows,
    coded,
    descending_bits,
    find_sorted,
    highest_first,
    is_in,
    pair_keys,
    products_of_pairs,
    rank_by_order,
    rank_in_group,
    top_columns,
    unit_rows,
    values_at,
)

ODD = (-np.inf, -2.5, -1e-40, -0.0, 0.0, 1e-40, 0.5, 0.5000001, 3e38, np.inf, np.nan)
GROUPS = st.lists(st.integers(0, 5), max_size=30)
KEYS = st.lists(st.integers(-3, 12), max_size=20)
SHAPES = st.tuples(st.integers(0, 4), st.integers(0, 7))
SCORES = drawn(np.float64, SHAPES, elements=st.sampled_from([-1.0, 0, 0.5, 2]))


def whole(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def test_the_examples_in_the_docstrings_are_true() -> None:
    results = doctest.testmod(jobs.numeric.arrays)
    assert results.attempted > 3
    assert results.failed == 0


@settings(deadline=None)
@given(GROUPS)
def test_rows_of_a_group_are_numbered_from_zero(groups: list[int]) -> None:
    groups.sort()
    wanted = [place for _, rows in groupby(groups) for place, _ in enumerate(rows)]
    assert rank_in_group(whole(groups)).tolist() == wanted


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), max_size=30))
def test_a_rank_by_an_order_counts_the_better_rows_of_the_same_group(rows: list[tuple[int, int]]) -> None:
    group, score = (whole([row[column] for row in rows]) for column in (0, 1))
    wanted = [
        sum(other[0] == row[0] and (-other[1], at) < (-row[1], place) for at, other in enumerate(rows))
        for place, row in enumerate(rows)
    ]
    assert rank_by_order(group, np.lexsort((-score, group))).tolist() == wanted


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(ODD)), max_size=40), st.sampled_from([1, 7, 1 << 16]))
def test_rows_are_ordered_by_group_then_highest_score_then_as_they_stand(
    rows: list[tuple[int, float]], packed_rows: int
) -> None:
    rows.sort(key=lambda row: row[0])
    score = np.array([row[1] for row in rows], np.float32)
    known = np.nan_to_num(score, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    wanted = sorted(range(len(rows)), key=lambda row: (rows[row][0], -known[row]))
    # Groups so far apart that group, score and row do not fit 64 bits; then blocks are sorted, of so many rows.
    for apart in (1, 1 << 40):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(jobs.numeric.arrays, "PACKED_ROWS", packed_rows)
            order = highest_first(whole([row[0] * apart for row in rows]), score)
        assert order.tolist() == wanted


@settings(deadline=None)
@given(drawn(np.float32, 8, elements=st.floats(width=32, allow_nan=False)))
def test_numbers_that_stand_for_scores_descend_as_they_ascend(scores: np.ndarray) -> None:
    ascending = np.unique(scores + np.float32(0))
    numbers = descending_bits(ascending).astype(np.int64)
    assert (np.diff(numbers) < 0).all()


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30), st.integers(0, 4))
def test_the_best_rows_of_each_group_stand_where_they_stood(rows: list[tuple[int, int]], most: int) -> None:
    rows.sort(key=lambda row: row[0])
    wanted = []
    for group in range(4):
        mine = [place for place, row in enumerate(rows) if row[0] == group]
        wanted += sorted(sorted(mine, key=lambda place: (-rows[place][1], place))[:most])
    group, score = (whole([row[column] for row in rows]) for column in range(2))
    assert best_rows(group, score, most).tolist() == wanted


def test_products_of_pairs_are_inner_products_row_by_row() -> None:
    rng = np.random.default_rng(0)
    left, right = (rng.integers(-4, 5, shape).astype(np.float32) for shape in ((3, 2, 5), (7, 5)))
    indptr, column = whole([0, 3, 3, 5]), whole([6, 0, 2, 2, 5])
    row = np.repeat(np.arange(3), np.diff(indptr))
    wanted = np.einsum("pkd,pd->pk", left[row], right[column])
    np.testing.assert_array_equal(products_of_pairs(left, right, indptr, column), wanted)
    assert products_of_pairs(left, right, whole([0, 0, 0, 0]), whole([])).shape == (0, 2)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), max_size=30), st.integers(0, 4))
def test_the_best_of_each_group_come_group_by_group_best_first(rows: list[tuple[int, int, int]], most: int) -> None:
    wanted = []
    for group in range(4):
        mine = [place for place, row in enumerate(rows) if row[0] == group]
        wanted += sorted(mine, key=lambda place: (-rows[place][1], rows[place][2], place))[:most]
    group, score, tie = (whole([row[column] for row in rows]) for column in range(3))
    assert best_in_group(group, score, tie, most).tolist() == wanted


@settings(deadline=None)
@given(KEYS, KEYS)
def test_a_key_is_found_at_its_first_place_or_nowhere(held: list[int], wanted: list[int]) -> None:
    held.sort()
    found = find_sorted(whole(held), whole(wanted))
    assert found.tolist() == [held.index(key) if key in held else -1 for key in wanted]
    assert is_in(whole(wanted), whole(held)).tolist() == [key in held for key in wanted]


def test_keys_are_found_in_whatever_shape_they_come() -> None:
    assert find_sorted(whole([1, 4]), np.array([[4, 0], [1, 9]])).tolist() == [[1, -1], [0, -1]]
    assert find_sorted(whole([]), np.zeros((2, 0), np.int64)).shape == (2, 0)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 8)), max_size=20))
def test_keys_of_pairs_ascend_as_the_pairs_do(pairs: list[tuple[int, int]]) -> None:
    user = whole([user for user, _ in pairs])
    item = np.array([item for _, item in pairs], dtype=np.int32)
    keys = pair_keys(user, item, 9).tolist()
    assert [pairs[at] for at in np.argsort(keys, kind="stable")] == sorted(pairs)
    assert len(set(keys)) == len(set(pairs))


@settings(deadline=None)
@given(drawn(np.float32, (3, 4), elements=st.sampled_from([0.0, 0.25, 7.0])), st.booleans())
def test_a_value_is_that_of_its_place_in_the_matrix_however_its_row_is_stored(dense: np.ndarray, turn: bool) -> None:
    matrix = sp.csr_matrix(dense)
    if turn:  # a row's entries from last to first
        for low, high in zip(matrix.indptr, matrix.indptr[1:], strict=False):
            matrix.indices[low:high] = matrix.indices[low:high][::-1].copy()
            matrix.data[low:high] = matrix.data[low:high][::-1].copy()
        matrix.has_sorted_indices = False
    item = np.tile(np.arange(4, dtype=np.int32), 3)
    values = values_at(matrix, whole([0, 4, 8, 12]), item)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values.reshape(3, 4), dense)
    np.testing.assert_array_equal(values_at(matrix, whole([0, 0, 1, 1]), whole([2])), dense[1, 2:3])


@settings(deadline=None)
@given(SCORES, st.integers(0, 9))
def test_the_top_columns_are_the_head_of_each_sorted_row(scores: np.ndarray, k: int) -> None:
    columns = range(scores.shape[1])
    wanted = [sorted(columns, key=lambda column: (-row[column], column))[:k] for row in scores]
    found = top_columns(scores, k)
    assert found.shape == (len(scores), min(k, scores.shape[1]))
    assert found.tolist() == wanted


def test_rows_get_unit_length_and_zeros_stay() -> None:
    rows = unit_rows(np.array([[3, 4], [0, 0], [0, -2]], dtype=np.float32))
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0, 0], [0, -1]], rtol=1e-6)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["", "a", "Z", "\u00e4", "ab", "\U0001f600"]), max_size=12))
def test_ids_are_coded_in_byte_order(given_ids: list[str]) -> None:
    wanted = sorted(set(given_ids), key=str.encode)
    ids, index = coded(pa.chunked_array([given_ids], pa.string()))
    assert ids.to_pylist() == wanted
    assert index.tolist() == [wanted.index(each) for each in given_ids]
