"""What bought together was chosen by: Online Retail, the fortnights from 2011-07-01, 08-01, 09-01 and 10-01.

    TOPSHELF_DATA=FOLDER python -m tests.bench bought_together_choice

Each figure is a mean over the fortnights, each fitted to the days before it, and over the three kinds of basket of
`tests.bench bought_together`. Every line changes one thing of what is chosen.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import numpy as np
import scipy.sparse as sp

from jobs.models import complements as complements_module
from jobs.models import substitutes as substitutes_module
from jobs.models.complements import complements, nothing_instead
from jobs.models.substitutes import like_by_words
from serving.shelf.basket import ItemLists
from tests.bench.bench_bought_together import offers_of, ours, rates, sales_to_read, truths
from tests.bench.figures import Figure
from tests.bench.left_out import Case, History, Offers, cases, is_complement, look

EARLIER = ("2011-07-01", "2011-08-01", "2011-09-01", "2011-10-01")
TRIED: dict[str, tuple[float, ...]] = {
    "BASKET_POWER": (0, 0.5),
    "POPULARITY_POWER": (0.25, 0.75),
    "ITEM_PRIOR": (0, 5, 100),
    "PAIR_PRIOR": (0, 16),
    "LARGEST_BASKET": (30, 1_000),
    "LENGTH": (20, 200),
}
"""Values of the constants of `jobs.models.complements`."""
WORDS_TRIED = (0.3, 0.4, 0.5, 0.6)
"""Values of SAME_WORDS of `jobs.models.substitutes`."""

Make = Callable[[History, sp.csr_matrix], Offers]


def within_days(days: int) -> Make:
    """Baskets of what a shopper bought on a day and on the days after it."""

    def make(history: History, substitutes: sp.csr_matrix) -> Offers:
        rows = history.rows.drop_duplicates(["shopper", "day", "item"])
        starts = rows[["shopper", "day"]].drop_duplicates()
        both = starts.merge(rows, on="shopper", suffixes=("_of_basket", ""))
        both = both[(both["day"] - both["day_of_basket"]).between(0, days)]
        basket = both.groupby(["shopper", "day_of_basket"]).ngroup().to_numpy()
        return offers_of(ItemLists(*complements(basket, both["item"].to_numpy(), substitutes)), substitutes)

    return make


def of_last(days: int) -> Make:
    """Baskets of the last days alone."""

    def make(history: History, substitutes: sp.csr_matrix) -> Offers:
        rows = history.rows[history.rows["day"] > history.rows["day"].max() - days]
        basket = rows.groupby(["shopper", "day"]).ngroup().to_numpy()
        return offers_of(ItemLists(*complements(basket, rows["item"].to_numpy(), substitutes)), substitutes)

    return make


def variants() -> Iterator[tuple[str, Make, dict[str, Any]]]:
    """What is tried: its name, how offers are made, and the constants that differ."""
    yield "as chosen", ours, {}
    for name, values in TRIED.items():
        for value in values:
            yield f"{name} {value}", ours, {name: value}
    yield "baskets are invoices", lambda *given: ours(*given, key=("invoice",)), {}
    for days in (1, 7):
        yield f"baskets reach {days} days on", within_days(days), {}
    for days in (90, 180):
        yield f"baskets of the last {days} days", of_last(days), {}


def of_variants(fitted: list[tuple[History, list[Case]]]) -> Iterator[Figure]:
    """What each variant finds."""
    for what, make, values in variants():
        found: dict[str, list[float]] = {}
        with ExitStack() as stack:
            for name, value in values.items():
                stack.enter_context(patch.object(complements_module, name, value))
            for history, of in fitted:
                for truth, substitutes, counts in truths(history, of):
                    kinds = rates(of, make(history, substitutes), counts).values()
                    found.setdefault(truth, []).append(np.mean([kind.rate(counted) for kind, counted in kinds]))
        yield from (Figure(f"{what}: {truth}", float(np.mean(means)), "") for truth, means in found.items())


def of_words(fitted: list[tuple[History, list[Case]]]) -> Iterator[Figure]:
    """What leaving substitutes out costs and brings, for each idea of how many words they share."""
    for value in WORDS_TRIED:
        found = []
        with patch.object(substitutes_module, "SAME_WORDS", value):
            for history, of in fitted:
                substitutes = like_by_words(history.words, history.price_minor, *history.content)
                nothing = nothing_instead(len(history.title))
                counts, whole = is_complement(of, substitutes), np.ones(len(of), np.bool_)
                kept, without = look(of, ours(history, nothing)), look(of, ours(history, substitutes))
                found.append([1 - counts.mean(), without.rate(whole), kept.rate(counts), without.rate(counts)])
        means = np.mean(found, axis=0)
        named = (
            "items left out that are substitutes",
            "anything, all, substitutes left out",
            "complements, all, substitutes offered",
            "complements, all, substitutes left out",
        )
        yield from (Figure(f"SAME_WORDS {value}: {name}", mean, "") for name, mean in zip(named, means, strict=True))


def main() -> list[Figure]:
    """Try all on the EARLIER fortnights."""
    sales = sales_to_read()
    histories = [(day, History.before(sales, day)) for day in EARLIER]
    fitted = [(history, cases(sales, history, day)) for day, history in histories]
    return [*of_variants(fitted), *of_words(fitted)]
