"""True values in a synthetic shop: lists are served as the endpoint does, and the best is the best."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from jobs.evaluation.true_value import group_value, interleaved, served
from jobs.numeric.list_metrics import K
from jobs.synthetic.catalogue import Shop, is_available, items_of
from jobs.synthetic.exposures import PLACES, policy_shelves
from jobs.synthetic.shoppers import shoppers
from jobs.synthetic.truth import NoTruthError, best_lists, list_values
from tests.jobs.commands import topshelf

SHOP = Shop(300, 200, 12_000, date(2026, 1, 1), date(2026, 2, 14), seed=7)
DAY = 41
PEOPLE = shoppers(SHOP, np.arange(40))


def available(day: int = DAY) -> np.ndarray:
    return np.flatnonzero(is_available(SHOP, items_of(SHOP), np.arange(SHOP.items), np.full(SHOP.items, day)))


def test_no_list_is_worth_more_than_the_best_and_the_best_is_worth_itself():
    best, worth = best_lists(SHOP, PEOPLE, DAY, K)
    drawn = np.random.default_rng(0)
    others = np.stack([drawn.permutation(available())[:K] for _ in range(40)])

    np.testing.assert_allclose(list_values(SHOP, PEOPLE, best, DAY), worth)
    assert (np.diff(worth, axis=1) <= 0).all()
    assert (list_values(SHOP, PEOPLE, others, DAY).sum(axis=1) < worth.sum(axis=1)).all()


def test_the_best_of_some_items_holds_no_other():
    new = np.arange(0, 200, 9)
    best, worth = best_lists(SHOP, PEOPLE, DAY, K, only=new)

    there = set(new) & set(available())
    assert {int(item) for item in best.ravel() if item >= 0} <= there
    assert ((best >= 0).sum(axis=1) == min(K, len(there))).all()
    assert (worth[best < 0] == 0).all()


def test_what_cannot_be_bought_that_day_is_left_out_and_the_next_moves_up():
    there = available()
    gone = np.setdiff1d(np.arange(SHOP.items), there)
    lists = np.array([[gone[0], there[5], -1, there[2], gone[1]]])

    assert served(SHOP, lists, DAY)[0, :3].tolist() == [there[5], there[2], -1]
    assert served(SHOP, lists, DAY, only=there[2:3])[0, :2].tolist() == [there[2], -1]
    assert served(SHOP, lists, DAY).shape == (1, K)


def test_two_shelves_take_turns_and_the_rest_follows_each_item_once():
    merged = interleaved(np.array([1, 2, 3]), np.array([2, 9]), np.array([3, 7, 1]))

    assert merged.tolist() == [1, 2, 9, 3, 7]


def test_the_logging_policy_shows_ten_different_items_that_can_be_bought():
    shown = policy_shelves(SHOP, PEOPLE, DAY)

    assert shown.shape == (40, PLACES)
    assert set(shown.ravel().tolist()) <= set(available().tolist())
    assert all(len(set(row)) == PLACES for row in shown.tolist())
    np.testing.assert_array_equal(shown, policy_shelves(SHOP, PEOPLE, DAY))


def test_a_share_is_of_the_best_and_a_margin_of_the_shelf_over_the_other():
    best = np.full((50, K), 0.4)
    policy = best[:, :PLACES] / 8
    value = group_value({"best": best, "shelf": best / 2, "popular": best / 4, "logging policy": policy})

    assert value.lists["shelf"] == {"share@10": pytest.approx(0.5), "share@20": pytest.approx(0.5)}
    assert value.lists["popular"]["margin@20"] == pytest.approx([0.25] * 3)
    assert set(value.lists["logging policy"]) == {"share@10", "margin@10"}
    assert value.best["value@20"] == pytest.approx(8)


def test_a_folder_without_truth_is_refused_with_the_command_that_makes_one(tmp_path: Path):
    with pytest.raises(NoTruthError, match=r"run topshelf synthetic-shop --truth"):
        topshelf("true-value", "--ds", "2026-01-31", "--truth", tmp_path, "--lake", tmp_path)
