"""Measures on held-out users: what sources brought, reliability of heads, and what variety costs."""

from itertools import combinations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from jobs.lake.evaluations import SourceShares
from jobs.numeric.list_metrics import ListScores, score_lists
from jobs.training.holdout_lists import HeldOutCandidates
from jobs.training.holdout_measures import (
    BINS,
    LAMBDAS,
    SourceHits,
    diversity_curve,
    intra_list_diversity,
    reliability,
    source_shares,
)
from serving.snapshot.record import SOURCES
from tests.jobs.small_shop import catalogue

ALS, POPULAR, BOUGHT = (SOURCES.index(name) for name in ("als", "popular", "bought_before"))
UNIT = np.random.default_rng(2).normal(size=(30, 6))
VECTORS = (UNIT / np.linalg.norm(UNIT, axis=1, keepdims=True)).astype(np.float32)


def test_shares_recall_and_what_only_one_source_brought_are_what_a_hand_counts() -> None:
    # Two users, four candidates each; they chose five items in all, one of which nothing brought.
    als, popular, bought = 1 << ALS, 1 << POPULAR, 1 << BOUGHT
    hits = SourceHits(
        source=np.array([ALS, ALS, POPULAR, BOUGHT, ALS, POPULAR, POPULAR, BOUGHT]),
        sources=np.array([als, als | popular, popular, bought, als, als | popular | bought, popular, als | bought]),
        rank=np.array([1, 2, 3, 4, 2, 1, 4, 3]),
        chosen=np.array([True, False, False, True, False, True, False, True]),
    )
    shares = source_shares(hits, n_users=2, n_truth=5, k=2)

    assert shares.candidates_per_user == 4
    assert shares.recall == 4 / 5
    assert set(shares.by_source) == {"als", "popular", "bought_before"}
    by_als, by_bought = shares.by_source["als"], shares.by_source["bought_before"]
    assert (by_als.share, by_als.only) == (5 / 8, 2 / 8)
    assert (by_als.recall, by_als.unique_recall) == (3 / 5, 1 / 5)  # two of the three others brought as well
    assert (by_bought.recall, by_bought.unique_recall) == (3 / 5, 1 / 5)
    assert (by_als.shelf_share, by_als.shelf_hits) == (3 / 4, 1 / 2)  # hits there: one als, one popular
    assert (by_bought.shelf_share, by_bought.shelf_hits) == (0, 0)


def test_places_and_hits_add_up_over_the_sources_and_no_source_brings_more_than_all() -> None:
    drawn = np.random.default_rng(3)
    source = drawn.choice([ALS, POPULAR, BOUGHT], 300)
    hits = SourceHits(
        source=source,
        sources=(1 << source | 1 << drawn.choice([ALS, POPULAR, BOUGHT], 300)).astype(np.int32),
        rank=np.tile(np.arange(1, 31), 10),
        chosen=drawn.random(300) < 0.1,
    )
    shares = source_shares(hits, n_users=10, n_truth=int(hits.chosen.sum()) + 7)

    sources = list(shares.by_source.values())
    assert sum(source.shelf_share for source in sources) == pytest.approx(1)
    assert sum(source.shelf_hits for source in sources) == pytest.approx(1)
    recalls = [source.recall for source in sources]
    assert max(recalls) <= shares.recall <= sum(recalls)
    assert all(source.unique_recall <= source.recall for source in sources)


def test_without_candidates_all_shares_are_0() -> None:
    nothing = np.empty(0, dtype=np.int64)

    shares = source_shares(SourceHits(nothing, nothing, nothing, nothing.astype(bool)), n_users=0, n_truth=0)

    assert shares == SourceShares(candidates_per_user=0.0, recall=0.0, by_source={})


def drawn_events(factor: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return predictions, and events that happen with each prediction over `factor`."""
    random = np.random.default_rng(7)
    predicted = random.beta(0.3, 8, 200_000)
    return predicted, (random.random(200_000) < predicted / factor).astype(np.int32)


def test_each_bin_holds_a_tenth_of_what_was_predicted_and_calibrated_ones_lie_on_the_line() -> None:
    predicted, happened = drawn_events()
    found = reliability(predicted, happened)

    assert len(found.bins) == BINS
    for row in found.bins:
        assert row.examples * row.predicted == pytest.approx(predicted.sum() / BINS, rel=0.01)
        assert row.happened == pytest.approx(row.predicted, rel=0.1)
    assert found.ratio == pytest.approx(1, abs=0.03)
    assert found.calibration_error < 0.001


def test_probabilities_that_are_twice_too_large_have_a_ratio_of_2() -> None:
    assert reliability(*drawn_events(factor=2)).ratio == pytest.approx(2, abs=0.1)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=60))
def test_bins_hold_every_example_and_every_event_once_in_order(drawn: list[tuple[float, int]]) -> None:
    predicted, happened = np.array([p for p, _ in drawn]), np.array([y for _, y in drawn])
    found = reliability(predicted, happened)

    if found.bins:
        assert sum(row.examples for row in found.bins) == len(drawn)
        events = sum(row.examples * row.happened for row in found.bins)
        assert events == pytest.approx(happened.sum())
    means = [row.predicted for row in found.bins]
    assert means == sorted(means)


def test_the_log_loss_is_the_mean_of_minus_the_logarithm_of_what_happened() -> None:
    found = reliability(np.array([0.5, 0.25]), np.array([1, 0]))

    assert found.log_loss == pytest.approx((0.693147 + 0.287682) / 2, abs=1e-6)


def test_a_head_that_predicts_nothing_has_no_bins() -> None:
    found = reliability(np.zeros(5), np.array([0, 0, 1, 0, 0]))

    assert (found.bins, found.positives, found.ratio, found.log_loss) == ([], 1, 0.0, 0.0)


def test_diversity_is_the_mean_distance_of_all_pairs_of_a_list() -> None:
    lists = np.array([[3, 8, 1, -1], [5, 5, -1, -1], [7, -1, -1, -1]])
    by_hand = np.mean([1 - VECTORS[a] @ VECTORS[b] for a, b in combinations([3, 8, 1], 2)])
    assert intra_list_diversity(lists, VECTORS) == pytest.approx((by_hand + 0.0) / 2, abs=1e-6)


def test_lists_of_one_item_have_no_diversity() -> None:
    assert intra_list_diversity(np.array([[4, -1]]), VECTORS) == 0.0


def test_without_held_out_users_there_is_no_curve() -> None:
    nobody = HeldOutCandidates(np.empty(0, np.int64), np.empty(0, np.int32), np.zeros((0, 1), np.float32), {}, 0)
    assert diversity_curve(nobody, np.empty(0), catalogue(30), VECTORS, lambda lists: pytest.fail("asked")) == []


def test_the_curve_begins_at_the_order_by_value_and_gains_variety_from_there() -> None:
    users, per_user = 600, 25
    random = np.random.default_rng(1)
    item = np.concatenate([np.sort(random.permutation(30)[:per_user]) for _ in range(users)]).astype(np.int32)
    candidates = HeldOutCandidates(
        np.repeat(np.arange(users), per_user), item, np.zeros((len(item), 1), np.float32), {}, users
    )
    value = random.random(len(item))
    truth = sp.csr_matrix((np.ones(users), (np.arange(users), item[::per_user])), shape=(users, 30))
    nothing = sp.csr_matrix((users, 30))

    def score(lists: np.ndarray) -> ListScores:
        return score_lists(lists, truth, nothing, np.ones(30, np.int64), users)

    curve = diversity_curve(candidates, value, catalogue(30), VECTORS, score)
    assert [point.mmr_lambda for point in curve] == list(LAMBDAS)
    plain = score(candidates.lists(candidates.ranks(value))).metrics["all"]
    assert curve[0].ndcg == pytest.approx(plain["ndcg@20"], abs=1e-4)
    assert curve[-1].diversity > curve[0].diversity
