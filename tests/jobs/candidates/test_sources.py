"""Scores of shopper and item: each is what plain NumPy makes of the artifact and the shopper's history."""

from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.candidates.sources import BY_NEIGHBOURS, DECAY_MOMENTS, LEAST_READING, load_sources, score
from jobs.features.strength import interaction_values
from jobs.lake.lake import Lake
from jobs.lake.partitions import MissingPartitionError
from tests.jobs.small_shop import CF, DECAY_DAYS, catalogue, drawn_shop, shoppers, sources, touch

PAIRS = np.repeat(np.arange(40), 60), np.tile(np.arange(60, dtype=np.int32), 40)
SEEDS = st.integers(0, 2)  # each one a shop that is trained once


def readings(shop) -> dict[str, np.ndarray]:
    """Users x items, said the slow way: strength, faded by age, and what was touched last."""
    found = {name: np.zeros((len(shop), shop.n_items)) for name in ("all", "ordered", "faded", "last")}
    for user in range(len(shop)):
        rows = range(shop.indptr[user], shop.indptr[user + 1])
        rows = [row for row in rows if shop.history["weight_milli"][row] > 0]
        times = {shop.history["last_event_ts"][other] for other in range(shop.indptr[user], shop.indptr[user + 1])}
        latest = min((shop.history["days_since_last_event"][row] for row in rows), default=0)
        for row in rows:
            item, days = shop.history["item_pos"][row], shop.history["days_since_last_event"][row]
            found["all"][user, item] = np.log1p(shop.history["weight_milli"][row] / 1000)
            moments = sum(at > shop.history["last_event_ts"][row] for at in times)
            found["ordered"][user, item] = np.exp(-moments / DECAY_MOMENTS)
            found["faded"][user, item] = np.exp(-days / DECAY_DAYS)
            found["last"][user, item] = days == latest
    return found


@settings(max_examples=4, deadline=None)
@given(SEEDS)
def test_a_score_by_neighbours_is_a_reading_of_the_shopper_times_the_matrix(seed: int) -> None:
    shop, drawn = drawn_shop(seed)
    found, read = score(shop, drawn).by_neighbours, readings(shop)
    assert set(found) == set(BY_NEIGHBOURS)
    for name, (reading, matrix) in BY_NEIGHBOURS.items():
        wanted = read[reading] @ drawn.neighbours[matrix].toarray()
        assert wanted.any()
        np.testing.assert_allclose(found[name].toarray(), wanted, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("name", BY_NEIGHBOURS)
def test_a_pair_has_the_score_of_its_place_in_the_matrix_in_whatever_order_its_row_is_kept(name: str) -> None:
    shop, drawn = drawn_shop()
    found = score(shop, drawn)
    wanted = found.by_neighbours[name].toarray()
    at_pairs = found.at(drawn, *PAIRS)[name].reshape(40, 60)
    assert wanted.any()
    np.testing.assert_array_equal(at_pairs, wanted)


def test_als_is_the_shoppers_ridge_solution_around_the_item_factors() -> None:
    shop, drawn = drawn_shop()
    found = score(shop, drawn)
    items = drawn.item_factors.astype(np.float64)
    for user, strength in enumerate(readings(shop)["all"]):
        confidence = CF.alpha * strength
        left = items.T @ items + items.T @ (np.maximum(confidence - 1, -1)[:, None] * items * (strength > 0)[:, None])
        wanted = np.linalg.solve(left + CF.regularization * np.eye(CF.factors), items.T @ confidence)
        np.testing.assert_allclose(found.factors[user], wanted, rtol=2e-3, atol=1e-4)
    als = found.at(drawn, *PAIRS)["als"].reshape(40, 60)
    np.testing.assert_allclose(als, found.factors @ drawn.item_factors.T, rtol=1e-4, atol=1e-5)


def test_taste_is_the_cosine_of_an_item_with_the_shoppers_mean_and_0_without_a_history() -> None:
    shop, drawn = drawn_shop()
    taste = score(shop, drawn).at(drawn, *PAIRS)["taste"].reshape(40, 60)
    profile = readings(shop)["faded"] @ drawn.item_vectors
    length = np.linalg.norm(profile, axis=1, keepdims=True)
    known = length[:, 0] > 0
    assert 0 < known.sum() < 40
    np.testing.assert_allclose(taste[known], (profile[known] / length[known]) @ drawn.item_vectors.T, atol=1e-5)
    assert not taste[~known].any()


def test_an_impression_counts_in_no_reading_of_the_shopper() -> None:
    of = catalogue(3)
    everything = np.ones((3, 3)) - np.eye(3)
    drawn = sources(of, np.eye(3, 8), np.eye(3), item_item=everything, ease=everything)
    seen = score(shoppers(3, [touch(0)]), drawn)
    looked = score(shoppers(3, [touch(0, viewed=1)]), drawn)
    assert not any(values.nnz for values in seen.by_neighbours.values())
    assert not seen.factors.any()
    assert not any(values.any() for values in seen.profiles.values())
    assert looked.by_neighbours["item_item"].toarray()[0].tolist() == pytest.approx([0, np.log(2), np.log(2)])


def test_the_last_reading_holds_the_last_day_of_activity_alone() -> None:
    drawn = sources(catalogue(4), np.zeros((4, 8)), np.eye(4))
    history = [touch(0, viewed=9, days_ago=8), touch(1, bought=1, days_ago=3), touch(2, viewed=1, days_ago=3)]
    of_last_day = score(shoppers(4, history), drawn).profiles["taste_last"][0]
    assert of_last_day.tolist() == pytest.approx([0, 0.5**0.5, 0.5**0.5, 0])


def test_what_is_far_older_than_the_latest_pair_is_no_taste_of_today_but_who_was_long_away_has_one() -> None:
    everything = np.ones((4, 4)) - np.eye(4)
    drawn = sources(catalogue(4), np.zeros((4, 8)), np.eye(4), ease=everything)
    old = int(DECAY_DAYS * -np.log(LEAST_READING))
    both = score(shoppers(4, [touch(0, bought=1, days_ago=0), touch(1, bought=1, days_ago=old + 1)]), drawn)
    away = score(shoppers(4, [touch(0, bought=1, days_ago=2), touch(1, bought=1, days_ago=old + 1)]), drawn)
    alone = score(shoppers(4, [touch(1, bought=1, days_ago=old + 2)]), drawn)
    assert both.by_neighbours["ease"].toarray()[0, 0] == 0 < both.by_neighbours["ease"].toarray()[0, 1]
    assert away.by_neighbours["ease"].toarray()[0, 0] > 0
    assert alone.by_neighbours["ease"].toarray()[0, 0] > 0


def test_strength_grows_with_the_logarithm_of_the_weight_and_an_impression_has_none() -> None:
    weights = np.array([0, 1000, 5000, 500_000])
    np.testing.assert_allclose(interaction_values(weights), [0, np.log(2), np.log(6), np.log(501)], rtol=1e-6)


def test_without_the_days_features_the_error_says_what_to_run(lake: Lake) -> None:
    with pytest.raises(MissingPartitionError, match="features/item has no ds=2026-01-31"):
        load_sources(lake, date(2026, 1, 31), DECAY_DAYS)
