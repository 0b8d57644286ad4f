"""Products that landed after the night: which they are, what they are like."""

import numpy as np
import pyarrow as pa

from jobs.config.rules import AgeLimit, Rules
from jobs.intraday.new_items import COLUMNS, folded_in, neighbours, new_products
from jobs.models.content import item_vectors, tf_idf, words_of


def landed(*rows: dict[str, str]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), pa.schema([(name, pa.string()) for name in COLUMNS]))


def test_the_last_row_of_an_unknown_product_counts_and_a_deleted_one_is_gone() -> None:
    rows = landed(
        {"item_id": "old", "title": "known to the night"},
        {"item_id": "a", "title": "first"},
        {"item_id": "b", "deleted": "true"},
        {"item_id": "a", "title": "corrected"},
    )
    assert [(row["item_id"], row["title"]) for row in new_products(rows, {"old"})] == [("a", "corrected")]


def test_the_newest_product_comes_first_by_its_own_date_and_else_by_when_it_landed() -> None:
    rows = landed({"item_id": "x"}, {"item_id": "y"}, {"item_id": "z", "created_at": "2026-02-01T00:00:00Z"})
    assert [row["item_id"] for row in new_products(rows, set())] == ["z", "y", "x"]


def shop() -> list[tuple[str, str, str, int | None]]:
    mugs = [
        (f"{colour} stoneware mug", "home/kitchen/mugs", "potters", 1200) for colour in ("blue", "white", "green")
    ]
    pans = [(f"{size} iron pan", "home/kitchen/pans", "forge", 4900) for size in ("small", "large", "wide")]
    lamps = [(f"{kind} desk lamp", "home/lighting", "lumen", 3000) for kind in ("brass", "paper", "steel")]
    return [*mugs, *pans, *lamps]


def test_a_new_product_is_nearest_to_its_likes_of_the_night_and_to_new_ones_like_it() -> None:
    base_words = [words_of(*row) for row in shop()]
    base = item_vectors(tf_idf(base_words), seed=1)
    new_words = [
        words_of("red stoneware mug", "home/kitchen/mugs", "potters", 1100),
        words_of("huge iron pan", "home/kitchen/pans", "forge", 5200),
        words_of("tiny stoneware mug", "home/kitchen/mugs", "potters", 900),
        {"nothing", "shared"},
    ]
    new = folded_in(base_words, base, new_words)
    assert np.allclose(np.linalg.norm(new[:3], axis=1), 1, atol=1e-5)
    ids, new_ids = [f"old-{n}" for n in range(9)], ["mug", "pan", "mug-2", "odd"]
    mug, pan, _, odd = neighbours(base, ids, new, new_ids)
    assert {item for item, _ in mug[:4]} == {"old-0", "old-1", "old-2", "mug-2"}
    assert {item for item, _ in pan[:3]} == {"old-3", "old-4", "old-5"}
    assert "mug" not in {item for item, _ in mug}
    assert odd == []
    scores = [score for _, score in mug]
    assert scores == sorted(scores, reverse=True)


def test_what_the_rules_withhold_from_anybody_is_not_brought_in_and_takes_no_place() -> None:
    rules = Rules(
        {"brand": ["Acme"], "seller_id": ["s-2"], "item_id": ["recalled"]}, [AgeLimit("category", "drinks", 18, {})]
    )
    rows = landed(
        {"item_id": "whisky", "category": "/drinks / spirits/"},
        {"item_id": "anvil", "brand": "Acme"},
        {"item_id": "fake", "seller_id": "s-2"},
        {"item_id": "recalled"},
        {"item_id": "tea", "category": "drinksware", "brand": "Leaf", "seller_id": "s-1"},
    )
    assert [row["item_id"] for row in new_products(rows, set(), rules)] == ["tea"]
    assert len(new_products(rows, set())) == 5
