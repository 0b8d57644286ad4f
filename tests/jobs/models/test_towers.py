"""What the towers know of a shopper on a day, the user tower in NumPy, and the source that they make."""

from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.candidates.fusion import SOURCE_CODE
from jobs.candidates.generate import candidates
from jobs.candidates.lists import QUOTA
from jobs.candidates.sources import Sources, score
from jobs.config.parameters import Parameters
from jobs.lake.lake import Lake
from jobs.lake.partitions import MissingPartitionError
from jobs.models.tower_inputs import TowerParameters, training_rows
from jobs.models.towers import (
    DIMENSIONS,
    FADES_DAYS,
    LONGEST,
    NUMBERS,
    Discoveries,
    Towers,
    group_codes,
    load_towers,
    read_histories,
    smoothed_unit_rows,
)
from jobs.models.train_towers import build
from tests.jobs.small_shop import drawn_catalogue, drawn_history, lay_shop, shoppers, sources, touch

DS = date(2026, 1, 31)


def drawn_pairs(seed: int, n_users: int = 6, n_items: int = 90) -> Discoveries:
    """Shoppers who come upon items on few days, some more often than LONGEST, and come back to some."""
    draw = np.random.default_rng(seed)
    rows = [
        (user, item, first, int(draw.integers(0, first + 1)))
        for user in range(n_users)
        for item in draw.choice(n_items, (0, 1, 5, 20, 60, 90)[user], replace=False)
        for first in [int(draw.integers(0, 12))]
    ]
    user, item, first, last = np.array(rows).T
    history = {"item_pos": item, "days_since_first_event": first, "days_since_last_event": last}
    return Discoveries.from_history(user, history | {"weight_milli": np.full(len(rows), 1000)}, n_users)


def drawn_towers(n_items: int, seed: int = 5) -> Towers:
    draw = np.random.default_rng(seed)
    vectors = smoothed_unit_rows(draw.normal(size=(n_items, DIMENSIONS)).astype(np.float32))
    width = 2 * DIMENSIONS + NUMBERS + 2 * 4
    shapes = {"region": (3, 4), "age_band": (1, 4), "hidden": (width, 16), "hidden_bias": (16,)}
    shapes |= {"out": (16, DIMENSIONS), "out_bias": (DIMENSIONS,), "mix": (2,)}
    weights = {name: draw.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    return Towers(vectors, weights, {"region": ["north", "south"], "age_band": []})


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1_000))
def test_a_training_row_holds_discoveries_of_earlier_days_alone(seed: int) -> None:
    found = drawn_pairs(seed)
    rows = training_rows(found, 90, TowerParameters(1))
    history = read_histories(found, rows.start, rows.end, found.first)
    for row, (user, day) in enumerate(zip(found.user, found.first, strict=True)):
        before = np.flatnonzero((found.user == user) & (found.first > day))[:LONGEST]
        assert set(history.item[row][history.weight[0, row] > 0]) == set(found.item[before])
        assert history.numbers[row, 0] == (len(before) > 0)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1_000), st.integers(0, 11))
def test_later_events_do_not_change_a_history_as_of_an_earlier_day(seed: int, day: int) -> None:
    found = drawn_pairs(seed)
    later = found.last <= day
    other = np.where(later, np.random.default_rng(seed).permuted(found.last[later])[0] if later.any() else 0, 0)
    changed = Discoveries(
        found.user, found.item, found.first, np.where(later, np.minimum(other, day), found.last), found.indptr
    )
    key = found.user * 100 + found.first
    start = np.searchsorted(key, np.arange(6) * 100 + day, side="right")
    ago = np.full(6, day, np.float32)
    one, two = (read_histories(pairs, start, found.indptr[1:], ago) for pairs in (found, changed))
    for before, after in zip(vars(one).values(), vars(two).values(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_weights_of_a_history_fade_from_its_latest_item_and_add_up_to_one() -> None:
    shop = shoppers(9, [touch(2, viewed=1, days_ago=3), touch(5, viewed=1, days_ago=10), touch(7)], [])
    found = Discoveries.from_history(shop.history_user(), shop.history, 2)
    history = read_histories(found, found.indptr[:-1], found.indptr[1:], np.full(2, -1, np.float32))
    for weight, fades in zip(history.weight[:, 0], FADES_DAYS, strict=True):
        share = np.exp(-7 / fades)
        np.testing.assert_allclose(weight[:2], [1 / (1 + share), share / (1 + share)], rtol=1e-5)
        assert not weight[2:].any(), "an impression is no discovery"
    assert not history.weight[:, 1].any()
    np.testing.assert_allclose(history.numbers, [[1, np.log(3), np.log(5)], [0, 0, 0]], rtol=1e-6)


def test_items_are_drawn_as_often_as_the_correction_assumes() -> None:
    found = drawn_pairs(3)
    rows = training_rows(found, 91, TowerParameters(1))
    np.testing.assert_allclose(rows.chance.sum(), 1)
    drawn = np.random.default_rng(1).choice(len(found.item), 200_000, p=rows.chance)
    often = np.bincount(found.item[drawn], minlength=91) / 200_000
    np.testing.assert_allclose(np.exp(rows.log_drawn), often, atol=0.002)
    recent, old = (rows.chance[found.user == 5][found.first[found.user == 5] == day].sum() for day in (0, 11))
    assert recent > old


def test_a_shopper_without_a_history_has_a_vector_by_region() -> None:
    towers = drawn_towers(8)
    shop = shoppers(8, [], [], [], [touch(1, viewed=1)], region=["north", "south", "elsewhere", "north"])
    north, south, elsewhere, looked = towers.vectors(shop)
    np.testing.assert_allclose(np.linalg.norm([north, south, elsewhere, looked], axis=1), 1, rtol=1e-4)
    for one, other in ((north, south), (south, elsewhere), (north, looked)):
        assert abs(one - other).max() > 0.01
    assert group_codes(shop.users, towers.groups).tolist() == [[1, 0], [2, 0], [0, 0], [1, 0]]


def test_a_shoppers_vector_does_not_depend_on_the_batch() -> None:
    shop, towers = drawn_history(4, 30, 60), drawn_towers(60)
    together = towers.vectors(shop)
    alone = np.concatenate([towers.vectors(shop.take(user, user + 1)) for user in range(30)])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def with_towers(of: Sources, towers: Towers | None) -> Sources:
    return Sources(**{name: getattr(of, name) for name in of.__dataclass_fields__} | {"towers": towers})


def test_the_towers_list_unseen_items_by_descending_cosine_up_to_their_quota() -> None:
    n_items = 400
    shop, towers = drawn_history(4, 12, n_items), drawn_towers(n_items)
    of = with_towers(sources(drawn_catalogue(4, n_items)), towers)
    found = candidates(shop, of, n_items)
    brought = (found.sources >> SOURCE_CODE["two_tower"]) & 1 == 1
    cosine = towers.vectors(shop) @ towers.item_vectors.T
    np.testing.assert_allclose(found.scores["two_tower"], cosine[found.user, found.item], atol=1e-5)
    for user in range(len(shop)):
        seen = shop.history["item_pos"][shop.indptr[user] : shop.indptr[user + 1]]
        wanted = np.argsort(-cosine[user], kind="stable")[: QUOTA["two_tower"] * 3].tolist()
        wanted = [item for item in wanted if item not in seen and cosine[user, item] > 0][: QUOTA["two_tower"]]
        assert set(found.item[brought & (found.user == user)]) == set(wanted)


def test_without_towers_nothing_is_listed_and_the_score_is_zero() -> None:
    shop = drawn_history(4, 12, 60)
    of = sources(drawn_catalogue(4, 60))
    found = candidates(shop, of, 60)
    assert len(found.item)
    assert not (found.sources >> SOURCE_CODE["two_tower"] & 1).any()
    assert not found.scores["two_tower"].any()
    assert score(shop, of).towers is None


@pytest.mark.parametrize("wanted", [True, False])
def test_without_jax_or_by_choice_the_artifact_is_empty_and_says_why(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, wanted: bool
) -> None:
    monkeypatch.setattr("jobs.models.train_towers.jax_version", lambda: "9.9" if not wanted else None)
    shop = drawn_history(3, 40, 60)
    lay_shop(lake, DS, shop, drawn_catalogue(3, 60))
    manifest = build(lake, DS, Parameters().with_values({"models.two_tower.enabled": wanted}))
    assert "left out" in manifest.metrics["two_tower"]
    assert ("requirements-towers.lock" in manifest.metrics["two_tower"]) == wanted
    assert load_towers(lake, DS) is None
    assert build(lake, DS, Parameters().with_values({"models.two_tower.enabled": wanted})) == manifest


def test_towers_that_were_not_built_raise_an_error_with_the_remedy(lake: Lake) -> None:
    with pytest.raises(MissingPartitionError, match=r"topshelf stage train_towers --ds 2026-01-31"):
        load_towers(lake, DS)


def test_the_features_of_a_night_come_without_a_user_who_has_no_region(lake: Lake) -> None:
    users = {"region": pa.array(["north", None]).to_numpy(zero_copy_only=False), "age_band": np.array([None, None])}
    assert group_codes(users, {"region": ["north"], "age_band": []}).tolist() == [[1, 0], [0, 0]]
