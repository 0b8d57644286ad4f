"""Addresses of pictures: what apps may put into a page as it is, and what is not read."""

import pyarrow as pa
import pytest

from jobs.landing.image_address import image_addresses
from tests.jobs.landing.looking import D1, read

ADDRESSES = [
    "https://shop.example/mug.jpg", "HTTP://shop.example/é.png?a=1&b=2#c", "//cdn.example/mug.jpg", "/img/mug.jpg",
    "img/mug.jpg", "mug.jpg", "./a:b", "/a:b", "?next=javascript:1", "img/it's(1).jpg", "https://x/%20/日本.jpg",
]  # fmt: skip
OTHERS = [
    "javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", "\x01javascript:alert(1)", "vbscript:x",
    "data:image/svg+xml,%3Csvg%3E", "blob:https://x/1", "file:///etc/passwd", "ftp://x/a.png", "C:/a.png", "https:x",
    "https://", '/a.png" onerror="alert(1)', "/<script>", "\\\\host\\a.png", "/a b.jpg", "/a\nb.jpg", "/a\u2028.jpg",
    "/`a`", "x" * 4_097,
]  # fmt: skip


@pytest.mark.parametrize("text", ADDRESSES)
def test_addresses_of_the_web_and_paths_are_read(land, landing, text):
    land("items", D1, "a.jsonl", [{"item_id": "a", "image_url": f" {text}\u00a0"}])
    (row,) = read(landing, "items")
    assert (row["image_url"], row["unread"]) == (text, None)


@pytest.mark.parametrize("text", OTHERS)
def test_what_a_page_might_run_is_not_read_and_is_counted_with_its_column(land, landing, text):
    land("items", D1, "a.jsonl", [{"item_id": "a", "title": "Mug", "image_url": text}])
    (row,) = read(landing, "items")
    assert (row["image_url"], row["title"], row["fault"]) == (None, "Mug", None)
    assert row["unread"]["columns"] == "image_url"


def test_a_column_of_addresses_keeps_its_places():
    assert image_addresses(pa.array([None, "/a.jpg", "data:,"])).to_pylist() == [None, "/a.jpg", None]
