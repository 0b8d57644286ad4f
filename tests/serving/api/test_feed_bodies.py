"""The forms in which rows are sent: lines, an array or one object, plain or gzip."""

import gzip
import tracemalloc
import zlib

import pytest

from serving.api.feed_bodies import inflated, split_rows
from serving.logs.item_feed import MAX_BYTES, MAX_ROWS
from serving.problems import ProblemError

JSON = b"application/json"
ROWS = [b'{"item_id":"a","stock":1}', b'{"item_id":"b,\\n]","stock":2}']
ARRAY = b" [" + b" ,\n".join(ROWS) + b"]\n"


@pytest.mark.parametrize(
    ("body", "content_type", "rows"),
    [
        (b"\n".join(ROWS), b"application/x-ndjson", ROWS),
        (b"\r\n".join(ROWS), b"text/plain; charset=utf-8", ROWS),
        (b"\n".join(ROWS), None, ROWS),
        (b"\n".join(ROWS), b"application/x-www-form-urlencoded", ROWS),
        (ARRAY, b"application/json", ROWS),
        (b'{\n  "item_id": "a"\n}', b"Application/JSON; charset=utf-8", [b'{\n  "item_id": "a"\n}']),
        (b"[]", b"application/json", []),
        (b"", b"text/plain", []),
    ],
)
def test_rows_are_read_from_every_form(body: bytes, content_type: bytes | None, rows: list[bytes]) -> None:
    assert split_rows(body, content_type) == rows


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        pytest.param(b"\n".join(ROWS), JSON, 400, id="lines as JSON"),
        pytest.param(b"", JSON, 400, id="nothing"),
        pytest.param(b"[" * 5_000, JSON, 400, id="nested"),
        pytest.param(ARRAY[:-5], JSON, 400, id="cut off"),
        pytest.param(b"\xff", JSON, 400, id="no UTF-8"),
        pytest.param(ARRAY, b"text/csv", 415, id="csv"),
        pytest.param(ARRAY, b"multipart/form-data; boundary=x", 415, id="form"),
        pytest.param(b"[" + b",".join([b"1"] * (MAX_ROWS + 1)) + b"]", JSON, 413, id="long array"),
        pytest.param(b"1\n" * (MAX_ROWS + 1), b"text/plain", 413, id="many lines"),
    ],
)
def test_a_body_without_readable_rows_is_refused(body: bytes, content_type: bytes, status: int) -> None:
    with pytest.raises(ProblemError) as refused:
        split_rows(body, content_type)
    assert refused.value.status == status


@pytest.mark.parametrize(("separator", "content_type"), [(b",", JSON), (b"\n", b"text/plain")])
def test_a_body_of_millions_of_tiny_rows_is_refused_before_memory_is_spent_on_them(
    separator: bytes, content_type: bytes
) -> None:
    body = b"[" + b"12%b" % separator * (MAX_BYTES // 3 - 1) + b"1]"
    tracemalloc.start()
    try:
        with pytest.raises(ProblemError) as refused:
            split_rows(body, content_type)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert refused.value.status == 413


def test_gzip_is_inflated_up_to_the_limit_and_no_further() -> None:
    for encoding in (b"gzip", b" GZIP", b"x-gzip"):
        assert inflated(gzip.compress(ARRAY), encoding) == ARRAY
    assert inflated(ARRAY, b"identity") == ARRAY
    assert len(inflated(gzip.compress(bytes(MAX_BYTES)), b"gzip")) == MAX_BYTES
    with pytest.raises(ProblemError) as refused:
        inflated(gzip.compress(bytes(50 * MAX_BYTES), 1), b"gzip")
    assert refused.value.status == 413


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        pytest.param(b"no gzip", b"gzip", 400, id="no gzip"),
        pytest.param(gzip.compress(ARRAY)[:-1], b"gzip", 400, id="cut off"),
        pytest.param(gzip.compress(ARRAY) * 2, b"gzip", 400, id="two streams"),
        pytest.param(b"", b"gzip", 400, id="nothing"),
        pytest.param(zlib.compress(ARRAY), b"deflate", 415, id="deflate"),
        pytest.param(gzip.compress(gzip.compress(ARRAY)), b"gzip, gzip", 415, id="twice"),
    ],
)
def test_damaged_gzip_and_other_encodings_are_refused(body: bytes, encoding: bytes, status: int) -> None:
    with pytest.raises(ProblemError) as refused:
        inflated(body, encoding)
    assert refused.value.status == status
