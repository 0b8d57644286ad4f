"""Products that landed after the night: which they are, what they are like."""

from contextlib import closing
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jobs.config.rules import AgeLimit, Rules
from jobs.config.settings import Settings
from jobs.intraday.new_items import (
    COLUMNS,
    bring_in,
    folded_in,
    landed_embeddings,
    neighbours,
    new_products,
    overlay_item,
    projected,
)
from jobs.intraday.overlay import read_live
from jobs.lake.lake import Lake
from jobs.models.content import ContentParameters, item_vectors, tf_idf, train_content, truncated, words_of
from jobs.publishing.publish import publish
from serving.snapshot.overlay import overlay_url
from serving.stores import open_store
from tests.conftest import Land
from tests.jobs.small_shop import lay
from tests.serving.small_shop import night


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


def test_a_price_and_a_stock_are_read_as_at_night_and_else_unknown() -> None:
    read = {"": -1, "3": 3, "3.0": 3, "0": 0, "-3": 0, "-0.5": 0, "1e400": 2**31 - 1, "9" * 5000: 2**31 - 1}
    for stock, pieces in (read | {"few": -1, "nan": -1, "inf": -1}).items():
        row = dict.fromkeys(COLUMNS, "") | {"item_id": "a", "stock": stock}
        assert overlay_item(row, []).stock == pieces
    for price, minor in {"": -1, "12.345": 1235, "0.0042": 1, "0": 0, "-0.01": -1, "-5": -1, "cheap": -1}.items():
        row = dict.fromkeys(COLUMNS, "") | {"item_id": "a", "price": price}
        assert overlay_item(row, []).price_minor == minor


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


def test_a_product_projected_into_the_night_s_vectors_is_where_the_night_has_its_like() -> None:
    words = [words_of(*row) for row in shop()]
    base = truncated(tf_idf(words), seed=1).astype(np.float32)
    new = projected(words, base, [words[0], words[4], {"nothing", "shared"}])
    likeness = new @ base.T
    assert likeness[0] == pytest.approx([np.linalg.norm(new[0])] * 3 + [0] * 6, abs=0.05)
    assert likeness[1] == pytest.approx([0] * 3 + [np.linalg.norm(new[1])] * 3 + [0] * 3, abs=0.05)
    assert np.linalg.norm(new, axis=1) == pytest.approx([0.87, 0.87, 0], abs=0.01)  # `blue` is of two products now


def test_the_last_vector_of_the_night_s_length_counts() -> None:
    vectors = [[1.0, 2.0], None, [3.0, 4.0], [5.0], [6.0, 7.0]]
    ids = ["a", "b", "a", "a", "stranger"]
    rows = pa.table({"item_id": ids, "embedding": pa.array(vectors, pa.list_(pa.float32()))})
    assert landed_embeddings(rows, ["a", "b", "c"], 2).tolist() == [[3.0, 4.0], [0.0, 0.0], [0.0, 0.0]]
    assert landed_embeddings(rows.slice(5), ["a"], 2).tolist() == [[0.0, 0.0]]


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


def test_the_overlay_has_what_answers_carry_of_a_product() -> None:
    row = dict.fromkeys(COLUMNS, "") | {
        "item_id": "a",
        "title": "Mug",
        "category": " home / mugs ",
        "brand": "Hearth",
    }
    item = overlay_item(row | {"image_url": "/a.jpg"}, [])
    assert (item.title, item.category, item.brand, item.image_url) == ("Mug", "home/mugs", "Hearth", "/a.jpg")


def test_a_new_product_with_a_vector_is_near_what_looks_like_it(lake: Lake, land: Land, landing: Path) -> None:
    url, day = f"lmdb://{landing.parent}/store", date(2026, 1, 31)
    with closing(open_store(url)) as store:
        base = publish(night("2026-01-31", n_items=6), store).manifest.version
    items = pa.table(
        {
            "item_pos": range(6),
            "item_id": [f"item-{number:05d}" for number in range(6)],
            "title": [f"{colour} mug" for colour in ("red", "blue", "green", "red", "blue", "green")],
            "category": ["mugs"] * 6,
            "brand": pa.nulls(6, pa.string()),
            "price_minor": [500] * 6,
        }
    )
    looks = np.random.default_rng(3).normal(size=(6, 4)).astype(np.float32)
    lay(lake, "features/item", day, items)
    lay(lake, "marts/top_n", day, items.select(["item_id"]))
    lake.write_artifact("artifacts/content", day, train_content(items, ContentParameters(3, 7), looks)[0], inputs={})
    looking_alike = {"item_id": "alike", "title": "mug", "embedding": (looks[2] + 0.01).tolist()}
    land("items", "2026-02-01", "a.jsonl", [looking_alike, {"item_id": "read", "title": "red mug"}], mark=False)
    said = bring_in(Settings(landing=str(landing), lake=lake.root, store=url), date(2026, 2, 1))
    assert "2 new items" in said
    with closing(open_store(overlay_url(url))) as store:
        new = {item.item_id: item.neighbours for item in read_live(store, base).new_items}
    assert new["alike"][0][0] == "item-00002"
    assert {item_id for item_id, _ in new["read"][:2]} == {"item-00000", "item-00003"}
