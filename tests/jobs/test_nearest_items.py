"""Nearest items by inner product: exact where it can be, of measured recall where it cannot."""

import numpy as np
import pytest

from jobs import nearest_items
from jobs.nearest_items import nearest

RNG = np.random.default_rng(3)
ITEMS = RNG.normal(size=(600, 8)).astype(np.float32)
QUERIES = RNG.normal(size=(40, 8)).astype(np.float32)


def test_a_small_catalogue_is_searched_exactly() -> None:
    found = nearest(ITEMS, QUERIES, 10)
    wanted = np.argsort(-(QUERIES @ ITEMS.T), axis=1, kind="stable")[:, :10]
    assert np.array_equal(found.position, wanted)
    assert np.allclose(found.score, np.take_along_axis(QUERIES @ ITEMS.T, wanted, axis=1), atol=1e-5)
    assert found.recall == 1.0


def test_a_large_catalogue_is_searched_by_lists_of_measured_recall_and_the_same_way_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nearest_items, "EXACT_ITEMS", 100)
    one, other = nearest(ITEMS, QUERIES, 10), nearest(ITEMS, QUERIES, 10)
    assert np.array_equal(one.position, other.position)
    wanted = np.argsort(-(QUERIES @ ITEMS.T), axis=1, kind="stable")[:, :10]
    hits = np.mean([len(np.intersect1d(a, b)) for a, b in zip(one.position, wanted, strict=True)]) / 10
    assert one.recall >= nearest_items.RECALL
    assert hits == pytest.approx(one.recall)


def test_more_than_there_are_gives_what_there_is_and_no_query_gives_no_row() -> None:
    assert nearest(ITEMS[:3], QUERIES, 10).position.shape == (40, 3)
    assert nearest(ITEMS, QUERIES[:0], 10).position.shape == (0, 10)
