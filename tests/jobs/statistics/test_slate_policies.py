"""Off-policy estimates of slates: by enumeration, against sb-obp, and in a small shop whose truth is known."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from jobs.statistics import Codes, UnusableValuesError, Values
from jobs.statistics.off_policy import importance_weights, ips, judge, policy_value, snips, trust
from jobs.statistics.slate_policies import (
    SlatePolicy,
    cascade_dr,
    cascade_propensity,
    iips,
    independent_pseudo_inverse_weights,
    item_propensity,
    pseudo_inverse_weights,
    rips,
    self_normalised,
    slate_propensity,
)
from tests.jobs.statistics.open_bandit import estimates_of_obp
from tests.jobs.statistics.slate_shop import SlateShop, weights

ORDERS = np.array(list(permutations(range(4), 3)))


def policy(probability: Values, n: int = 1) -> SlatePolicy:
    """Any of the 24 slates of three of four items, in each of n requests."""
    return SlatePolicy(np.tile(ORDERS, (n, 1, 1)), np.tile(probability, (n, 1)))


def drawn(seed: int) -> Values:
    return np.random.default_rng(seed).dirichlet(np.ones(len(ORDERS)))


def test_propensities_are_those_of_the_listed_slates() -> None:
    listed = SlatePolicy(np.array([[[1, 2, -1], [1, 3, 2], [2, 3, -1]]]), np.array([[0.5, 0.3, 0.2]]))
    shown = np.array([[1, 3, -1]])

    assert item_propensity(listed, shown)[0] == pytest.approx([0.8, 0.5, 0.7])
    assert cascade_propensity(listed, shown)[0] == pytest.approx([0.8, 0.3, 0.0])
    assert slate_propensity(listed, np.array([[1, 2, -1]]))[0] == pytest.approx(0.5)


def reward_of(slate: Codes, kind: str) -> Values:
    """A reward a place that depends on the item and the place, and of a cascade also on what stands above."""
    base = 0.1 * (slate + 1) / (1 + np.arange(3))
    if kind == "cascade":
        base = base * np.concatenate([[1.0], np.cumprod(1 - 0.2 * slate[:-1])])
    return base


@pytest.mark.parametrize("kind", ["places", "cascade"])
def test_estimates_are_exact_over_all_slates_where_their_assumption_holds(kind: str) -> None:
    """The expectation over every slate that the log may hold, so nothing is left to chance."""
    live, new = drawn(1), drawn(2)
    n = len(ORDERS)
    logged, target = policy(live, n), policy(new, n)
    reward = np.array([reward_of(slate, kind) for slate in ORDERS])
    truth = float(new @ reward.sum(axis=1))
    by_item = importance_weights(item_propensity(target, ORDERS), item_propensity(logged, ORDERS))
    from_top = importance_weights(cascade_propensity(target, ORDERS), cascade_propensity(logged, ORDERS))
    whole = importance_weights(slate_propensity(target, ORDERS), slate_propensity(logged, ORDERS))
    pseudo = pseudo_inverse_weights(logged, target, ORDERS)
    model = np.random.default_rng(3).random((n, 3))

    assert live @ ips(reward.sum(axis=1), whole) == pytest.approx(truth)
    assert live @ rips(reward, from_top) == pytest.approx(truth)
    for found in (iips(reward, by_item), ips(reward.sum(axis=1), pseudo)):
        assert (live @ found == pytest.approx(truth)) == (kind == "places")
    assert live @ pseudo == pytest.approx(1)
    # Any model at all, whose average over the policy's next item is taken under the places above.
    prefix = {tuple(slate[: place + 1]): model[row, place] for row, slate in enumerate(ORDERS) for place in range(3)}
    expected = np.array([[prefix[tuple(slate[: place + 1])] for place in range(3)] for slate in ORDERS])
    averaged = np.zeros_like(expected)
    for row, slate in enumerate(ORDERS):
        for place in range(3):
            agrees = (ORDERS[:, :place] == slate[:place]).all(axis=1)
            averaged[row, place] = new[agrees] @ expected[agrees, place] / new[agrees].sum()
    assert live @ cascade_dr(reward, from_top, expected, averaged) == pytest.approx(truth)


def test_the_pseudo_inverse_of_places_drawn_for_themselves_is_a_sum() -> None:
    pairs = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    live, new = (
        np.outer(first, second).ravel() for first, second in (([0.5, 0.5], [0.2, 0.8]), ([0.9, 0.1], [0.4, 0.6]))
    )
    logged, target = (SlatePolicy(np.tile(pairs, (4, 1, 1)), np.tile(p, (4, 1))) for p in (live, new))
    weight = importance_weights(item_propensity(target, pairs), item_propensity(logged, pairs))

    assert pseudo_inverse_weights(logged, target, pairs) == pytest.approx(independent_pseudo_inverse_weights(weight))


@pytest.mark.parametrize(
    "slate",
    [[0, 1, 9], [2, 0, 1]],
    ids=["an item that was never shown there", "a mixture of slates that the log cannot take apart"],
)
def test_what_the_log_cannot_tell_shows_in_the_mean_weight(slate: list[int]) -> None:
    """The second one's items were all shown in their places, and the plain pseudo-inverse's mean weight is 1."""
    turns = np.array([[0, 1, 2], [1, 2, 3], [2, 3, 0], [3, 0, 1], [0, 2, 3]])
    logged = SlatePolicy(turns[None], np.full((1, 5), 0.2))
    target = SlatePolicy(np.array([[slate]]), np.ones((1, 1)))

    weight = [pseudo_inverse_weights(logged, target, shown[None])[0] for shown in turns]

    assert np.mean(weight) < 0.95


def test_the_pseudo_inverse_is_the_papers_with_a_slate_listed_twice_and_one_never_shown() -> None:
    draw = np.random.default_rng(7)
    slates = np.concatenate([ORDERS[draw.choice(24, 6, replace=False)], ORDERS[:1], ORDERS[:1], ORDERS[23:]])
    probability = np.append(draw.dirichlet(np.ones(8)), 0.0)
    logged = SlatePolicy(slates[None], probability[None])
    target = SlatePolicy(slates[None, 1:5], draw.dirichlet(np.ones(4))[None])
    marks = (slates[:, :, None] == np.arange(4)).reshape(len(slates), -1).astype(float)
    wanted = target.probability[0] @ marks[1:5]
    papers = wanted @ np.linalg.pinv(marks.T @ (marks * probability[:, None]), rcond=1e-10) @ marks[0]

    assert pseudo_inverse_weights(logged, target, slates[:1]) == pytest.approx([papers])
    with pytest.raises(UnusableValuesError, match="none that the logged policy shows"):
        pseudo_inverse_weights(logged, target, ORDERS[23:])


def test_every_estimate_equals_sb_obps(tmp_path: Path) -> None:
    draw = np.random.default_rng(4)
    n, n_items = 500, 4
    live, new = drawn(5), drawn(6)
    logged, target = policy(live, n), policy(new, n)
    shown = ORDERS[draw.choice(len(ORDERS), n, p=live)]
    reward = draw.binomial(1, 0.3, shown.shape).astype(float)
    by_item = importance_weights(item_propensity(target, shown), item_propensity(logged, shown))
    from_top = importance_weights(cascade_propensity(target, shown), cascade_propensity(logged, shown))
    whole = importance_weights(slate_propensity(target, shown), slate_propensity(logged, shown))
    model, next_item = draw.random((n, 3, n_items)), draw.dirichlet(np.ones(n_items), (n, 3))
    expected = np.take_along_axis(model, shown[:, :, None], 2)[:, :, 0]
    rows = {"slate_id": np.repeat(np.arange(n), 3), "reward": reward.ravel(), "position": np.tile(np.arange(3), n)}
    full, item, cascade = (
        {logged_name: of(logged), target_name: of(target)}
        for logged_name, target_name, of in (
            ("pscore", "evaluation_policy_pscore", lambda by: np.repeat(slate_propensity(by, shown), 3)),
            ("pscore_item_position", "evaluation_policy_pscore_item_position",
             lambda by: item_propensity(by, shown).ravel()),
            ("pscore_cascade", "evaluation_policy_pscore_cascade", lambda by: cascade_propensity(by, shown).ravel()),
        )
    )  # fmt: skip
    dr = {
        **cascade,
        "action": shown.ravel(),
        "q_hat": model.ravel(),
        "evaluation_policy_action_dist": next_item.ravel(),
    }

    def case(estimator: str, inputs: dict[str, object], **settings: int) -> dict[str, object]:
        return {"is_slate": True, "estimator": estimator, "settings": {"len_list": 3, **settings},
                "inputs": rows | inputs}  # fmt: skip

    theirs = estimates_of_obp(
        {
            "sips": case("SlateStandardIPS", full), "snsips": case("SelfNormalizedSlateStandardIPS", full),
            "iips": case("SlateIndependentIPS", item), "sniips": case("SelfNormalizedSlateIndependentIPS", item),
            "rips": case("SlateRewardInteractionIPS", cascade),
            "snrips": case("SelfNormalizedSlateRewardInteractionIPS", cascade),
            "cascade-dr": case("SlateCascadeDoublyRobust", dr, n_unique_action=n_items),
        },
        tmp_path,
    )  # fmt: skip

    ours = {
        "sips": ips(reward.sum(axis=1), whole), "snsips": snips(reward.sum(axis=1), whole),
        "iips": iips(reward, by_item), "sniips": self_normalised(reward, by_item),
        "rips": rips(reward, from_top), "snrips": self_normalised(reward, from_top),
        "cascade-dr": cascade_dr(reward, from_top, expected, (model * next_item).sum(axis=2)),
    }  # fmt: skip
    assert {name: float(found.mean()) for name, found in ours.items()} == pytest.approx(theirs, rel=1e-10, abs=1e-10)


def test_a_policy_worse_by_5_percent_is_stopped_and_a_better_one_is_not() -> None:
    """A few of the nights of `python -m tests.bench off_policy`."""
    shop = SlateShop()
    found = {}
    for times in (0.95, 1.05):
        changed = weights(shop, shop.worth(times)).item
        for number in range(5):
            night = shop.night(60_000, seed=number)
            weight = changed[night.group, night.slate]
            difference = policy_value(iips(night.clicked, weight) - night.clicked.sum(axis=1), night.user)
            found[times, number] = judge(difference, trust(weight, night.clicked, night.user)).word

    assert {word for (times, _), word in found.items() if times < 1} == {"worse"}
    assert "worse" not in {word for (times, _), word in found.items() if times > 1}


def test_a_planted_value_is_the_live_ones_times_it() -> None:
    shop = SlateShop()

    assert shop.worth(0.95).value == pytest.approx(0.95 * shop.live.value)
    assert shop.worth(1.05).value == pytest.approx(1.05 * shop.live.value)


def test_policies_and_slates_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UnusableValuesError, match="sum to 1"):
        SlatePolicy(np.zeros((1, 2, 3), int), np.array([[0.5, 0.4]]))
    with pytest.raises(UnusableValuesError, match="a probability each"):
        SlatePolicy(np.zeros((1, 2, 3), int), np.array([[1.0]]))
    with pytest.raises(UnusableValuesError, match="do not fit"):
        item_propensity(policy(drawn(1)), np.zeros((1, 2), int))
