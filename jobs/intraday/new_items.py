"""Bring products that landed after the night into the live snapshot, with neighbours by their content.

    topshelf new-items --landing data/landing --lake data/lake --store lmdb://data/store

A new product's vector is folded into the night's content vectors: the mean of the products that share its words, each
word by its weight. The night's index stays as it is; the new vectors are a second, small one beside it, and the
neighbours of a product come from both. They go into the overlay of the live snapshot; the next night has the products
in its catalogue.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.candidates.eligibility import withheld_of
from jobs.config.rules import Rules, category_path
from jobs.config.settings import Settings
from jobs.intraday.overlay import write_overlay
from jobs.lake.lake import Lake
from jobs.lake.tables import CONTENT
from jobs.landing.recent import recent_rows
from jobs.models.content import tf_idf, words_of
from jobs.models.nearest_items import nearest
from serving.snapshot.overlay import MAX_NEW_ITEMS, OverlayItem
from serving.stores import open_store

COLUMNS = ("item_id", "title", "category", "brand", "seller_id", "price", "stock", "created_at", "deleted")
NEIGHBOURS = 50
NO_RULES = Rules()
Vectors = npt.NDArray[np.float32]


def new_products(rows: pa.Table, known: Collection[str], rules: Rules = NO_RULES) -> list[dict[str, str]]:
    """Return the landed products that are not `known`: the last row of each, deleted ones left out, the newest first.

    Left out as well are those that rules withhold from anybody: an overlay is laid over everybody's shelves.
    `rows` has COLUMNS as text, in the order that they landed in. Without a `created_at`, a product is as new as its
    place in that order; equal ones stand in byte order of their ids.
    """
    last: dict[str, tuple[int, dict[str, str]]] = {}
    for place, row in enumerate(rows.to_pylist()):
        item_id = row["item_id"]
        if item_id and item_id not in known:
            last[item_id] = (place, {name: value or "" for name, value in row.items()})
    found = [(place, row) for place, row in last.values() if row["deleted"].lower() not in ("true", "1")]
    withheld = _withheld([row for _, row in found], rules)
    found = [pair for pair, held in zip(found, withheld, strict=True) if not held]
    found.sort(key=lambda pair: pair[1]["item_id"])
    found.sort(key=lambda pair: (pair[1]["created_at"], pair[0]), reverse=True)
    return [row for _, row in found[:MAX_NEW_ITEMS]]


def _withheld(rows: Sequence[Mapping[str, str]], rules: Rules) -> list[bool]:
    """Tell of each landed row whether rules withhold it; rows come with empty texts for what they do not have."""
    columns = {name: [row[name] or None for row in rows] for name in ("item_id", "brand", "seller_id")}
    category = [category_path(row["category"]) for row in rows]
    of_rules = pa.table(
        {name: pa.array(values, pa.string()) for name, values in {**columns, "category": category}.items()}
        | {"mean_gap_days": pa.nulls(len(rows), pa.float64())}
    )
    found: list[bool] = withheld_of(of_rules, rules).from_strangers.tolist()
    return found


def folded_in(base_words: Sequence[set[str]], base: Vectors, new_words: Sequence[set[str]]) -> Vectors:
    """Return unit vectors of new products in the space of the base's [n_items, d]; zeros where no word is shared.

    The fold-in of latent semantic analysis (Deerwester et al. 1990), with a word's vector summed from the products
    that have it.
    """
    matrix = tf_idf([*base_words, *new_words])
    of_word = matrix[: len(base_words)].T @ base
    found = np.asarray(matrix[len(base_words) :] @ of_word)
    length = np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(found / np.where(length > 1e-9, length, 1), dtype=np.float32)


def neighbours(
    base: Vectors, base_ids: Sequence[str], new: Vectors, new_ids: Sequence[str]
) -> list[list[tuple[str, float]]]:
    """Return the nearest items of each new one, by cosine, from the night's index and from the new items' own."""
    near = [(nearest(base, new, NEIGHBOURS), base_ids), (nearest(new, new, NEIGHBOURS + 1), new_ids)]
    lists = []
    for row, own in enumerate(new_ids):
        both = [
            (ids[position], float(score))
            for found, ids in near
            for position, score in zip(found.position[row].tolist(), found.score[row].tolist(), strict=True)
            if position >= 0 and score > 0 and ids[position] != own
        ]
        lists.append(sorted(both, key=lambda pair: (-pair[1], pair[0]))[:NEIGHBOURS])
    return lists


def _overlay_item(row: dict[str, str], near: list[tuple[str, float]]) -> OverlayItem:
    stock = row["stock"].partition(".")[0]
    return OverlayItem(
        item_id=row["item_id"],
        title=row["title"],
        category=category_path(row["category"]),
        price_minor=_minor(row["price"]),
        stock=int(stock) if stock.isdecimal() else -1,
        neighbours=near,
    )


def _minor(price: str) -> int:
    """Return a price in minor units, -1 for one that is missing or none; the night sets bad rows aside by name."""
    try:
        minor = int((Decimal(price) * 100).to_integral_value(ROUND_HALF_UP)) if price else -1
    except (InvalidOperation, OverflowError):
        return -1
    return max(minor, -1)


def bring_in(settings: Settings, today: date) -> str:
    """Write the overlay and return a sentence that says what it holds.

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
    rows, passed_over = recent_rows(settings.landing, "items", days, COLUMNS)
    told = "".join(f"; passed over {file}" for file in passed_over)
    if not rows:
        return f"no item has landed after {day}{told}"
    items = lake.arrow("features/item", day, ["item_pos", "item_id", "title", "category", "brand", "price_minor"])
    items = items.sort_by("item_pos")
    ids = items["item_id"].to_pylist()
    rules = Rules.of(lake.manifest("marts/top_n", day).parameters.get("rules", {}))
    fresh = new_products(rows, set(ids), rules)
    vectors = lake.array(CONTENT, day, "item_vectors")
    texts = [items[name].fill_null("").to_pylist() for name in ("title", "category", "brand")]
    base_words = [words_of(*row) for row in zip(*texts, items["price_minor"].to_pylist(), strict=True)]
    new_words = [
        words_of(row["title"], category_path(row["category"]), row["brand"], max(_minor(row["price"]), 0))
        for row in fresh
    ]
    new = folded_in(base_words, vectors, new_words)
    near = neighbours(vectors, ids, new, [row["item_id"] for row in fresh])
    found = [_overlay_item(row, of_row) for row, of_row in zip(fresh, near, strict=True)]
    overlay = write_overlay(settings.store, base, new_items=found)
    alone = sum(not item.neighbours for item in found)
    return f"{overlay}: {len(found)} new items{f', {alone} of them like nothing else' if alone else ''}{told}"
