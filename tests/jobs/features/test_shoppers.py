"""Shoppers of a shard, read batch by batch: the batches of the whole shard."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jobs.features import shoppers as module
from jobs.features.shoppers import ShopperHistories, load_shoppers, shopper_batches
from jobs.lake.lake import Lake
from tests.jobs.small_shop import catalogue, lay_shop, shoppers, touch

DS = date(2026, 1, 31)
N_ITEMS, N_USERS = 12, 70


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A shard of shoppers of whom some have no pair, in batches of nine; pairs are read seven at a time."""
    monkeypatch.setattr(module, "BATCH_USERS", 9)
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", 7)
    draw = np.random.default_rng(0)
    counts = draw.integers(0, N_ITEMS, N_USERS)
    counts[[0, 20, 21, N_USERS - 1]] = 0
    histories = [
        [touch(int(item), viewed=1) for item in draw.choice(N_ITEMS, count, replace=False)] for count in counts
    ]
    laid = Lake(str(tmp_path))
    lay_shop(laid, DS, shoppers(N_ITEMS, *histories), catalogue(N_ITEMS))
    return laid


def assert_same(found: Sequence[ShopperHistories], expected: Sequence[ShopperHistories]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.user_id.equals(other.user_id)
        assert one.indptr.tolist() == other.indptr.tolist()
        for name in other.history:
            np.testing.assert_array_equal(one.history[name], other.history[name], name)
        for name in other.users:
            np.testing.assert_array_equal(one.users[name], other.users[name], name)


def test_batches_are_those_of_the_whole_shard(lake: Lake) -> None:
    expected = list(load_shoppers(lake, DS, 0, N_ITEMS).batches())
    assert_same(list(shopper_batches(lake, DS, 0, N_ITEMS)), expected)
    assert [len(batch) for batch in expected] == [9] * 7 + [7]
    assert not list(shopper_batches(lake, DS, 1, N_ITEMS))


def test_of_some_shoppers_batches_are_full_too(lake: Lake) -> None:
    everybody = load_shoppers(lake, DS, 0, N_ITEMS).user_id
    some = everybody.take(pa.array(range(0, N_USERS, 3)))
    expected = list(load_shoppers(lake, DS, 0, N_ITEMS, only=some).batches())
    assert_same(list(shopper_batches(lake, DS, 0, N_ITEMS, only=some)), expected)
    assert [len(batch) for batch in expected] == [9, 9, 6]
    assert not list(shopper_batches(lake, DS, 0, N_ITEMS, only=pa.array(["nobody"])))
