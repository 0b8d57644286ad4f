"""The ranker's heads: the label each one predicts, the examples it learns from, and the terms of an item's value.

>>> head_examples("engagement", facts, LabelDefinition.of_shop(facts, parameters))

The value of an item is a weighted sum over TERMS: `head_weight` times the product of the term's heads. A head that no
weighted term uses is not trained. P(purchase) is learned directly, or as P(click) times P(purchase | click); the
second factor is learned from clicked items alone (what that loses: Ma et al., Entire space multi-task model, SIGIR
2018). P(purchase) also says how easily an item was found without a shelf. A shelf is what makes it found, so
`conversion` counts P(purchase | click) a second time. Spend is learned from purchases alone, capped at
SPEND_QUANTILE: a wholesaler's carton would otherwise decide what an item is worth to everybody.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from jobs.config.parameters import Parameters
from jobs.numeric.arrays import Column, Whole

TERMS: dict[str, tuple[str, ...]] = {
    "purchase": ("purchase",),
    "interaction": ("interaction",),
    "click": ("click",),
    "click_to_purchase": ("click", "purchase_given_click"),
    "conversion": ("purchase", "purchase_given_click"),
    "engagement": ("engagement",),
    "revenue": ("purchase", "spend"),
}
"""Each term of the value, and the heads whose product it is."""
HEADS = ("purchase", "interaction", "click", "purchase_given_click", "engagement", "spend")
SPEND = "spend"
"""Predicts money in units of the currency; all other heads predict a probability."""
BASE_FACTS = ("purchase", "interaction")
"""Columns of marts/examples that are always read; each is also the label of the head of that name."""
FACTS_OF_HEAD: dict[str, tuple[str, ...]] = {
    "click": ("view_count", "place", "followed"),
    "purchase_given_click": ("view_count",),
    "engagement": ("view_count", "cart_count", "dwell_s"),
    SPEND: ("revenue_minor",),
}
"""Columns of marts/examples that a head needs beside BASE_FACTS."""
MIN_POSITIVES = 50
"""A head with fewer positive examples would only learn noise."""
MIN_SHOWN_CLICKS = 200
"""With this many clicks on shelves, `click` learns from exposures; with fewer, from all candidates."""
MIN_VIEWS = 2
"""Where no view has a duration, this many views count as engagement, as does an item put into the cart."""
SPEND_QUANTILE = 0.99
MINOR_PER_UNIT = 100
"""Minor units in one unit of the currency."""

Facts = Mapping[str, Column]
"""What happened to each example, by column of marts/examples."""


def weighted_terms(weights: Mapping[str, float]) -> dict[str, float]:
    """Return the terms with a weight above zero, in the order of TERMS."""
    return {name: float(weights[name]) for name in TERMS if weights.get(name)}


def required_heads(weights: Mapping[str, float]) -> list[str]:
    """Return the heads that the weighted terms are made of, in the order of HEADS."""
    required = {head for term in weighted_terms(weights) for head in TERMS[term]}
    return [head for head in HEADS if head in required]


def required_facts(weights: Mapping[str, float]) -> list[str]:
    """Return the columns of marts/examples that the required heads learn from."""
    more = {column for head in required_heads(weights) for column in FACTS_OF_HEAD.get(head, ())}
    return [*BASE_FACTS, *sorted(more - set(BASE_FACTS))]


@dataclass(frozen=True)
class LabelDefinition:
    """How labels are derived from a shop's facts. Decided once, on the examples that the heads are trained on."""

    long_view_s: float
    """Views at least this long are engagement; 0 where no view has a duration."""
    clicks_from_exposures: bool
    """Whether `click` learns from items that were shown instead of all candidates."""
    max_spend_minor: float
    """Spend is capped at this."""

    @classmethod
    def of_shop(cls, facts: Facts, parameters: Parameters) -> "LabelDefinition":
        """Choose the definition that the facts of the training examples allow."""
        has_dwell = "dwell_s" in facts and bool((facts["dwell_s"] > 0).any())
        spend = (
            facts["revenue_minor"]
            if SPEND in required_heads(parameters.ranking.head_weight.positive())
            else np.zeros(0)
        )
        spend = spend[spend > 0]
        return cls(
            long_view_s=parameters.ranking.long_view_s if has_dwell else 0.0,
            clicks_from_exposures="place" in facts and int(facts["followed"].sum()) >= MIN_SHOWN_CLICKS,
            max_spend_minor=float(np.quantile(spend, SPEND_QUANTILE)) if len(spend) else 0.0,
        )


@dataclass(frozen=True)
class HeadExamples:
    """The examples that one head learns from, and their labels."""

    rows: Whole | None
    """Rows of the example set; None for all of them."""
    label: Column
    """One for each of these rows: 0 or 1, or money in units of the currency."""
    description: str
    """What a positive label means, in words."""
    population: str = "candidates"
    place: Whole | None = None
    """0-based place on the shelf of each row, where the population was shown on shelves."""


def head_examples(head: str, facts: Facts, definition: LabelDefinition) -> HeadExamples:
    """Return what a head learns from these facts."""
    if head in BASE_FACTS:
        return HeadExamples(None, facts[head], "bought" if head == "purchase" else "anything positive was done")
    if head == "click" and definition.clicks_from_exposures:
        shown = np.flatnonzero(facts["place"] > 0)
        description = "a click, view, cart or purchase followed its first exposure"
        place = facts["place"][shown].astype(np.int64) - 1
        return HeadExamples(shown, facts["followed"][shown], description, "exposed", place)
    if head == "click":
        return HeadExamples(None, (facts["view_count"] > 0).astype(np.int32), "clicked or viewed")
    if head == "purchase_given_click":
        clicked = np.flatnonzero(facts["view_count"] > 0)
        description = "bought, of what was clicked or viewed"
        return HeadExamples(clicked, facts["purchase"][clicked], description, "clicked candidates")
    if head == "engagement":
        return _engagement_examples(facts, definition)
    bought = np.flatnonzero(facts["revenue_minor"] > 0)
    spend = np.minimum(facts["revenue_minor"][bought], definition.max_spend_minor) / MINOR_PER_UNIT
    description = f"what its purchases came to, at most {definition.max_spend_minor / MINOR_PER_UNIT:.2f}"
    return HeadExamples(bought, spend, description, "bought candidates")


def _engagement_examples(facts: Facts, definition: LabelDefinition) -> HeadExamples:
    if definition.long_view_s:
        engaged = facts["dwell_s"] >= definition.long_view_s
        description = f"viewed for {definition.long_view_s:g} s or longer"
    else:
        engaged = (facts["cart_count"] > 0) | (facts["view_count"] >= MIN_VIEWS)
        description = f"put into the cart, or viewed {MIN_VIEWS} times: no view tells how long it was"
    return HeadExamples(None, engaged.astype(np.int32), description)


def untrainable_reason(head: str, examples: HeadExamples) -> str:
    """Return why a head cannot be trained on these examples, for people to read; empty if it can."""
    if head == SPEND:
        purchases = len(examples.label)
        return "" if purchases >= MIN_POSITIVES else _too_few(purchases, "purchases with a price")
    positives = int(examples.label.sum())
    if positives < MIN_POSITIVES:
        return _too_few(positives, f"positive examples ({examples.description})")
    if head == "purchase_given_click" and positives == len(examples.label):
        return "every clicked item was bought, so there is nothing to tell apart"
    return ""


def _too_few(count: int, what: str) -> str:
    return f"only {count} {what}; at least {MIN_POSITIVES} are needed"
