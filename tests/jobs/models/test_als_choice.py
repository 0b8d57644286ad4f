"""ALS's values by the shop's own data: the calendar, what is held out, and that the choice beats bad values."""

import json
from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

from jobs.config.calendar import choice_day, young_choice_day
from jobs.config.parameters import Parameters
from jobs.lake.lake import Lake
from jobs.lake.tables import ALS_CHOICE
from jobs.models import als_choice
from jobs.models.als import ALS_UNCHOSEN, AlsValues
from jobs.models.als_choice import (
    AlsChoice,
    attempt,
    build,
    but_the_latest,
    hold_out,
    search,
    up_to,
    winner,
    with_chosen,
)
from tests.jobs.small_shop import lay

FIRST, DS = date(2026, 1, 1), date(2026, 4, 15)
WEIGHTS = Parameters().features.event_weight_milli.by_event_type()
FIGURES = ["alpha", "factors", "iterations", "ndcg@20", "recall@20", "regularization"]


def events(*rows: tuple[str, str, str, date], value: Sequence[float | None] | None = None) -> pa.Table:
    columns = [*zip(*rows, strict=True), pa.array(value or [None] * len(rows), pa.float64())]
    at = pa.array([row[3] for row in rows], pa.date32()).cast(pa.timestamp("us", "UTC"))
    return pa.table(dict(zip(als_choice.COLUMNS, [*columns, at], strict=True)))


def held_out(given: pa.Table, split: date) -> als_choice.HeldOutChoices:
    return hold_out(given, up_to(given, split), WEIGHTS)


def bare_pairs(n_users: int, n_items: int, last: date, seed: int = 5) -> pa.Table:
    """Shoppers of six tastes, each item liked by one of them, a few pairs at random; one event a pair and day."""
    draw = np.random.default_rng(seed)
    taste = np.where(np.arange(n_items) % 6 == np.arange(n_users)[:, None] % 6, 6.0, 1.0)
    rows = []
    for user in range(n_users):
        items = draw.choice(n_items, 24, replace=False, p=taste[user] / taste[user].sum())
        days = [last - timedelta(days=int(ago)) for ago in draw.integers(0, 70, 24)]
        rows += [(f"u{user:04d}", f"i{item:03d}", "purchase", day) for item, day in zip(items, days, strict=True)]
    return events(*rows)


def test_all_nights_of_four_weeks_use_the_choice_of_one_sunday_before_their_newest_window() -> None:
    nights = [DS + timedelta(days=n) for n in range(56)]
    found = [choice_day(FIRST, night, Parameters()) for night in nights]
    days = [day for day in found if day is not None]
    assert len(days) == 56
    assert {day.isoweekday() for day in days} == {7}
    assert all(
        night - timedelta(days=47) <= day <= night - timedelta(days=14)
        for night, day in zip(nights, days, strict=True)
    )
    assert {(later - day).days for day, later in zip(sorted(set(days)), sorted(set(days))[1:], strict=False)} == {28}


def test_a_young_shop_has_no_day_of_choice() -> None:
    assert choice_day(DS - timedelta(days=20), DS, Parameters()) is None
    assert choice_day(DS - timedelta(days=40), DS, Parameters()) is None


def test_a_young_shop_chooses_every_night_up_to_its_second_sunday_and_then_once_a_week() -> None:
    thursday = date(2026, 1, 1)
    nights = [thursday + timedelta(days=n) for n in range(25)]
    days = [young_choice_day(thursday, night) for night in nights]
    assert days[:10] == nights[:10]
    assert days[10:] == [date(2026, 1, 11)] * 7 + [date(2026, 1, 18)] * 7 + [date(2026, 1, 25)]


def test_only_new_choices_of_known_shoppers_are_held_out() -> None:
    day = date(2026, 3, 1)
    later = day + timedelta(days=3)
    found = held_out(
        events(
            ("anna", "mug", "purchase", day),
            ("anna", "mug", "purchase", later),
            ("anna", "pan", "purchase", later),
            ("anna", "jar", "view", later),
            ("anna", "hat", "purchase", later),
            ("ben", "pan", "view", day),
            ("ben", "jar", "impression", day),
            ("cleo", "jar", "view", day),
            ("dora", "mug", "purchase", later),
        ),
        day,
    )
    assert found.known.shape == (4, 3)  # jar, mug, pan: the hat was unknown
    np.testing.assert_allclose(found.known.toarray()[0], [0, np.log(6), 0], rtol=1e-6)
    assert found.users.tolist() == [0]
    assert found.truth.toarray().tolist() == [[0, 0, 1]]


def test_without_purchases_any_positive_event_is_held_out() -> None:
    day = date(2026, 3, 1)
    after = day + timedelta(days=1)
    rows = [
        ("a", "x", "view", day),
        ("b", "y", "view", day),
        ("a", "y", "view", after),
        ("b", "x", "impression", after),
    ]
    found = held_out(events(*rows), day)
    assert (found.users.tolist(), found.truth.toarray().tolist()) == ([0], [[0, 1]])


def test_a_low_rating_is_no_choice_and_nothing_known() -> None:
    day = date(2026, 3, 1)
    after = day + timedelta(days=1)
    rows = [
        ("a", "x", "rating", day),
        ("a", "y", "rating", day),
        ("b", "z", "rating", day),
        ("a", "z", "rating", after),
        ("b", "x", "rating", after),
    ]
    found = held_out(events(*rows, value=[5.0, 1.0, 5.0, 2.0, 4.0]), day)
    assert found.known.toarray().astype(bool).tolist() == [[True, False], [False, True]]  # x and z; y was disliked
    assert (found.users.tolist(), found.truth.toarray().tolist()) == ([1], [[1, 0]])


def test_the_chosen_values_beat_bad_ones_on_later_days() -> None:
    rounds = ((8, 4, 25), (16, 8, 6), (32, 8, 2))
    pairs = bare_pairs(500, 120, DS)
    is_before = np.array(pairs["event_date"].to_pylist()) <= DS - timedelta(days=14)
    inner = held_out(pairs.filter(pa.array(is_before)), DS - timedelta(days=28))
    tried = search(inner, 1, rounds)
    assert len(tried) == 25 + 6 + 2
    assert tried == search(inner, 1, rounds)
    chosen = winner(tried)
    after = held_out(pairs, DS - timedelta(days=14))
    bad = attempt(after, AlsValues(32, 100.0, 0.01), 8, 1).recall
    assert attempt(after, chosen, 8, 1).recall > 1.2 * bad


def laid(lake: Lake, pairs: pa.Table) -> None:
    day = np.array(pairs["event_date"].to_pylist())
    for at in range((DS - FIRST).days + 1):
        of_day = FIRST + timedelta(days=at)
        lay(lake, "staging/interactions", of_day, pairs.filter(pa.array(day == of_day)))


def test_a_night_reuses_the_choice_and_a_shop_may_set_values(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(als_choice, "ROUNDS", ((4, 2, 3), (8, 3, 1)))
    laid(lake, bare_pairs(260, 60, date(2026, 3, 29)))
    first = build(lake, DS, Parameters())
    assert first.ds == "2026-03-29"
    assert first.metrics["chosen"]
    assert len(first.metrics["tried"]) == 4
    assert sorted(first.metrics["tried"][0]) == FIGURES
    texts = {name: json.loads(lake.text(ALS_CHOICE, date(2026, 3, 29), name)) for name in first.files}
    assert texts == {
        "choice.json": {name: value for name, value in first.metrics.items() if name != "tried"},
        "tried.json": first.metrics["tried"],
    }
    chosen = with_chosen(lake, DS, Parameters().with_values({"models.als.alpha": 7.0}))
    assert (chosen.models.als.factors, chosen.models.als.alpha) == (8, 7.0)
    assert build(lake, DS, Parameters().with_values({"ranking.trees": 3})) == first
    own = Parameters().with_values(
        {"models.als.factors": 5, "models.als.alpha": 2.0, "models.als.regularization": 3.0}
    )
    assert with_chosen(Lake("/nowhere"), DS, own) is own


def test_a_large_shops_shoppers_are_drawn_with_all_their_events(lake: Lake) -> None:
    pairs = bare_pairs(260, 60, date(2026, 3, 29))
    laid(lake, pairs)
    found = als_choice.read_events(lake, lake.days("staging/interactions"), DS, 3_000)
    users = set(found["user_id"].to_pylist())
    assert 0.3 * 260 < len(users) < 0.7 * 260
    assert len(found) == sum(user in users for user in pairs["user_id"].to_pylist())


def test_with_too_few_shoppers_the_values_stay_and_the_manifest_says_why(lake: Lake) -> None:
    laid(lake, bare_pairs(30, 60, date(2026, 3, 29)))
    for ds in (DS, FIRST + timedelta(days=9)):  # old enough for days that are held out, and too young
        choice = build(lake, ds, Parameters()).metrics_as(AlsChoice)
        assert not choice.chosen
        assert AlsValues(choice.factors, choice.alpha, choice.regularization) == ALS_UNCHOSEN
        assert "shoppers can be asked; it takes 200" in choice.because


def test_a_shop_without_earlier_days_chooses_by_the_latest_pairs(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(als_choice, "ROUNDS_OF_YOUNG", ((4, 2, 3), (8, 3, 1)))
    pairs = bare_pairs(260, 60, FIRST + timedelta(days=69))
    young = pairs.set_column(3, "event_date", pa.array([FIRST] * len(pairs), pa.date32()))
    lay(lake, "staging/interactions", FIRST, young)
    choice = build(lake, FIRST, Parameters()).metrics_as(AlsChoice)
    assert (choice.chosen, choice.split, choice.until) == (True, None, str(FIRST))
    assert choice.asked > 200


def test_a_launch_is_not_chosen_for_by_what_was_tried_out_before_it(lake: Lake) -> None:
    wednesday = date(2026, 1, 14)
    few, many = bare_pairs(2, 60, FIRST), bare_pairs(40, 60, wednesday)
    for n in range(14):
        day = date(2026, 1, 1) + timedelta(days=n)
        rows = {0: few, 13: many}.get(n, few.slice(0, 0))
        lay(
            lake,
            "staging/interactions",
            day,
            rows.set_column(3, "event_date", pa.array([day] * len(rows), pa.date32())),
        )
    assert build(lake, wednesday, Parameters()).ds == str(wednesday)
    assert build(lake, wednesday - timedelta(days=1), Parameters()).ds == "2026-01-11"


def test_a_choice_of_a_young_shop_is_not_that_of_the_same_sunday_later(lake: Lake) -> None:
    laid(lake, bare_pairs(30, 60, date(2026, 3, 29)))
    sunday = choice_day(FIRST, DS, Parameters())
    assert sunday is not None
    from_scratch = build(lake, DS, Parameters())
    young = build(lake, sunday, Parameters().with_values({"training.windows.min_history_days": 400}))
    assert young.ds == from_scratch.ds
    assert young.parameters != from_scratch.parameters
    assert build(lake, DS, Parameters()).parameters == from_scratch.parameters


def test_the_latest_pairs_of_each_shopper_are_held_out_one_in_five_of_them() -> None:
    pairs = bare_pairs(200, 60, DS)
    before = but_the_latest(pairs, 3)
    user, day = np.array(pairs["user_id"].to_pylist()), np.array(pairs["event_date"].to_pylist())
    share = 1 - before.mean()
    assert 0.18 < share < 0.22
    for one in np.unique(user):
        known, held = day[(user == one) & before], day[(user == one) & ~before]
        assert len(held) in (4, 5)  # of 24
        assert known.max() <= held.min()
    assert (before == but_the_latest(pairs, 3)).all()


def test_pairs_of_one_moment_are_drawn_and_all_events_of_a_pair_go_together() -> None:
    rows = [("a", f"i{item}", "view", DS) for item in range(40)] * 2
    given = events(*rows)
    drawn = but_the_latest(given, 3)
    assert (drawn[:40] == drawn[40:]).all()
    assert (~drawn[:40]).sum() == 8
    assert (drawn != but_the_latest(given, 4)).any()
