"""What follows what, on histories small enough to weigh by hand."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jobs.models import follows as module
from jobs.models.follows import BACKWARD, COLUMN_POWER, MOST_STEPS, ROW_POWER, STEP_WEIGHT, follows

HISTORIES = arrays(np.int64, (6, 7), elements=st.integers(0, 4))  # 0: never; 1: last; 2: the moment before; …


def dense(moments: np.ndarray, most: int = 7) -> np.ndarray:
    return follows(sp.csr_matrix(moments.astype(np.float32)), most).toarray()


def by_hand(moments: np.ndarray) -> np.ndarray:
    weight: Counter[tuple[int, int]] = Counter()
    for row in moments:
        times = sorted(set(row[row > 0].tolist()))  # moments that a shopper skips do not count as steps
        for one, other in combinations(np.flatnonzero(row), 2):
            later, earlier = sorted((one, other), key=lambda item: row[item])
            step = times.index(row[earlier]) - times.index(row[later])
            if 0 < step <= MOST_STEPS:
                weight[earlier, later] += STEP_WEIGHT ** (step - 1)
                weight[later, earlier] += BACKWARD * STEP_WEIGHT ** (step - 1)
    matrix = np.zeros((7, 7))
    for pair, value in weight.items():
        matrix[pair] = value
    scale = np.maximum(matrix.sum(axis=1), 1e-9)[:, None] ** ROW_POWER
    return matrix / (scale * np.maximum(matrix.sum(axis=0), 1e-9) ** COLUMN_POWER)


@settings(max_examples=60, deadline=None)
@given(HISTORIES)
def test_later_items_weigh_by_the_steps_between_and_earlier_ones_a_share_of_it(moments: np.ndarray) -> None:
    # As the night reads them, a shopper's moments have no gaps.
    for row in moments:
        known = row > 0
        row[known] = np.unique(row[known], return_inverse=True)[1] + 1
    np.testing.assert_allclose(dense(moments), by_hand(moments), rtol=1e-5)


def test_what_was_done_at_one_moment_has_no_order() -> None:
    assert dense(np.array([[1, 1, 1, 0, 0, 0, 0]])).sum() == 0


def test_the_next_item_leads_and_only_the_best_are_kept() -> None:
    history = np.array([[7, 6, 5, 4, 3, 2, 1]] * 3)
    found = dense(history, most=2)
    assert (np.count_nonzero(found, axis=1) <= 2).all()
    assert found[0].argmax() == 1
    assert found[3].argmax() == 4


def test_items_further_apart_than_the_steps_do_not_meet() -> None:
    n_items = MOST_STEPS + 2
    chain = sp.csr_matrix(np.arange(n_items, 0, -1, dtype=np.float32)[None, :])
    found = follows(chain, n_items).toarray()
    assert found[0, n_items - 1] == 0
    assert found[0, n_items - 2] > 0


def test_of_a_large_shop_every_second_shopper_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = np.random.default_rng(4).integers(0, 5, (40, 7))
    monkeypatch.setattr(module, "MOST_PAIRS", np.count_nonzero(moments) // 2 + 1)
    drawn = dense(moments)
    monkeypatch.undo()
    np.testing.assert_array_equal(drawn, dense(moments[::2]))


def test_a_shop_without_pairs_has_nothing_that_follows() -> None:
    assert follows(sp.csr_matrix((3, 4), dtype=np.float32), 5).shape == (4, 4)
