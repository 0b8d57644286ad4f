"""Similar items of products that few shoppers have touched, filled up by content."""

from itertools import pairwise

import numpy as np
import pytest

from jobs.publishing import filled_neighbours
from jobs.publishing.filled_neighbours import Neighbours, filled_up


def csr(*lists: dict[int, float]) -> Neighbours:
    return (
        np.cumsum([0, *map(len, lists)]),
        np.array([position for of in lists for position in of], np.int32),
        np.array([score for of in lists for score in of.values()], np.float32),
    )


def lists(neighbours: Neighbours) -> list[dict[int, float]]:
    indptr, positions, scores = neighbours
    return [
        dict(zip(positions[start:end].tolist(), scores[start:end].tolist(), strict=True))
        for start, end in pairwise(indptr.tolist())
    ]


NEAR = csr({1: 0.5, 2: 0.375}, {}, {0: 0.25}, {0: 0.875, 1: 0.75, 2: 0.625})
MORE = csr({2: 0.875, 3: 0.75, 1: 0.125}, {3: 0.625, 0: 0.5}, {}, {2: 0.875})
FILLED = [{1: 0.5, 2: 0.375, 3: 0.375}, {3: 0.625, 0: 0.5}, {0: 0.25}, {0: 0.875, 1: 0.75, 2: 0.625}]


@pytest.mark.parametrize("block", [1, 3, 100])
def test_short_lists_are_filled_behind_their_own_neighbours_each_once(block, monkeypatch):
    monkeypatch.setattr(filled_neighbours, "BLOCK", block)
    filled = filled_up(NEAR, MORE, 3)
    assert lists(filled) == FILLED
    assert [array.dtype for array in filled] == [array.dtype for array in NEAR]


def test_lists_that_are_long_enough_stay_and_no_list_grows_beyond_the_fewest():
    assert lists(filled_up(NEAR, MORE, 1)) == [lists(NEAR)[0], {3: 0.625}, *lists(NEAR)[2:]]
    assert lists(filled_up(NEAR, MORE, 0)) == lists(NEAR)


def test_a_shop_without_products_has_no_lists():
    assert lists(filled_up(csr(), csr(), 20)) == []
