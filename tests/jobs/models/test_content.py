"""Item vectors and neighbours from what products say of themselves."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from jobs.models.content import ContentParameters, text_width, tf_idf, train_content, words_of
from jobs.models.embedding_space import text_part
from jobs.models.embedding_weight import UNJUDGED

ITEMS = [
    ("red spotted mug", "home/mugs", "Acme", 450),
    ("blue spotted mug", "home/mugs", "Acme", 460),
    ("red spotted bag", "bags", "Bolt", 1500),
    ("oak dining table", "home/tables", "Oakley", 25_000),
    ("pine dining table", "home/tables", "Oakley", 21_000),
    ("", "", "", None),
]


def items(rows: list[tuple[str, str, str, int | None]]) -> pa.Table:
    title, category, brand, price = zip(*rows, strict=True)
    known = pa.array([value or None for value in title], pa.string())
    prices = pa.array(price, pa.int64())
    return pa.table({"title": known, "category": category, "brand": brand, "price_minor": prices})


def neighbours(rows: list[tuple[str, str, str, int | None]], most: int = 3) -> list[list[int]]:
    arrays, _ = train_content(items(rows), ContentParameters(most, 7))
    indptr, found = arrays["content_indptr"], arrays["content_indices"]
    return [found[start:end].tolist() for start, end in pairwise(indptr)]


def test_a_product_s_words_are_its_title_brand_price_band_and_every_level_of_its_category() -> None:
    found = words_of("Red Mug, 2nd", "home/mugs", "Acme", 450)
    assert found == {"red", "mug", "nd", "category=home", "category=home/mugs", "brand=Acme", "price=9"}
    assert words_of("", "", "", None) == set()


def test_rows_have_unit_length_and_a_word_of_only_one_product_is_dropped() -> None:
    matrix = tf_idf([{"a", "only"}, {"a", "b"}, {"b"}, {"alone"}])
    assert matrix.shape == (4, 2)
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    assert lengths == pytest.approx([1, 1, 1, 0])


def test_the_nearest_product_shares_most_words_and_a_product_without_words_has_none() -> None:
    found = neighbours(ITEMS)
    assert [row[0] for row in found[:2]] == [1, 0]
    assert found[3][0] == 4
    assert found[4][0] == 3
    assert found[5] == []
    assert all(5 not in row for row in found)


def test_there_are_at_most_as_many_neighbours_as_set_and_never_the_product_itself() -> None:
    found = neighbours(ITEMS * 3, most=2)
    assert max(len(row) for row in found) == 2
    assert all(item not in row for item, row in enumerate(found))


def test_the_same_catalogue_gives_the_same_bytes() -> None:
    one, other = (train_content(items(ITEMS), ContentParameters(3, 7))[0] for _ in range(2))
    assert all(one[name].tobytes() == other[name].tobytes() for name in one)


def test_a_catalogue_without_any_word_has_zero_vectors_and_no_neighbours() -> None:
    arrays, _ = train_content(items([ITEMS[5]] * 4), ContentParameters(3, 7))
    assert not arrays["item_vectors"].any()
    assert arrays["content_indptr"].tolist() == [0] * 5


def test_products_that_all_have_the_same_words_have_zero_vectors_and_no_neighbours() -> None:
    arrays, _ = train_content(items([ITEMS[0]] * 4), ContentParameters(3, 7))
    assert not arrays["item_vectors"].any()
    assert arrays["content_indptr"].tolist() == [0] * 5


def test_a_shop_without_products_has_an_artifact_without_vectors() -> None:
    bare = items([("mug", "", "", 1)]).slice(1)
    arrays, _ = train_content(bare, ContentParameters(3, 7))
    assert (len(arrays["item_vectors"]), arrays["content_indptr"].tolist()) == (0, [0])


def test_products_that_words_cannot_tell_apart_are_near_by_the_shop_s_own_vectors() -> None:
    alike = items([("mug", "home/mugs", "Acme", 450)] * 6)
    looks = np.array([[1, 0], [-1, 0], [1, 0.1], [-1, 0.1], [0, 0], [0, -0.1]], np.float32)
    arrays, _ = train_content(alike, ContentParameters(5, 7), looks)
    first = arrays["content_indptr"][:4]
    assert arrays["content_indices"][first].tolist() == [2, 3, 0, 1]
    assert arrays["content_indptr"][4] == arrays["content_indptr"][5]  # nothing is known of it
    assert arrays["embedding_mean"].shape == (2,)


def test_with_vectors_of_the_shop_words_weigh_as_much_as_the_truncation_leaves_of_them() -> None:
    looks = np.random.default_rng(1).normal(size=(len(ITEMS), 8)).astype(np.float32)
    looks[3] = 0
    arrays, _ = train_content(items(ITEMS), ContentParameters(3, 7), looks)
    width, matrix = text_width(len(ITEMS)), tf_idf([words_of(*row) for row in ITEMS])
    assert arrays["embedding_weight"].tolist() == [UNJUDGED, 0]
    text = text_part(arrays["item_vectors"], width, UNJUDGED)
    assert text @ text.T == pytest.approx((matrix @ matrix.T).toarray(), abs=1e-5)
    assert not arrays["item_vectors"][3, width:].any()
    assert arrays["item_vectors"][5, width:].any()  # it has no words
