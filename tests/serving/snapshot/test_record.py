from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.snapshot.digest import RecordDigest
from serving.snapshot.record import (
    MAX_REASON_ITEMS,
    REASON_CODES,
    SOURCES,
    NewerRecordError,
    RecordError,
    ShelfColumns,
    decode,
    encode,
    encode_scores,
    record_key,
    shard_of,
    user_of,
)

GOLDEN = Path(__file__).parent / "golden"


def columns_of(shelves: list[list[tuple[int, float, int, int, int]]], segments: list[int]) -> ShelfColumns:
    flat = [item for shelf in shelves for item in shelf]
    position, score, source, reason, about = ([row[at] for row in flat] for at in range(5))
    return ShelfColumns(
        np.concatenate(([0], np.cumsum([len(shelf) for shelf in shelves]))).astype(np.int64),
        np.array(position, np.uint32),
        np.array(score, np.float64),
        np.array(source, np.uint8),
        np.array(reason, np.uint8),
        np.array(about, np.int64),
        np.array(segments, np.uint16),
    )


positions = st.integers(0, 0xFFFFFE)
scores = st.one_of(
    st.just(0.0),
    st.floats(2.0**-45, 130_000, allow_nan=False).flatmap(lambda x: st.sampled_from([x, -x])),
)
items = st.tuples(
    positions,
    scores,
    st.integers(0, len(SOURCES) - 1),
    st.integers(0, len(REASON_CODES) - 1),
    st.one_of(st.just(-1), st.integers(0, 6), positions),
)
shelf = st.lists(items, max_size=40)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(shelf, st.integers(0, 65_535)), max_size=8))
def test_what_is_encoded_is_what_is_decoded(
    shelves: list[tuple[list[tuple[int, float, int, int, int]], int]],
) -> None:
    records = encode(columns_of([s for s, _ in shelves], [segment for _, segment in shelves]))
    assert len(records) == len(shelves)
    for record, (rows, segment) in zip(records, shelves, strict=True):
        read = decode(record)
        assert read.segment == segment
        assert read.positions.tolist() == [row[0] for row in rows]
        assert read.sources.tolist() == [row[2] for row in rows]
        assert read.reasons.tolist() == [row[3] for row in rows]
        for got, row in zip(read.scores.tolist(), rows, strict=True):
            assert got == 0 if row[1] == 0 else abs(got / row[1] - 1) < 1e-3
        distinct = list(dict.fromkeys(row[4] for row in rows if row[4] >= 0))
        kept = set(distinct[:MAX_REASON_ITEMS])
        assert read.reason_positions.tolist() == [row[4] if row[4] in kept else -1 for row in rows]


def test_a_shelf_of_100_with_19_reason_items_takes_762_bytes() -> None:
    rows = [(n, 1.0, 1, 5, n % 19) for n in range(100)]
    assert len(encode(columns_of([rows], [1]))[0]) == 762


def test_no_shelf_of_100_takes_more_than_762_bytes_however_many_reason_items_it_has() -> None:
    rows = [(n, 1.0, 1, 5, n) for n in range(100)]
    (record,) = encode(columns_of([rows], [1]))
    assert len(record) == 762
    assert decode(record).reason_positions.tolist() == list(range(19)) + [-1] * 81


def test_a_shelf_may_hold_more_than_255_items() -> None:
    rows = [(0xFFFFFE - n, 5.0 / (n + 1), 0, 0, n % 7) for n in range(2_047)]
    read = decode(encode(columns_of([rows], [0]))[0])
    assert read.positions.tolist() == [row[0] for row in rows]
    assert read.reason_positions.tolist() == [row[4] for row in rows]


def test_users_with_shelves_of_different_lengths_keep_their_places() -> None:
    lengths = [3, 0, 5, 3, 1, 3]
    shelves = [[(100 * u + n, 1.0, 0, 0, -1) for n in range(length)] for u, length in enumerate(lengths)]
    read = [decode(record).positions.tolist() for record in encode(columns_of(shelves, [0] * 6))]
    assert read == [[row[0] for row in rows] for rows in shelves]


def test_encoding_does_not_depend_on_who_else_is_encoded() -> None:
    rng = np.random.default_rng(7)
    shelves = [
        [(int(rng.integers(0, 99)), 1.0, 2, 3, int(rng.integers(-1, 30))) for _ in range(50)] for _ in range(9)
    ]
    together = encode(columns_of(shelves, list(range(9))))
    assert together == [encode(columns_of([rows], [user]))[0] for user, rows in enumerate(shelves)]


def test_scores_are_true_to_1_in_1000_and_keep_their_order() -> None:
    values = np.sort(
        np.concatenate([-np.geomspace(2.0**-45, 130_000, 50_000), np.geomspace(2.0**-45, 130_000, 50_000)])
    )
    rows = [(0, float(value), 0, 0, -1) for value in values]
    read = np.concatenate(
        [decode(encode(columns_of([rows[at : at + 2_000]], [0]))[0]).scores for at in range(0, len(rows), 2_000)]
    )
    assert np.max(np.abs(read / values - 1)) < 1e-3
    assert (np.diff(read) >= 0).all()


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf"), 132_000.0, 1e300])
def test_a_score_that_a_record_cannot_carry_is_refused_by_name(score: float) -> None:
    with pytest.raises(RecordError, match="score"):
        encode_scores(np.array([0.5, score]))


@pytest.mark.parametrize(
    ("row", "named"),
    [((0xFFFFFF, 1.0, 0, 0, -1), "position"), ((0, 1.0, 14, 0, -1), "source"), ((0, 1.0, 0, 11, -1), "reason"),
     ((0, 1.0, 0, 0, 0xFFFFFF), "reason item")],
)  # fmt: skip
def test_a_value_that_a_record_cannot_carry_is_refused_by_name(
    row: tuple[int, float, int, int, int], named: str
) -> None:
    with pytest.raises(RecordError, match=named):
        encode(columns_of([[row]], [0]))


def test_a_shelf_beyond_2047_items_is_refused_with_the_remedy() -> None:
    with pytest.raises(RecordError, match="lower --top-n"):
        encode(columns_of([[(0, 1.0, 0, 0, -1)] * 2_048], [0]))


def test_a_record_of_a_later_layout_is_refused_by_its_number() -> None:
    (record,) = encode(columns_of([[(1, 1.0, 0, 0, -1)]], [0]))
    with pytest.raises(NewerRecordError, match="layout 2, this reader knows 1: upgrade serving"):
        decode(b"\x02" + record[1:])


def test_a_truncated_record_is_refused_with_its_length() -> None:
    (record,) = encode(columns_of([[(n, 1.0, 0, 5, n % 3) for n in range(10)]], [0]))
    for size in range(len(record)):
        with pytest.raises(RecordError, match=f"{size} bytes"):
            decode(record[:size])
    with pytest.raises(RecordError, match=f"{len(record) + 1} bytes"):
        decode(record + b"\0")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=900))
def test_bytes_that_are_no_record_never_raise_anything_else(data: bytes) -> None:
    try:
        read = decode(data)
    except RecordError:
        return
    assert len(data) == 5 + 3 * (data[3] & 31) + 7 * len(read)


def golden_shelves() -> ShelfColumns:
    """A shelf of 100, one of 3 and an empty one, of fixed figures."""
    full = [(n * 160_001 % 16_000_000, 0.9**n, n % 13, n % 10, -1 if n % 5 == 0 else n % 23) for n in range(100)]
    three = [(0xFFFFFE, 1.0, 12, 9, 0xFFFFFE), (0, -0.001, 0, 0, -1), (65_536, 130_000.0, 5, 4, 65_536)]
    return columns_of([full, three, []], [0x1234, 0, 1])


@pytest.mark.parametrize(("row", "name"), [(0, "v1-100-items.bin"), (1, "v1-3-items.bin"), (2, "v1-empty.bin")])
def test_the_golden_files_are_still_what_is_written_and_read(row: int, name: str) -> None:
    columns = golden_shelves()
    golden = (GOLDEN / name).read_bytes()
    assert encode(columns)[row] == golden
    rows = slice(int(columns.offsets[row]), int(columns.offsets[row + 1]))
    read = decode(golden)
    assert read.positions.tolist() == columns.positions[rows].tolist()
    assert read.segment == columns.segments[row]
    assert np.allclose(read.scores, columns.scores[rows], rtol=1e-3)


def test_the_layout_is_the_one_that_is_documented() -> None:
    (record,) = encode(columns_of([[(0x030201, 1.0, 2, 3, 0x0C0B0A), (0x060504, 0.0, 0, 1, -1)]], [0x0807]))
    head = [1, 0x07, 0x08, 2 << 5 | 1, 0]  # layout, segment, n << 5 | k
    about = [0x0A, 0x0B, 0x0C]  # the reason item
    positions = [1, 2, 3, 4, 5, 6]
    scores = [0x00, 47 << 1, 0, 0]  # 1.0: exponent 47, mantissa 0; zero
    why = [2 << 4 | 3, 0 << 4 | 1]  # source and reason
    assert record == bytes([*head, *about, *positions, *scores, *why, 0, 255])  # reason item 0, none


def test_a_user_is_in_the_shard_that_spark_computes() -> None:
    assert shard_of("user-1", 8) == 4  # SELECT crc32('user-1') % 8
    assert shard_of("user-1", 8) == shard_of(b"user-1", 8)


def test_a_variant_has_a_key_of_its_own_that_names_its_user() -> None:
    assert record_key("ünï") == "ünï".encode()
    assert user_of(record_key("ünï", "b")) == "ünï".encode()
    assert record_key("a\0b") != record_key("a", "b")


def test_a_digest_does_not_depend_on_how_records_are_batched_but_on_every_byte() -> None:
    keys, records = [b"a", b"bc", b"d"], [b"1", b"", b"23"]

    def digest(*cuts: int) -> str:
        made = RecordDigest()
        edges = [0, *cuts, 3]
        for first, last in pairwise(edges):
            made.update(keys[first:last], records[first:last])
        return made.hexdigest()

    assert digest() == digest(1) == digest(1, 2)
    other = RecordDigest()
    other.update([b"ab", b"c", b"d"], records)
    assert other.hexdigest() != digest()


def test_the_record_that_the_documentation_takes_apart_decodes_as_it_says() -> None:
    text = (Path(__file__).parents[3] / "docs" / "record.md").read_text()
    apart = text.split("## One record taken apart")[1].split("```")[1]
    record = b"".join(bytes.fromhex(line.split("  ")[0]) for line in apart.strip().splitlines())
    shelf = decode(record)
    assert len(record) == 22
    assert shelf.segment == 7
    assert shelf.positions.tolist() == [2, 1000]
    assert shelf.scores.tolist() == [1.0, 0.5]
    assert [SOURCES[source] for source in shelf.sources] == ["popular", "item_item"]
    assert [REASON_CODES[reason] for reason in shelf.reasons] == ["trending", "bought"]
    assert shelf.reason_positions.tolist() == [-1, 4660]


def test_the_documentation_lists_every_source_and_reason_in_its_order() -> None:
    text = " ".join((Path(__file__).parents[3] / "docs" / "record.md").read_text().split())
    for words in (SOURCES, REASON_CODES):
        assert ", ".join(f"`{word}`" for word in words) in text
