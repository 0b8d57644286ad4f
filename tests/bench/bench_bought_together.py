"""How often four offers hold the item that was left out of a basket: Online Retail, 14 days from 2011-11-10.

    TOPSHELF_DATA=FOLDER python -m tests.bench bought_together

`anything`: every item left out counts, and nothing is held to be a substitute. `complements`: items that stand for
another one of the basket do not count, and nobody offers any. Intervals of 95% are of 1,000 bootstrap samples of
customers. Before the figures it prints what is offered beside 30 items, drawn by seed of those in 30 baskets or more.
"""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from implicit.nearest_neighbours import TFIDFRecommender

from jobs.evaluation.baselines import item_weights
from jobs.features.strength import interaction_values
from jobs.models.complements import LENGTH, complements, nothing_instead
from jobs.numeric.arrays import best_in_group
from jobs.numeric.list_metrics import marked
from serving.shelf.basket import ItemLists, goes_with, one_of_a_kind
from tests.bench.figures import Figure, best_of
from tests.bench.left_out import (
    OFFERS,
    Case,
    Found,
    History,
    Offers,
    cases,
    interval,
    is_complement,
    is_small,
    look,
    online_retail_sales,
)

TEST = "2011-11-10"
NEIGHBOURS = 100
"""Of an item, in every list but ours."""
EASE_RIDGE = 3.0
"""The better of 3 and 10 on earlier fortnights. A basket weighs the inverse of its size."""
EXAMPLES, IN_BASKETS = 30, 30
TEN = 10

Scores = Callable[[History], sp.csr_matrix]


def together(history: History) -> tuple[sp.csr_matrix, np.ndarray]:
    """In how many baskets each two items are, [n_items, n_items], and each item."""
    basket, item = history.baskets()
    held = marked(sp.csr_matrix((np.ones(len(item)), (basket, item)), shape=(basket.max() + 1, len(history.title))))
    pairs = (held.T @ held).tocsr()
    bought = pairs.diagonal()
    pairs.setdiag(0)
    pairs.eliminate_zeros()
    return pairs, bought


def count(history: History) -> sp.csr_matrix:
    return together(history)[0]


def confidence(history: History) -> sp.csr_matrix:
    pairs, bought = together(history)
    return sp.csr_matrix(sp.diags(1 / bought) @ pairs)


def lift(history: History) -> sp.csr_matrix:
    pairs, bought = together(history)
    return sp.csr_matrix(sp.diags(1 / bought) @ pairs @ sp.diags(1 / bought))


def cosine(history: History) -> sp.csr_matrix:
    pairs, bought = together(history)
    return sp.csr_matrix(sp.diags(bought**-0.5) @ pairs @ sp.diags(bought**-0.5))


def similar(history: History) -> sp.csr_matrix:
    """What a snapshot answers as similar: TF-IDF cosine over shoppers, as `jobs.models.collaborative` has it."""
    rows = history.rows.groupby(["shopper", "item"]).size().reset_index(name="times")
    strength = interaction_values(5_000 * rows["times"].to_numpy())
    shopper = pd.factorize(rows["shopper"])[0]
    knn = TFIDFRecommender(K=NEIGHBOURS + 1, num_threads=1)
    knn.fit(sp.csr_matrix((strength, (shopper, rows["item"])), dtype=np.float32), show_progress=False)
    found = knn.similarity.tocsr()
    found.setdiag(0)
    return found


def ease(history: History) -> sp.csr_matrix:
    """EASE over baskets: dense, cubic in the items, and it knows what other items of a basket explain already."""
    basket, item = history.baskets()
    held = marked(sp.csr_matrix((np.ones(len(item)), (basket, item)), shape=(basket.max() + 1, len(history.title))))
    gram = (held.T @ sp.diags(1 / np.diff(held.indptr)) @ held).toarray(order="F")
    return sp.csr_matrix(np.maximum(item_weights(gram, EASE_RIDGE), 0))


def popular(history: History) -> sp.csr_matrix:
    """The same list for every item: what most shoppers bought in the last 30 days."""
    lately = history.rows[history.rows["day"] > history.rows["day"].max() - 30]
    shoppers = np.bincount(lately.drop_duplicates(["shopper", "item"])["item"], minlength=len(history.title))
    shoppers[np.argsort(-shoppers, kind="stable")[2 * NEIGHBOURS :]] = 0
    return sp.csr_matrix(np.tile(shoppers.astype(np.float64), (len(shoppers), 1)))


BASELINES: dict[str, Scores] = {
    "popular in the last 30 days": popular,
    "co-occurrence count": count,
    "confidence": confidence,
    "lift": lift,
    "cosine over baskets": cosine,
    "the similar list of today (TF-IDF over shoppers)": similar,
    "EASE over baskets (dense)": ease,
}
OURS = "bought together"


def arrays_of(pairs: sp.csr_matrix) -> ItemLists:
    """Substitutes as a lookup reads them."""
    pairs = pairs.tocsr().sorted_indices()
    return ItemLists(pairs.indptr.astype(np.int64), pairs.indices.astype(np.uint32), np.empty(0, np.float32))


def lists_of(scores: sp.csr_matrix, substitutes: sp.csr_matrix) -> ItemLists:
    """The best NEIGHBOURS of each row that are no substitutes."""
    coo = sp.coo_matrix(scores - scores.multiply(substitutes.astype(np.bool_)))
    row, other, score = (array[coo.data > 0] for array in (coo.row, coo.col, coo.data))
    best = best_in_group(row, score, other, NEIGHBOURS)
    indptr = np.searchsorted(row[best], np.arange(scores.shape[0] + 1))
    return ItemLists(indptr, other[best].astype(np.uint32), score[best].astype(np.float32))


def offers_of(lists: ItemLists, substitutes: sp.csr_matrix) -> Offers:
    """Offers as the endpoint adds them up."""
    instead = arrays_of(substitutes)

    def offers(held: np.ndarray) -> np.ndarray:
        found = goes_with(held, lists, instead).positions
        return found[one_of_a_kind(found, instead, OFFERS)]

    return offers


def ours(history: History, substitutes: sp.csr_matrix, **baskets: Any) -> Offers:
    """What this project offers."""
    return offers_of(ItemLists(*complements(*history.baskets(**baskets), substitutes)), substitutes)


def all_offers(history: History, substitutes: sp.csr_matrix) -> Iterator[tuple[str, Offers]]:
    """Every method's offers, one method after the other."""
    for name, scores in BASELINES.items():
        yield name, offers_of(lists_of(scores(history), substitutes), substitutes)
    yield OURS, ours(history, substitutes)


def truths(history: History, of: list[Case]) -> Iterator[tuple[str, sp.csr_matrix, np.ndarray]]:
    """The two questions: their name, what is a substitute, and which cases count."""
    yield "anything", nothing_instead(len(history.title)), np.ones(len(of), np.bool_)
    yield "complements", history.substitutes, is_complement(of, history.substitutes)


def rates(of: list[Case], offers: Offers, counts: np.ndarray) -> dict[str, tuple[Found, np.ndarray]]:
    """The three kinds of basket, with the cases that count of each."""
    whole = look(of, offers)
    return {
        "all": (whole, counts),
        "2 to 10 items": (whole, counts & is_small(of)),
        "one item known": (look(of, offers, is_one=True), counts),
    }


def of_methods(history: History, of: list[Case]) -> list[Figure]:
    """Every method's hit rates, and ours less the best other's for each kind of basket."""
    figures = []
    for truth, substitutes, counts in truths(history, of):
        by_kind: dict[str, dict[str, pd.DataFrame]] = {}
        for name, offers in all_offers(history, substitutes):
            for kind, (found, counted) in rates(of, offers, counts).items():
                shares = found.shares(counted)
                by_kind.setdefault(kind, {})[name] = shares
                low, high = interval(shares)
                what = f"{truth}, {kind}, {len(shares)} invoices: {name} (95%: {low:.4f} to {high:.4f})"
                figures.append(Figure(what, shares["hit"].mean(), ""))
        for kind, of_kind in by_kind.items():
            for name in list(BASELINES)[-3:]:  # cosine, the list of today, EASE
                more = of_kind[OURS].assign(hit=of_kind[OURS]["hit"] - of_kind[name]["hit"])
                low, high = interval(more)
                what = f"{truth}, {kind}: ours less {name} (95%: {low:+.4f} to {high:+.4f})"
                figures.append(Figure(what, more["hit"].mean(), ""))
    return figures


def share_in(lists: ItemLists, others: ItemLists, most: int) -> float:
    """Return which percentage of the first TEN of each item's list is among the first `most` of its other list."""
    shares = []
    for i in range(len(lists.indptr) - 1):
        first = lists.positions[lists.indptr[i] : lists.indptr[i + 1]][:TEN]
        if len(first):
            shares.append(np.isin(first, others.positions[others.indptr[i] : others.indptr[i + 1]][:most]).mean())
    return 100 * float(np.mean(shares))


def of_lists(history: History, of: list[Case]) -> list[Figure]:
    """What the lists hold, what leaving substitutes out costs, and how long a lookup takes."""
    substitutes = history.substitutes
    lists = ItemLists(*complements(*history.baskets(), substitutes))
    offers = offers_of(lists, substitutes)
    whole = look(of, offers).rate(np.ones(len(of), np.bool_))
    most = max(len(case.held) for case in of)
    full = [case.held for case in of if len(case.held) == most][:200]
    seconds = best_of(5, lambda: [offers(held) for held in full]) / len(full)
    lengths = np.diff(lists.indptr)
    counts = is_complement(of, substitutes)
    instead = arrays_of(substitutes)
    several = look(of, lambda held: goes_with(held, lists, instead).positions).rate(counts)
    near = lists_of(similar(history), nothing_instead(len(lengths)))
    return [
        Figure("items left out that stand for another one of the basket", 100 * (1 - counts.mean()), "%"),
        Figure("anything, all: ours without substitutes", whole, ""),
        Figure("complements, all: ours, were several of a kind offered", several, ""),
        Figure("items with a list of four or more", 100 * float((lengths >= OFFERS).mean()), "%"),
        Figure("lists, an item", float(lengths.mean()), "items"),
        Figure("substitutes, an item", substitutes.nnz / len(lengths), "items"),
        Figure("items with a substitute", 100 * float((np.diff(instead.indptr) > 0).mean()), "%"),
        Figure("of ten similar items: among the ten that are bought together", share_in(near, lists, TEN), "%"),
        Figure("of ten similar items: in the list of what is bought together", share_in(near, lists, LENGTH), "%"),
        Figure("of ten similar items: substitutes", share_in(near, instead, substitutes.shape[0]), "%"),
        Figure(f"a lookup, basket of {most}", 1e6 * seconds, "us", wanted="well below 1,000"),
    ]


def examples(history: History) -> Iterator[str]:
    """What is offered beside some items, as titles."""
    offers = ours(history, history.substitutes)
    bought = together(history)[1]
    asked = np.random.default_rng(12).permutation(np.flatnonzero(bought >= IN_BASKETS))[:EXAMPLES]
    for item in sorted(asked.tolist()):
        offered = [history.title[position] for position in offers(np.array([item]))[:OFFERS]]
        yield f"{history.title[item]} -> {' | '.join(offered) or 'nothing'}"


def sales_to_read() -> pd.DataFrame:
    """The shop's sales, where TOPSHELF_DATA names their folder."""
    if not os.environ.get("TOPSHELF_DATA"):
        pytest.skip("TOPSHELF_DATA does not name the folder of published shop data")
    return online_retail_sales(Path(os.environ["TOPSHELF_DATA"]))


def main() -> list[Figure]:
    """Fit to the days before TEST and ask on the fortnight from it."""
    sales = sales_to_read()
    history = History.before(sales, TEST)
    of = cases(sales, history, TEST)
    for line in examples(history):
        sys.stdout.write(line + "\n")
    return of_methods(history, of) + of_lists(history, of)
