"""The night's own evaluation: the days that its labels span, and shelves by one score each."""

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp

from jobs.candidates.sources import SCORES
from jobs.lake.evaluations import DayRange
from jobs.lake.lake import Lake
from jobs.lake.tables import HELD_OUT, INTERACTIONS, TOWERS
from jobs.ranking.pair_features import FEATURES
from jobs.training.examples import Window
from jobs.training.head_outcomes import HeadOutcomes
from jobs.training.holdout import (
    Outcome,
    available_scores,
    heads_reliability,
    label_days,
    lists_by,
    single_score_shelves,
)
from jobs.training.holdout_lists import HeldOutCandidates
from tests.jobs.small_shop import lay

DAY = date(2026, 1, 25)


def test_the_labels_of_a_window_are_those_of_the_horizon_after_its_day(lake: Lake) -> None:
    assert label_days(Window(lake, DAY), horizon_days=14) == DayRange(date(2026, 1, 26), date(2026, 2, 8))
    assert label_days(Window(lake, DAY), horizon_days=1) == DayRange(date(2026, 1, 26), date(2026, 1, 26))


def test_the_labels_of_held_out_pairs_are_those_of_all_days_with_events_up_to_the_window_s(lake: Lake) -> None:
    rest = Lake(f"{lake.root}/{HELD_OUT}")
    rest.write_days(None, INTERACTIONS, [DAY - timedelta(days=9)], inputs={DAY - timedelta(days=9): {}})
    for ago in (2, 1, 0):
        lay(rest, INTERACTIONS, DAY - timedelta(days=ago), pa.table({"user_id": ["anna"]}))
    assert label_days(Window(rest, DAY), horizon_days=14) == DayRange(date(2026, 1, 23), DAY)


def test_a_shop_without_towers_has_no_score_of_theirs(lake: Lake) -> None:
    lake.write_artifact(TOWERS, DAY, {}, inputs={})
    assert available_scores(Window(lake, DAY)) == [score for score in SCORES if score != "two_tower"]


def test_a_shop_with_towers_has_every_score(lake: Lake) -> None:
    vectors = np.zeros((2, 4), np.float32)
    lake.write_artifact(TOWERS, DAY, {"item_vectors": vectors}, texts={"groups.json": "{}"}, inputs={})
    assert available_scores(Window(lake, DAY)) == list(SCORES)


@pytest.fixture
def one_shopper() -> tuple[HeldOutCandidates, Outcome]:
    """Four candidates of one shopper, who chose item 2; the later an item, the more popular."""
    features = np.zeros((4, len(FEATURES)), np.float32)
    features[:, FEATURES.index("als")] = [0.1, 0.2, 0.9, 0.3]
    features[:, FEATURES.index("ease")] = [0.5, np.nan, 0.2, 0.3]
    candidates = HeldOutCandidates(np.zeros(4, np.int64), np.arange(4, dtype=np.int32), features, {}, 1)
    truth = sp.csr_matrix(([1.0], ([0], [2])), shape=(1, 4))
    audience = np.arange(1, 5)
    return candidates, Outcome("purchase", truth, sp.csr_matrix((1, 4)), audience, 10, np.array([3, 2, 1, 0]))


def test_candidates_are_ordered_by_each_score_that_there_is_and_ties_by_popularity(one_shopper) -> None:
    candidates, outcome = one_shopper
    rank = np.array([1, 2, 4, 3])

    ndcg = {
        name: metrics["all"]["ndcg@20"]
        for name, metrics in single_score_shelves(candidates, rank, outcome, ["als", "ease"]).items()
    }

    places = {"shelf": 4, "als": 1, "ease": 3, "bought_before": 2, "popular": 2}
    assert ndcg == {name: pytest.approx(1 / np.log2(place + 1)) for name, place in places.items()}


def test_the_rival_orders_candidates_by_the_days_they_were_bought_on_and_then_by_popularity(one_shopper) -> None:
    candidates, outcome = one_shopper
    candidates.features[:, FEATURES.index("pair_purchase_day_count")] = [0, 2, 0, 1]

    assert lists_by("bought_before", candidates, outcome).tolist() == [[1, 3, 2, 0]]


def test_the_spend_head_has_only_the_ratio_of_its_totals() -> None:
    paid = np.array([100.0, 300.0])
    heads = {
        "spend": HeadOutcomes(uncalibrated=paid, calibrated=paid * 1.5, happened=paid),
        "purchase": HeadOutcomes(np.array([0.2, 0.2]), calibrated=np.array([0.5, 0.5]), happened=np.array([1, 0])),
    }

    found = heads_reliability(heads)

    assert (found["spend"].ratio, found["spend"].examples, found["spend"].bins) == (1.5, 2, [])
    assert found["spend"].before is None
    assert found["purchase"].ratio == 1.0
    assert found["purchase"].before is not None
    assert found["purchase"].before.ratio == pytest.approx(0.4)
