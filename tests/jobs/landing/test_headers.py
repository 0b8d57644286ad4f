"""Landed files that cannot be read are named before any Spark job starts."""

import gzip
from datetime import date

import pytest

from jobs.landing.folders import Landing, UnreadableFileError
from jobs.landing.headers import is_torn
from tests.jobs.landing.looking import D1, EVENTS, look


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.csv", b"", "it is empty"),
        ("a.csv.gz", b"", "it is empty"),
        ("a.csv.gz", gzip.compress(EVENTS.encode() * 50, mtime=0)[:-20], "end-of-stream"),
        ("a.csv.gz", EVENTS.encode(), "[Nn]ot a gzipped file"),
        ("a.jsonl.gz", gzip.compress(b'{"item_id":"i"}\n' * 50, mtime=0)[:-20], "end-of-stream"),
        ("a.csv", EVENTS + 'u2,"i2,view,2026-01-01T10:00:00Z\nu3,i3,view,2026-01-01T10:00:00Z\n', "never closed"),
        ("a.csv", "item_id,item_id,event_type,ts\n", "names item_id more than once"),
        ("a.csv", "Größe,item_id\n".encode("latin-1"), "utf-8"),
        ("a.parquet", b"", "size is 0|0 bytes"),
        ("a.parquet", b"PAR1 but no more", "[Pp]arquet"),
        ("a.parquet", EVENTS.encode(), "[Pp]arquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_what_is_wrong(land, landing, name, content, why):
    land("events", D1, name, content)
    with pytest.raises(UnreadableFileError, match=rf"ds=2026-01-01/{name} cannot be read: .*({why}).*land the file"):
        look(landing)


def test_a_parquet_file_cut_short_is_named(land, landing):
    path = land("events", D1, "a.parquet", [{"item_id": "i1", "event_type": "view", "ts": "2026-01-01"}])
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UnreadableFileError, match=r"a\.parquet cannot be read"):
        look(landing)


def test_an_inch_mark_in_a_plain_field_is_no_open_quote(land, landing):
    land("items", D1, "a.csv", 'item_id,title\ni1,pipe 5" wide\n')
    assert look(landing, "items").file_count == 1


def test_an_empty_jsonl_file_is_a_file_without_rows(land, landing):
    land("events", D1, "a.jsonl", b"")
    assert look(landing).file_count == 1


MEMBER = gzip.compress(b'{"item_id":"i"}\n' * 500, mtime=0)
BY_OTHERS = gzip.compress(b"by others, with a time", mtime=1_767_225_600)


@pytest.mark.parametrize(
    ("content", "torn"),
    [
        (b"", False),
        (MEMBER, False),
        (MEMBER * 3, False),
        (BY_OTHERS, False),
        (BY_OTHERS * 3, False),
        (MEMBER[:1], True),
        (MEMBER[:-1], True),
        (MEMBER + MEMBER[:1], True),
        (MEMBER + MEMBER[:9], True),
        (MEMBER + MEMBER[:10], True),
        (MEMBER + MEMBER[:-1], True),
        (MEMBER + MEMBER[:-9] + b"\0" * 9, True),  # as after a power cut
        (BY_OTHERS * 2 + BY_OTHERS[:-1], True),
    ],
)
def test_exposures_are_torn_where_their_last_member_has_no_end(land, landing, content, torn):
    land("exposures", D1, "a.jsonl.gz", content)
    source = Landing(str(landing))
    (day,) = source.days("exposures", date.fromisoformat(D1))
    assert is_torn(source, day.files[0]) is torn
