"""Corrections against statsmodels, guardrails at their margins, and every verdict."""

import numpy as np
import pytest

from jobs.statistics.decisions import Guardrail, Reading, benjamini_hochberg, holm, verdict
from jobs.statistics.effects import ArmSummary, Effect, effect
from tests.jobs.statistics.oracles import oracle


@pytest.mark.parametrize("n_tests", range(1, 9))
def test_corrections_equal_those_of_statsmodels(n_tests: int) -> None:
    theirs = oracle("statsmodels.stats.multitest").multipletests
    p_values = np.random.default_rng(n_tests).beta(0.4, 2, n_tests).round(2).tolist()  # some of them are equal
    given_p = dict(enumerate(p_values))

    assert list(holm(given_p).values()) == pytest.approx(theirs(p_values, method="holm")[1], abs=1e-12)
    assert list(benjamini_hochberg(given_p).values()) == pytest.approx(
        theirs(p_values, method="fdr_bh")[1], abs=1e-12
    )


def test_corrections_keep_the_order_of_the_names() -> None:
    assert list(holm({"b": 0.5, "a": 0.01})) == ["b", "a"]
    assert list(benjamini_hochberg({"b": 0.5, "a": 0.01})) == ["b", "a"]


def moved(difference: float, error: float = 1.0, bound: float = 2.0) -> Effect:
    """An effect on a control of 100 with this difference and standard error."""
    half = error**2 / 2 * 1_000
    return effect(ArmSummary(1_000, 100 + difference, half), ArmSummary(1_000, 100.0, half), bound)


def reading(difference: float, p: float, better: str = "up", bound: float = 2.0) -> Reading:
    return Reading("revenue a user", better, moved(difference, bound=bound), p)


def latency(difference: float, error: float = 1.0) -> Guardrail:
    return Guardrail("p99 latency", "down", moved(difference, error), margin=5.0)


@pytest.mark.parametrize(
    ("better", "difference", "state"),
    [
        ("down", 2.9, "holds"), ("down", 3.1, "open"), ("down", 6.9, "open"), ("down", 7.0, "broken"),
        ("up", -2.9, "holds"), ("up", -3.1, "open"), ("up", -7.0, "broken"), ("up", 50, "holds"),
    ],
)  # fmt: skip
def test_a_guardrail_holds_when_even_the_worst_end_is_within_its_margin(
    better: str, difference: float, state: str
) -> None:
    assert Guardrail("m", better, moved(difference), margin=5.0).state == state


def test_a_guardrail_is_open_before_the_first_look() -> None:
    assert Guardrail("m", "down", moved(0.0, bound=np.inf), margin=5.0).state == "open"


@pytest.mark.parametrize(
    ("primary", "rails", "is_over", "word", "why"),
    [
        (reading(4, 0.001), [latency(0)], False, "ship", "revenue a user rose by 4.00%"),
        (reading(-4, 0.001, "down"), [], False, "ship", "fell"),
        (reading(4, 0.001), [latency(4)], False, "go on", "a guardrail is open"),
        (reading(4, 0.001), [latency(4)], True, "cannot tell", "a guardrail is open"),
        (reading(4, 0.001), [latency(9)], False, "stop", "p99 latency is worse by more than its margin"),
        (reading(-4, 0.001), [latency(0)], False, "stop", "which is worse"),
        (reading(4, 0.001, "down"), [], True, "stop", "which is worse"),
        (reading(1, 0.3), [latency(0)], False, "go on", "not significant yet"),
        (reading(1, 0.3), [latency(0)], True, "cannot tell", "not significant"),
        (reading(-0.5, 0.6), [latency(0)], True, "stop", "ruled out"),
        (reading(0, 1.0, bound=np.inf), [], False, "go on", "too early"),
    ],
    ids=["better", "lower is better", "open", "open at the end", "broken", "worse", "worse when lower is better",
         "early", "over", "too small", "no look yet"],
)  # fmt: skip
def test_a_verdict_says_what_to_do_and_why(
    primary: Reading, rails: list[Guardrail], is_over: bool, word: str, why: str
) -> None:
    found = verdict(primary, rails, is_over=is_over, smallest_effect=2.0)

    assert found.word == word
    assert why in found.reasons[0]


def test_a_withheld_verdict_says_only_why() -> None:
    found = verdict(reading(4, 0.001), is_over=False, withheld=["the arms have the wrong shares of users"])

    assert (found.word, found.reasons) == ("cannot tell", ("the arms have the wrong shares of users",))


def test_an_effect_without_a_lift_is_told_in_the_metrics_unit() -> None:
    negative = effect(ArmSummary(1_000, 1.0, 10), ArmSummary(1_000, -1.0, 10))

    assert "rose by 2 (+1.7" in verdict(Reading("margin", "up", negative, 0.001), is_over=True).reasons[0]
