"""Bring products that landed after the night into the live snapshot, with neighbours by their content.

    topshelf new-items --landing data/landing --lake data/lake --store lmdb://data/store

A new product is folded into the night's content vectors: its vector is the mean of the products that share its words,
each word by its weight. Where the shop lands vectors of its own, the product's is joined to it as at night. Its
neighbours come from the night's products and from the other new ones. Products and
neighbours go into the overlay of the live snapshot. The next night has the products in its catalogue.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.candidates.eligibility import eligibility_of
from jobs.config.rules import Rules, category_path
from jobs.config.settings import Settings
from jobs.intraday.overlay import write_overlay
from jobs.lake.lake import Lake
from jobs.lake.tables import CONTENT, ITEM, TOP_N
from jobs.landing.recent import recent_rows
from jobs.models.content import text_width, tf_idf, words_of
from jobs.models.embedding_space import EmbeddingSpace, joined, text_part
from jobs.models.nearest_items import nearest
from jobs.publishing.night_contents import TopNParameters
from serving import money
from serving.snapshot.overlay import MAX_NEW_ITEMS, OverlayItem
from serving.stores import open_store

COLUMNS = (
    *("item_id", "title", "category", "brand", "seller_id", "image_url"),
    *("price", "stock", "created_at", "deleted"),
)
EMBEDDING = "embedding"
NEIGHBOURS = 50
MAX_STOCK = Decimal(2**31 - 1)
NO_RULES = Rules()
Vectors = npt.NDArray[np.float32]


def new_products(rows: pa.Table, known: Collection[str], rules: Rules = NO_RULES) -> list[dict[str, str]]:
    """Return the last row of each landed product that is not `known`, the newest first, without deleted ones.

    Products that rules withhold from anybody are left out too, as an overlay is laid over everybody's shelves.
    `rows` has COLUMNS as text, in the order in which they landed. The newest is the one with the latest `created_at`,
    then the one that landed last, then the first by the bytes of its id.
    """
    last: dict[str, tuple[int, dict[str, str]]] = {}
    for place, row in enumerate(rows.to_pylist()):
        item_id = row["item_id"]
        if item_id and item_id not in known:
            last[item_id] = (place, {name: value or "" for name, value in row.items()})
    products = [(place, row) for place, row in last.values() if row["deleted"].lower() not in ("true", "1")]
    withheld = _withheld([row for _, row in products], rules)
    products = [pair for pair, held in zip(products, withheld, strict=True) if not held]
    products.sort(key=lambda pair: pair[1]["item_id"])
    products.sort(key=lambda pair: (pair[1]["created_at"], pair[0]), reverse=True)
    return [row for _, row in products[:MAX_NEW_ITEMS]]


def _withheld(rows: Sequence[Mapping[str, str]], rules: Rules) -> list[bool]:
    """Return for each landed row whether rules withhold it. A missing value is an empty text."""
    columns = {name: [row[name] or None for row in rows] for name in ("item_id", "brand", "seller_id")}
    category = [category_path(row["category"]) for row in rows]
    item_columns = pa.table(
        {name: pa.array(values, pa.string()) for name, values in {**columns, "category": category}.items()}
        | {"mean_gap_days": pa.nulls(len(rows), pa.float64())}
    )
    withheld: list[bool] = eligibility_of(item_columns, rules).restricted.tolist()
    return withheld


def folded_in(base_words: Sequence[set[str]], base: Vectors, new_words: Sequence[set[str]]) -> Vectors:
    """Return unit vectors [n_new, d] of new products in the space of `base` [n_items, d].

    A product that shares no word with the base gets zeros. This is the fold-in of latent semantic analysis
    (Deerwester et al. 1990); a word's vector is the weighted sum of the products that have it.
    """
    matrix = tf_idf([*base_words, *new_words])
    word_vectors = matrix[: len(base_words)].T @ base
    vectors = np.asarray(matrix[len(base_words) :] @ word_vectors)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 1e-9, length, 1), dtype=np.float32)


def projected(base_words: Sequence[set[str]], base: Vectors, new_words: Sequence[set[str]]) -> Vectors:
    """Return new products [n_new, d] as the truncation of the night would have left them.

    `base` [n_items, d] are left singular vectors times singular values. So the squares of a column add up to that of
    its singular value, and words times `base` over it are the right singular vectors.
    """
    matrix = tf_idf([*base_words, *new_words])
    strength = np.sum(np.square(base, dtype=np.float64), axis=0)
    inverse = np.divide(1, strength, out=np.zeros_like(strength), where=strength > 1e-9 * strength.max(initial=0))
    word_vectors = (matrix[: len(base_words)].T @ base) * inverse
    return np.asarray(matrix[len(base_words) :] @ word_vectors, dtype=np.float32)


def landed_embeddings(rows: pa.Table, item_ids: Sequence[str], length: int) -> Vectors:
    """Return the last vector of that length of each item [n_items, length]; zeros for an item without one.

    `rows` has `item_id` and `embedding`, in the order in which they landed.
    """
    vectors = np.zeros((len(item_ids), length), np.float32)
    rows = rows.filter(
        pc.and_kleene(pc.equal(pc.list_value_length(rows[EMBEDDING]), length), pc.is_valid(rows["item_id"]))
    )
    item = pc.fill_null(pc.index_in(rows["item_id"], value_set=pa.array(item_ids, pa.string())), -1).to_numpy()
    rows, item = rows.filter(pa.array(item >= 0)), item[item >= 0]
    numbers = pc.list_flatten(rows[EMBEDDING]).to_numpy(zero_copy_only=False)
    vectors[item] = numbers.reshape(-1, length)  # of several rows of an item the last one stays
    return vectors


def neighbours(
    base: Vectors, base_ids: Sequence[str], new: Vectors, new_ids: Sequence[str]
) -> list[list[tuple[str, float]]]:
    """Return up to NEIGHBOURS (item id, cosine) of each new item, highest first, among base and new items."""
    searches = [(nearest(base, new, NEIGHBOURS), base_ids), (nearest(new, new, NEIGHBOURS + 1), new_ids)]
    lists = []
    for row, own in enumerate(new_ids):
        both = [
            (ids[position], float(score))
            for result, ids in searches
            for position, score in zip(result.position[row].tolist(), result.score[row].tolist(), strict=True)
            if position >= 0 and score > 0 and ids[position] != own
        ]
        lists.append(sorted(both, key=lambda pair: (-pair[1], pair[0]))[:NEIGHBOURS])
    return lists


def overlay_item(row: Mapping[str, str], near: list[tuple[str, float]]) -> OverlayItem:
    """Return a landed row, with its neighbours, as the overlay has it. What cannot be read is unknown."""
    return OverlayItem(
        item_id=row["item_id"],
        title=row["title"],
        category=category_path(row["category"]),
        brand=row["brand"],
        image_url=row["image_url"],
        price_minor=_minor(row["price"]),
        stock=_pieces(row["stock"]),
        neighbours=near,
    )


def _minor(price: str) -> int:
    """Return a price in minor units, -1 if it is missing or no price."""
    minor = money.minor_units(price)
    return -1 if minor is None else max(minor, -1)


def _pieces(stock: str) -> int:
    """Return the pieces in stock, -1 if that is missing or unreadable. Below zero is none, as at night."""
    try:
        pieces = Decimal(stock)
    except InvalidOperation:
        return -1
    return int(min(max(pieces, Decimal(0)), MAX_STOCK)) if pieces.is_finite() else -1


def bring_in(settings: Settings, today: date) -> str:
    """Write the overlay and return a sentence about what it holds.

    Raises:
        StoreError: the store cannot be written, or another snapshot went live meanwhile.
        MissingPartitionError: the lake does not have the live snapshot's day.
    """
    with closing(open_store(settings.store)) as store:
        base = store.pointer().live
    if base is None:
        return f"nothing is live in {settings.store} yet, so there is nothing to bring new items into"
    lake, day = Lake(settings.lake), date.fromisoformat(base[:10])
    days = [day + timedelta(days=ago) for ago in range(1, (today - day).days + 1)]
    rows, passed_over = recent_rows(settings.landing, "items", days, (*COLUMNS, EMBEDDING))
    skipped = "".join(f"; passed over {file}" for file in passed_over)
    if not rows:
        return f"no item has landed after {day}{skipped}"
    items = lake.arrow(ITEM, day, ["item_pos", "item_id", "title", "category", "brand", "price_minor"])
    items = items.sort_by("item_pos")
    ids = items["item_id"].to_pylist()
    rules = Rules.of(lake.manifest(TOP_N, day).parameters_as(TopNParameters).rules)
    fresh = new_products(rows.select(COLUMNS), set(ids), rules)
    vectors = lake.array(CONTENT, day, "item_vectors")
    texts = [items[name].fill_null("").to_pylist() for name in ("title", "category", "brand")]
    base_words = [words_of(*row) for row in zip(*texts, items["price_minor"].to_pylist(), strict=True)]
    new_words = [
        words_of(row["title"], category_path(row["category"]), row["brand"], max(_minor(row["price"]), 0))
        for row in fresh
    ]
    new_ids, width = [row["item_id"] for row in fresh], text_width(len(ids))
    if vectors.shape[1] == width:
        new = folded_in(base_words, vectors, new_words)
    else:  # the shop has vectors of its own
        space = EmbeddingSpace(*(lake.array(CONTENT, day, f"embedding_{part}") for part in ("mean", "axes")))
        own = landed_embeddings(rows.select(["item_id", EMBEDDING]), new_ids, len(space.mean))
        weight = float(lake.array(CONTENT, day, "embedding_weight")[0])
        text = projected(base_words, text_part(vectors, width, weight), new_words)
        new = joined(text, space.reduced(own), weight)
    near = neighbours(vectors, ids, new, new_ids)
    overlay_items = [overlay_item(row, item_neighbours) for row, item_neighbours in zip(fresh, near, strict=True)]
    overlay = write_overlay(settings.store, base, new_items=overlay_items)
    alone = sum(not item.neighbours for item in overlay_items)
    return (
        f"{overlay}: {len(overlay_items)} new items{f', {alone} of them like nothing else' if alone else ''}{skipped}"
    )
