"""Baskets with one item left out: from the rest of a basket, how often do four offers hold it?

An invoice that has two known items or more gives up to LEFT_OUT of them, one after the other. Of the rest, at most
MOST_HELD are told, which is a large cart. An invoice counts once: by the share of its items that were found.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray

from jobs.landing.adapters.online_retail import item_changes, read_lines, sale_lines
from jobs.models.content import ContentParameters, tf_idf, train_content, words_of
from jobs.models.substitutes import like_by_words
from jobs.numeric.arrays import is_in, pair_keys

OFFERS = 4
LEFT_OUT, MOST_HELD = 3, 20
SMALL = 10
"""Items of a small basket, at most."""
DAYS = 14
DRAWS = 1_000

Offers = Callable[[NDArray[np.int64]], NDArray[np.int64]]
"""From the items that a basket holds to what is offered, best first."""


def online_retail_sales(shop_data: Path) -> pd.DataFrame:
    """Every sale line of goods, with `shopper`: the customer, or the invoice where there is none.

    Codes without a digit in front are postage, fees and the like, which a shop's rules keep from its shelves.
    """
    lines, _ = sale_lines(read_lines(shop_data / "online_retail"))
    lines = lines[lines["item_id"].str.match(r"\d")]
    return lines.assign(shopper=lines["user_id"].fillna("invoice " + lines["session_id"]))


@dataclass(frozen=True)
class History:
    """What was sold before a day; items that were sold, by id, are the catalogue."""

    rows: pd.DataFrame
    """`shopper`, `day`, `invoice` and `item`, a position."""
    item_id: pd.Index
    title: list[str]
    words: sp.csr_matrix
    price_minor: NDArray[np.int64]
    content: tuple[NDArray[np.int64], NDArray[np.int32]]

    @classmethod
    def before(cls, sales: pd.DataFrame, day: str) -> "History":
        """Read what a night before the day knows: titles and prices as they were last."""
        sold = sales[sales["day"] < day]
        items = item_changes(sold).drop_duplicates("item_id", keep="last").set_index("item_id").sort_index()
        title = items["title"].fillna("").tolist()
        price_minor = (100 * items["price"].astype(float)).round().to_numpy(np.int64)
        words = tf_idf([words_of(text, "", "", None) for text in title])
        table = pa.table({"title": title, "price_minor": price_minor})
        table = table.append_column("category", pa.nulls(len(title), pa.string()))
        table = table.append_column("brand", pa.nulls(len(title), pa.string()))
        content, _ = train_content(table, ContentParameters(neighbours=60, seed=7))
        rows = pd.DataFrame(
            {
                "shopper": sold["shopper"],
                "day": (sold["day"] - sales["day"].min()).dt.days,
                "invoice": sold["session_id"],
                "item": items.index.get_indexer(sold["item_id"]),
            }
        )
        neighbours = content["content_indptr"], content["content_indices"]
        return cls(rows, items.index, title, words, price_minor, neighbours)

    def baskets(self, key: tuple[str, ...] = ("shopper", "day")) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The number of each row's basket, and its item."""
        return self.rows.groupby(list(key)).ngroup().to_numpy(), self.rows["item"].to_numpy()

    @cached_property
    def substitutes(self) -> sp.csr_matrix:
        """What stands for each item, by words and price."""
        return like_by_words(self.words, self.price_minor, *self.content)


@dataclass(frozen=True)
class Case:
    """A basket without one item."""

    shopper: str
    invoice: str
    size: int
    left_out: int
    held: NDArray[np.int64]


def cases(sales: pd.DataFrame, history: History, day: str, seed: int = 0) -> list[Case]:
    """Leave items out of the invoices of the DAYS from `day`."""
    until = pd.Timestamp(day, tz=sales["day"].dt.tz) + pd.Timedelta(days=DAYS)
    window = sales[(sales["day"] >= day) & (sales["day"] < until)]
    window = window.assign(item=history.item_id.get_indexer(window["item_id"]))
    draw = np.random.default_rng(seed)
    found = []
    for (invoice, shopper), lines in window[window["item"] >= 0].groupby(["session_id", "shopper"]):
        basket = np.unique(lines["item"].to_numpy())
        if len(basket) < 2:
            continue
        for place in draw.permutation(len(basket))[:LEFT_OUT]:
            held = draw.permutation(np.delete(basket, place))[:MOST_HELD]
            found.append(Case(shopper, invoice, len(basket), int(basket[place]), held))
    return found


@dataclass(frozen=True)
class Found:
    """Which cases' item was among the offers, and which cases count."""

    of: list[Case]
    is_hit: NDArray[np.bool_]

    def shares(self, counts: NDArray[np.bool_]) -> pd.DataFrame:
        """Each invoice's share of items found, `hit`, with its `shopper`; of the cases that count."""
        table = pd.DataFrame(
            {
                "shopper": [case.shopper for case in self.of],
                "invoice": [case.invoice for case in self.of],
                "hit": self.is_hit.astype(float),
            }
        )
        return table[counts].groupby(["shopper", "invoice"])["hit"].mean().reset_index()

    def rate(self, counts: NDArray[np.bool_]) -> float:
        """The mean over invoices."""
        return float(self.shares(counts)["hit"].mean())


def look(of: list[Case], offers: Offers, *, is_one: bool = False) -> Found:
    """Ask for offers for every case, or for one item of each alone."""
    asked = [case.held[:1] if is_one else case.held for case in of]
    hits = [case.left_out in offers(held)[:OFFERS] for case, held in zip(of, asked, strict=True)]
    return Found(of, np.array(hits, dtype=np.bool_))


def is_small(of: list[Case]) -> NDArray[np.bool_]:
    """Which baskets have SMALL items or fewer."""
    return np.array([case.size <= SMALL for case in of])


def is_complement(of: list[Case], substitutes: sp.csr_matrix) -> NDArray[np.bool_]:
    """Which items left out stand for nothing that the basket holds."""
    n_items, coo = substitutes.shape[0], substitutes.tocoo()
    keys = np.sort(pair_keys(coo.row, coo.col, n_items))
    return np.array([not is_in(pair_keys(case.held, np.int64(case.left_out), n_items), keys).any() for case in of])


def interval(shares: pd.DataFrame, seed: int = 0) -> tuple[float, float]:
    """The 95% interval of the mean of `hit`, by drawing shoppers, with all their invoices."""
    by_shopper = shares.groupby("shopper")["hit"].agg(["sum", "count"]).to_numpy()
    n = len(by_shopper)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), DRAWS)
    total, count = (weights @ by_shopper).T
    low, high = np.quantile(total / count, [0.025, 0.975])
    return float(low), float(high)
