"""What each source of candidates was good for, on a window that a hand can count."""

import numpy as np
import pytest

from jobs.source_shares import Judged, source_shares
from serving.record import SOURCES

ALS, POPULAR, BOUGHT = (SOURCES.index(name) for name in ("als", "popular", "bought_before"))


def test_shares_recall_and_what_only_one_source_brought_are_what_a_hand_counts():
    # Two users, four candidates each; they chose five items in all, one of which nothing brought.
    found = Judged(
        source=np.array([ALS, ALS, POPULAR, BOUGHT, ALS, POPULAR, POPULAR, BOUGHT]),
        votes=np.array([1, 2, 1, 1, 1, 3, 1, 2]),
        rank=np.array([1, 2, 3, 4, 2, 1, 4, 3]),
        chosen=np.array([True, False, False, True, False, True, False, True]),
    )
    told = source_shares(found, n_users=2, n_truth=5, k=2)

    assert told["candidates_per_user"] == 4
    assert told["recall"] == 4 / 5
    assert set(told["by_source"]) == {"als", "popular", "bought_before"}
    als, bought = told["by_source"]["als"], told["by_source"]["bought_before"]
    assert (als["share"], als["only"]) == (3 / 8, 2 / 8)
    assert (als["recall"], als["unique_recall"]) == (1 / 5, 1 / 5)
    assert (bought["recall"], bought["unique_recall"]) == (2 / 5, 1 / 5)  # the other one had a second vote
    assert (als["shelf_share"], als["shelf_hits"]) == (3 / 4, 1 / 2)  # hits of the first two: one als, one popular
    assert (bought["shelf_share"], bought["shelf_hits"]) == (0, 0)


def test_shares_add_up_over_the_sources():
    drawn = np.random.default_rng(3)
    found = Judged(
        source=drawn.choice([ALS, POPULAR, BOUGHT], 300),
        votes=drawn.integers(1, 4, 300),
        rank=np.tile(np.arange(1, 31), 10),
        chosen=drawn.random(300) < 0.1,
    )
    told = source_shares(found, n_users=10, n_truth=int(found.chosen.sum()) + 7)

    for column in ("share", "shelf_share", "shelf_hits"):
        assert sum(of[column] for of in told["by_source"].values()) == pytest.approx(1)
    assert sum(of["recall"] for of in told["by_source"].values()) == pytest.approx(told["recall"])


def test_no_candidates_are_told_without_a_division_by_nothing():
    nothing = np.empty(0, dtype=np.int64)

    told = source_shares(Judged(nothing, nothing, nothing, nothing.astype(bool)), n_users=0, n_truth=0)

    assert told == {"candidates_per_user": 0.0, "recall": 0.0, "by_source": {}}
