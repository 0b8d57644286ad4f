"""What the heads learn: labels from facts, populations, money, and what a shop without some events does without."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from jobs.config.parameters import HeadWeights, Parameters
from jobs.ranking.heads import (
    HEADS,
    MIN_POSITIVES,
    MIN_SHOWN_CLICKS,
    TERMS,
    LabelDefinition,
    head_examples,
    required_facts,
    required_heads,
    untrainable_reason,
)
from jobs.training.head_outcomes import head_outcomes
from jobs.training.sampling import RESERVED_SHARE, calibration_split, is_reserved
from jobs.training.train_heads import train
from tests.jobs.training.test_train_ranker import SMALL, examples, with_views

EVERYTHING, NOTHING = dict.fromkeys(TERMS, 1.0), dict.fromkeys(TERMS, 0.0)
ALL = SMALL.with_values({"ranking.head_weight": EVERYTHING})


def facts(**columns: list[Any]) -> dict[str, np.ndarray]:
    """Four candidates to which nothing happened, but for what is given."""
    names = ("purchase", "interaction", "view_count", "cart_count", "dwell_s", "revenue_minor", "place", "followed")
    return {name: np.array(columns.get(name, [0, 0, 0, 0])) for name in names}


def test_weights_decide_which_heads_are_trained_and_which_facts_are_read() -> None:
    usual = Parameters().ranking.head_weight.positive()
    assert required_heads(usual) == ["purchase", "interaction", "purchase_given_click"]
    assert required_facts(usual) == ["purchase", "interaction", "view_count"]
    assert required_heads({"revenue": 0.01, "click": 0.0}) == ["purchase", "spend"]
    assert required_facts({"revenue": 0.01}) == ["purchase", "interaction", "revenue_minor"]
    assert required_heads({"click_to_purchase": 1.0}) == ["click", "purchase_given_click"]
    assert required_heads(EVERYTHING) == list(HEADS)


def test_every_term_has_a_weight_in_the_configuration() -> None:
    assert list(HeadWeights.model_fields) == list(TERMS)


def test_a_click_is_a_click_or_view_and_purchase_given_click_learns_from_clicked_items_alone() -> None:
    given = facts(view_count=[2, 0, 1, 0], purchase=[1, 1, 0, 0])
    definition = LabelDefinition.of_shop(given, ALL)
    click, bought = (
        head_examples("click", given, definition),
        head_examples("purchase_given_click", given, definition),
    )
    assert (click.label.tolist(), click.rows, click.population) == ([1, 0, 1, 0], None, "candidates")
    assert bought.rows is not None
    assert (bought.rows.tolist(), bought.label.tolist()) == ([0, 2], [1, 0])


def test_clicks_are_learned_from_exposures_if_shelves_brought_enough_clicks() -> None:
    n = MIN_SHOWN_CLICKS
    given = {name: np.repeat(column, n) for name, column in facts(place=[0, 1, 3, 3], followed=[0, 1, 0, 0]).items()}
    definition = LabelDefinition.of_shop(given, ALL)
    click = head_examples("click", given, definition)
    assert (click.population, len(click.label), click.label.sum()) == ("exposed", 3 * n, n)
    assert click.place is not None
    assert np.unique(click.place).tolist() == [0, 2]
    less = {name: column[:-1] for name, column in given.items()}
    less["followed"][n] = 0
    assert head_examples("click", less, LabelDefinition.of_shop(less, ALL)).population == "candidates"


def test_engagement_is_a_long_view_or_without_durations_a_cart_or_two_views() -> None:
    timed = facts(dwell_s=[30.0, 29.9, 0, 400], cart_count=[0, 1, 1, 0])
    assert head_examples("engagement", timed, LabelDefinition.of_shop(timed, ALL)).label.tolist() == [1, 0, 0, 1]
    untimed = facts(view_count=[2, 1, 1, 0], cart_count=[0, 0, 1, 0])
    taught = head_examples("engagement", untimed, LabelDefinition.of_shop(untimed, ALL))
    assert taught.label.tolist() == [1, 0, 1, 0]
    assert "no view tells" in taught.description


def test_spend_is_learned_from_purchases_in_currency_units_and_capped() -> None:
    paid = np.full(1_000, 250)
    paid[0], paid[1:6] = 90_000_000, 0
    given = {"purchase": np.ones(1_000), "interaction": np.ones(1_000), "revenue_minor": paid}
    by_revenue = SMALL.with_values({"ranking.head_weight": NOTHING | {"revenue": 1.0}})
    taught = head_examples("spend", given, LabelDefinition.of_shop(given, by_revenue))
    assert len(taught.label) == 995  # what has no price says nothing of money
    assert taught.label.max() == pytest.approx(2.5)


def test_a_shop_with_purchases_alone_has_a_purchase_head_and_says_why_the_others_are_left_out() -> None:
    given = examples()
    bare = {name: np.zeros(len(given.user), np.int64) for name in required_facts(EVERYTHING)}
    alone = replace(
        given, labels=bare | {"purchase": given.labels["purchase"], "interaction": given.labels["purchase"]}
    )
    ranker = train([alone], ALL)
    assert list(ranker.heads) == ["purchase"]
    assert ranker.weights == {"purchase": 1.0}
    assert set(ranker.left_out) == set(HEADS) - {"purchase"}
    assert ranker.left_out["interaction"] == "its examples are those of purchase"
    assert ranker.left_out["click"] == "only 0 positive examples (clicked or viewed); at least 50 are needed"
    assert ranker.left_out["spend"] == "only 0 purchases with a price; at least 50 are needed"


def test_a_head_that_could_only_say_yes_is_left_out() -> None:
    n = 2 * MIN_POSITIVES
    given = facts() | {"view_count": np.ones(n), "purchase": np.ones(n)}
    taught = head_examples("purchase_given_click", given, LabelDefinition(0.0, False, 0.0))
    assert (
        untrainable_reason("purchase_given_click", taught)
        == "every clicked item was bought, so there is nothing to tell apart"
    )


def test_the_value_is_the_weighted_sum_of_products_and_dearer_items_are_worth_more() -> None:
    given = with_views(examples(n_users=600))
    dear = given.features[:, 0] = np.random.default_rng(2).integers(0, 2, len(given.user))
    paid = (given.labels["purchase"] * (100 + 900 * dear)).astype(np.int64)
    nothing = np.zeros(len(given.user))
    money = {"revenue_minor": paid, "dwell_s": nothing, "cart_count": nothing}
    chosen = ALL.with_values(
        {
            "ranking.trees": 40,
            "ranking.order_tilt": 0.0,
            "ranking.head_weight": NOTHING | {"click_to_purchase": 2.0, "revenue": 0.5},
        }
    )
    ranker = train([replace(given, labels=given.labels | money)], chosen)
    p = ranker.probabilities(given.features)
    wanted = 2.0 * p["click"] * p["purchase_given_click"] + 0.5 * p["purchase"] * p["spend"]
    np.testing.assert_allclose(ranker.value(given.features), wanted, rtol=1e-12)
    assert p["spend"][dear == 1].mean() == pytest.approx(10, rel=0.15)
    assert p["spend"][dear == 0].mean() == pytest.approx(1, rel=0.15)


def test_reserved_shoppers_train_no_head_and_are_the_same_in_every_window() -> None:
    one, other = examples(n_users=1_000), examples(n_users=150, seed=4)
    assert calibration_split([other], SMALL) == ([other], [])  # a tenth of so few would not tell anything
    learned, apart = calibration_split([one, other], SMALL)
    for window, left, kept in zip((one, other), learned, apart, strict=True):
        assert len(left.user) + len(kept.user) == len(window.user)
        assert set(left.user).isdisjoint(kept.user)
        assert len(set(kept.user)) == pytest.approx(len(window.user_id) / RESERVED_SHARE, rel=0.6)
    assert is_reserved(one.user_id)[:150].tolist() == is_reserved(other.user_id).tolist()
    whole, nothing = calibration_split([one], SMALL.with_values({"ranking.calibration": "none"}))
    assert (whole, nothing) == ([one], [])
    assert calibration_split([one], SMALL, other) == ([one], [other])


def test_heads_are_calibrated_on_the_calibration_window_and_not_trained_on_it() -> None:
    given, apart = examples(n_users=400, telling=3.0), examples(n_users=400, seed=9, telling=3.0)
    few = SMALL.with_values({"ranking.trees": 40, "ranking.head_weight": NOTHING | {"purchase": 1.0}})
    ranker, bare = train([given], few, apart), train([given], few.with_values({"ranking.calibration": "none"}))
    assert {name: of.model_to_string() for name, of in ranker.boosters.items()} == {
        name: of.model_to_string() for name, of in bare.boosters.items()
    }
    fresh = examples(n_users=400, seed=21, telling=3.0)
    outcomes = head_outcomes(ranker, ranker.uncalibrated(fresh.features), fresh.labels)["purchase"]
    # So few small trees are not sure enough of anything.
    likely = outcomes.uncalibrated > np.quantile(outcomes.uncalibrated, 0.9)
    missed = [
        abs(p[likely].mean() - outcomes.happened[likely].mean()) for p in (outcomes.uncalibrated, outcomes.calibrated)
    ]
    assert missed[1] < 0.7 * missed[0]
    order = np.argsort(outcomes.uncalibrated, kind="stable")
    assert (np.diff(outcomes.calibrated[order]) >= 0).all()
