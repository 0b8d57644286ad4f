"""A record read piece by piece says what the whole record says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.snapshot.record import REASON_CODES, SOURCES, RecordError, ShelfColumns, decode, encode, unpack


def record_of(n: int, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    columns = ShelfColumns(
        np.array([0, n]),
        rng.integers(0, 2**24 - 1, n).astype(np.uint32),
        rng.normal(0, 50, n),
        rng.integers(0, len(SOURCES), n).astype(np.uint8),
        rng.integers(0, len(REASON_CODES), n).astype(np.uint8),
        rng.integers(-1, 40, n),
        np.array([rng.integers(0, 2**16)], np.uint16),
    )
    return encode(columns)[0]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 150), st.integers(0, 2**32 - 1), st.data())
def test_pieces_of_a_record_are_those_of_the_whole(n: int, seed: int, data: st.DataObject) -> None:
    record = record_of(n, seed)
    rows = data.draw(st.lists(st.integers(0, n - 1), max_size=30)) if n else []
    for source in (record, memoryview(record)):
        whole, packed = decode(source), unpack(source)
        assert (packed.count, packed.segment) == (n, whole.segment)
        np.testing.assert_array_equal(packed.positions(n), whole.positions)
        np.testing.assert_array_equal(packed.positions(7), whole.positions[:7])
        assert packed.scores(np.array(rows, np.int64)) == whole.scores[rows].tolist()
        assert packed.reasons(rows) == tuple(
            column[rows].tolist() for column in (whole.sources, whole.reasons, whole.reason_positions)
        )


def test_bytes_altered_within_a_record_never_fail_a_read() -> None:
    rng = np.random.default_rng(0)
    record = bytearray(record_of(100, 1))
    for _ in range(300):
        altered = bytearray(record)
        for place in rng.integers(5, len(record), 20):
            altered[place] = rng.integers(256)
        packed = unpack(bytes(altered))
        assert len(packed.positions(100)) == len(packed.scores(np.arange(100))) == 100
        assert {len(column) for column in packed.reasons(list(range(100)))} == {100}


@pytest.mark.parametrize("cut", [0, 4, 5, 300])
def test_a_cut_record_is_refused(cut: int) -> None:
    with pytest.raises(RecordError):
        unpack(record_of(100, 2)[:cut])
