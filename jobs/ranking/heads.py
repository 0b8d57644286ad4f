"""The ranker's heads: what each is told happened, among which examples, and the terms of an item's value.

>>> lesson("engagement", facts, Reading.of(facts, parameters))

The value of an item is the sum over TERMS of a weight (`ranking.head_weight`) times the product of the term's heads.
A head that no term with a weight asks for is not trained. P(purchase) may be learned directly, or as P(click) times
P(purchase | click), which only what was clicked teaches (what that loses: Ma et al., Entire space multi-task model,
SIGIR 2018). What a purchase comes to is learned of purchases alone, cut at the SPEND_QUANTILE: a wholesaler's carton
would else decide what an item is worth to everybody.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.config.parameters import Parameters

TERMS: dict[str, tuple[str, ...]] = {
    "purchase": ("purchase",),
    "interaction": ("interaction",),
    "click": ("click",),
    "click_to_purchase": ("click", "purchase_given_click"),
    "engagement": ("engagement",),
    "revenue": ("purchase", "spend"),
}
"""Each term of the value, and the heads whose product it is."""
HEADS = ("purchase", "interaction", "click", "purchase_given_click", "engagement", "spend")
SPEND = "spend"
"""Predicts money, in the currency's own units, where all others predict a probability."""
NEEDS: dict[str, tuple[str, ...]] = {
    "click": ("view_count", "place", "followed"),
    "purchase_given_click": ("view_count",),
    "engagement": ("view_count", "cart_count", "dwell_s"),
    SPEND: ("revenue_minor",),
}
"""Columns of marts/examples that a head asks for beside `purchase` and `interaction`."""
ALWAYS = ("purchase", "interaction")
MIN_POSITIVES = 50
"""A head with fewer positive examples than this would only learn noise."""
MIN_SHOWN_CLICKS = 200
"""From so many clicks on shelves on, `click` learns of what was shown; of fewer, of all candidates."""
MIN_VIEWS = 2
"""Where no view tells how long it was, so many of them are long engagement, as is one put into the cart."""
SPEND_QUANTILE = 0.99
MINOR = 100
"""Minor units of the currency in one."""

Facts = Mapping[str, npt.NDArray[Any]]
Rows = npt.NDArray[np.int64]


def asked_terms(weights: Mapping[str, float]) -> dict[str, float]:
    """Return the terms that weigh anything, in the order of TERMS."""
    return {name: float(weights[name]) for name in TERMS if weights.get(name)}


def asked_heads(weights: Mapping[str, float]) -> list[str]:
    """Return the heads that the terms with a weight are made of, in the order of HEADS."""
    wanted = {head for term in asked_terms(weights) for head in TERMS[term]}
    return [head for head in HEADS if head in wanted]


def asked_facts(weights: Mapping[str, float]) -> list[str]:
    """Return the columns of marts/examples that these heads learn from."""
    more = {column for head in asked_heads(weights) for column in NEEDS.get(head, ())}
    return [*ALWAYS, *sorted(more - set(ALWAYS))]


@dataclass(frozen=True)
class Reading:
    """How a shop's facts are read: decided once, by the examples that the heads learn from."""

    dwell_from_s: float
    """A view as long as this is long engagement; 0 where no view tells how long it was."""
    shown: bool
    """Whether `click` learns of what was shown, rather than of all candidates."""
    most_minor: float
    """Money is cut here."""

    @classmethod
    def of(cls, facts: Facts, parameters: Parameters) -> "Reading":
        """Read the facts of the examples that are learned from."""
        has_dwell = "dwell_s" in facts and bool((facts["dwell_s"] > 0).any())
        heads = asked_heads(parameters.ranking.head_weight.positive())
        paid = facts["revenue_minor"] if SPEND in heads else np.zeros(0)
        paid = paid[paid > 0]
        return cls(
            dwell_from_s=parameters.ranking.long_view_s if has_dwell else 0.0,
            shown="place" in facts and int(facts["followed"].sum()) >= MIN_SHOWN_CLICKS,
            most_minor=float(np.quantile(paid, SPEND_QUANTILE)) if len(paid) else 0.0,
        )


@dataclass(frozen=True)
class Lesson:
    """What one head learns of a set of examples."""

    rows: Rows | None
    """The examples that it is about; None for all of them."""
    label: npt.NDArray[Any]
    """Of those rows: 0 or 1, or money in the currency's units."""
    told: str
    population: str = "candidates"
    place: npt.NDArray[np.int64] | None = None
    """0-based place on the shelf of each row that was shown."""

    @property
    def of_some(self) -> bool:
        """Whether it is about rows chosen by what happened, of which none was left out by sampling."""
        return self.rows is not None


def lesson(head: str, facts: Facts, reading: Reading) -> Lesson:
    """Return what a head learns of these examples."""
    if head in ALWAYS:
        told = "bought" if head == "purchase" else "anything positive was done"
        return Lesson(None, facts[head], told)
    if head == "click" and reading.shown:
        shown = np.flatnonzero(facts["place"] > 0)
        told = "a click, view, cart or purchase followed its first exposure"
        return Lesson(shown, facts["followed"][shown], told, "exposed", facts["place"][shown].astype(np.int64) - 1)
    if head == "click":
        return Lesson(None, (facts["view_count"] > 0).astype(np.int32), "clicked or viewed")
    if head == "purchase_given_click":
        clicked = np.flatnonzero(facts["view_count"] > 0)
        return Lesson(
            clicked, facts["purchase"][clicked], "bought, of what was clicked or viewed", "clicked candidates"
        )
    if head == "engagement":
        return Lesson(None, *_engagement(facts, reading))
    paid = np.flatnonzero(facts["revenue_minor"] > 0)
    money = np.minimum(facts["revenue_minor"][paid], reading.most_minor) / MINOR
    told = f"what its purchases came to, at most {reading.most_minor / MINOR:.2f}"
    return Lesson(paid, money, told, "bought candidates")


def _engagement(facts: Facts, reading: Reading) -> tuple[npt.NDArray[np.int32], str]:
    if reading.dwell_from_s:
        return (facts["dwell_s"] >= reading.dwell_from_s).astype(
            np.int32
        ), f"viewed for {reading.dwell_from_s:g} s or longer"
    engaged = (facts["cart_count"] > 0) | (facts["view_count"] >= MIN_VIEWS)
    return engaged.astype(np.int32), f"put into the cart, or viewed {MIN_VIEWS} times: no view tells how long it was"


def lacks(head: str, of: Lesson) -> str:
    """Return why a head cannot learn this, or nothing."""
    if head == SPEND:
        return (
            "" if len(of.label) >= MIN_POSITIVES else f"{len(of.label)} purchases with a price, {MIN_POSITIVES} teach"
        )
    positives = int(of.label.sum())
    if positives < MIN_POSITIVES:
        return f"{positives} positive examples ({of.told}), {MIN_POSITIVES} teach"
    if head == "purchase_given_click" and positives == len(of.label):
        return "all that was clicked was bought"
    return ""
