"""What variety costs: the diversity of lists, and the curve over lambda."""

from itertools import combinations

import numpy as np
import pytest
import scipy.sparse as sp

from jobs.numeric.list_metrics import score_lists
from jobs.training.holdout_lists import HeldOutCandidates
from jobs.training.holdout_measures import LAMBDAS, diversity_curve, intra_list_diversity
from tests.jobs.small_shop import catalogue

UNIT = np.random.default_rng(2).normal(size=(30, 6))
VECTORS = (UNIT / np.linalg.norm(UNIT, axis=1, keepdims=True)).astype(np.float32)


def test_diversity_is_the_mean_distance_of_all_pairs_of_a_list() -> None:
    lists = np.array([[3, 8, 1, -1], [5, 5, -1, -1], [7, -1, -1, -1]])
    by_hand = np.mean([1 - VECTORS[a] @ VECTORS[b] for a, b in combinations([3, 8, 1], 2)])
    assert intra_list_diversity(lists, VECTORS) == pytest.approx((by_hand + 0.0) / 2, abs=1e-6)


def test_lists_that_cannot_be_diverse_have_none() -> None:
    assert intra_list_diversity(np.array([[4, -1]]), VECTORS) == 0.0


def test_a_window_in_which_nobody_is_asked_has_no_curve() -> None:
    nobody = HeldOutCandidates(np.empty(0, np.int64), np.empty(0, np.int32), np.zeros((0, 1), np.float32), {}, 0)
    assert diversity_curve(nobody, np.empty(0), catalogue(30), VECTORS, lambda lists: pytest.fail("asked")) == []


def test_the_curve_begins_at_the_order_by_value_and_gains_variety_from_there() -> None:
    users, per_user = 600, 25
    random = np.random.default_rng(1)
    item = np.concatenate([np.sort(random.permutation(30)[:per_user]) for _ in range(users)]).astype(np.int32)
    asked = HeldOutCandidates(
        np.repeat(np.arange(users), per_user), item, np.zeros((len(item), 1), np.float32), {}, users
    )
    value = random.random(len(item))
    truth = sp.csr_matrix((np.ones(users), (np.arange(users), item[::per_user])), shape=(users, 30))
    nothing = sp.csr_matrix((users, 30))

    def score(lists: np.ndarray) -> object:
        return score_lists(lists, truth, nothing, np.ones(30, np.int64), users)

    curve = diversity_curve(asked, value, catalogue(30), VECTORS, score)
    assert [point["mmr_lambda"] for point in curve] == list(LAMBDAS)
    plain = score(asked.lists(asked.ranks(value))).metrics["all"]
    assert curve[0]["ndcg"] == pytest.approx(plain["ndcg@20"], abs=1e-4)
    assert curve[-1]["diversity"] > curve[0]["diversity"]
