"""What each source of candidates was good for, on a window that a hand can count."""

import numpy as np
import pytest

from jobs.training.holdout_measures import SourceHits, source_shares
from serving.snapshot.record import SOURCES

ALS, POPULAR, BOUGHT = (SOURCES.index(name) for name in ("als", "popular", "bought_before"))


def test_shares_recall_and_what_only_one_source_brought_are_what_a_hand_counts():
    # Two users, four candidates each; they chose five items in all, one of which nothing brought.
    als, popular, bought = 1 << ALS, 1 << POPULAR, 1 << BOUGHT
    found = SourceHits(
        source=np.array([ALS, ALS, POPULAR, BOUGHT, ALS, POPULAR, POPULAR, BOUGHT]),
        sources=np.array([als, als | popular, popular, bought, als, als | popular | bought, popular, als | bought]),
        rank=np.array([1, 2, 3, 4, 2, 1, 4, 3]),
        chosen=np.array([True, False, False, True, False, True, False, True]),
    )
    told = source_shares(found, n_users=2, n_truth=5, k=2)

    assert told["candidates_per_user"] == 4
    assert told["recall"] == 4 / 5
    assert set(told["by_source"]) == {"als", "popular", "bought_before"}
    of_als, of_bought = told["by_source"]["als"], told["by_source"]["bought_before"]
    assert (of_als["share"], of_als["only"]) == (5 / 8, 2 / 8)
    assert (of_als["recall"], of_als["unique_recall"]) == (3 / 5, 1 / 5)  # two of the three others brought as well
    assert (of_bought["recall"], of_bought["unique_recall"]) == (3 / 5, 1 / 5)
    assert (of_als["shelf_share"], of_als["shelf_hits"]) == (3 / 4, 1 / 2)  # hits there: one als, one popular
    assert (of_bought["shelf_share"], of_bought["shelf_hits"]) == (0, 0)


def test_places_and_hits_add_up_over_the_sources_and_no_source_brings_more_than_all():
    drawn = np.random.default_rng(3)
    source = drawn.choice([ALS, POPULAR, BOUGHT], 300)
    found = SourceHits(
        source=source,
        sources=(1 << source | 1 << drawn.choice([ALS, POPULAR, BOUGHT], 300)).astype(np.int32),
        rank=np.tile(np.arange(1, 31), 10),
        chosen=drawn.random(300) < 0.1,
    )
    told = source_shares(found, n_users=10, n_truth=int(found.chosen.sum()) + 7)

    for column in ("shelf_share", "shelf_hits"):
        assert sum(of[column] for of in told["by_source"].values()) == pytest.approx(1)
    recalls = [of["recall"] for of in told["by_source"].values()]
    assert max(recalls) <= told["recall"] <= sum(recalls)
    assert all(of["unique_recall"] <= of["recall"] for of in told["by_source"].values())


def test_no_candidates_are_told_without_a_division_by_nothing():
    nothing = np.empty(0, dtype=np.int64)

    told = source_shares(SourceHits(nothing, nothing, nothing, nothing.astype(bool)), n_users=0, n_truth=0)

    assert told == {"candidates_per_user": 0.0, "recall": 0.0, "by_source": {}}
