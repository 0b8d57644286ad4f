"""Columns as `.npy` images: read back as written, refused where damaged, by many threads at once."""

import sys
from types import FrameType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from serving.snapshot import blobs
from serving.snapshot.blobs import Strings, pack, pack_json, pack_strings, unpack, unpack_json
from serving.snapshot.contents import NO_SEGMENT, Segment, read_segments, segment_blobs
from serving.snapshot.manifest import StoreError

DTYPES = ("<i4", "<i8", "<u2", "<u4", "<f4", "<f8", "|u1", "|b1", "|i1")


@given(
    st.sampled_from(DTYPES).flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_side=0, max_dims=3)))
)
def test_an_array_is_read_back_as_it_was_packed(array: np.ndarray) -> None:
    read = unpack(pack(array))
    assert read.dtype == array.dtype
    assert read.tobytes() == array.tobytes()
    assert read.shape == array.shape


def test_an_image_is_what_numpy_itself_reads(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "column.npy").write_bytes(pack(np.arange(12).reshape(3, 4)))
    assert np.load(tmp_path / "column.npy").tolist() == np.arange(12).reshape(3, 4).tolist()


@pytest.mark.parametrize(
    "data",
    [b"", b"PK\x03\x04", pack(np.arange(9))[:-1], pack(np.arange(9)).replace(b"<i8", b"|O8"),
     pack(np.arange(9)).replace(b"(9,)", b"(x,)"), pack(np.arange(9)).replace(b"False", b"True ")],
)  # fmt: skip
def test_what_is_no_whole_image_is_refused(data: bytes) -> None:
    with pytest.raises(StoreError, match="price of v1"):
        unpack(data, "price of v1")


@given(st.lists(st.text()))
def test_strings_are_read_back_and_found_in_a_sorted_column(values: list[str]) -> None:
    values = sorted(values, key=str.encode)
    column = Strings(*(unpack(part) for part in pack_strings(values)))
    assert list(column) == values
    for value in values:
        assert values[column.find(value)] == value
    assert column.find("nowhere to be found" * 3) == -1


@given(st.sets(st.text(max_size=3)), st.lists(st.text(max_size=3)))
def test_strings_are_found_in_a_column_of_many_blocks(kept: set[str], wanted: list[str]) -> None:
    values = sorted(kept, key=str.encode)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blobs, "_BLOCK_ROWS", 3)
        column = Strings(*(unpack(part) for part in pack_strings(values)))
        for value in [*values, *wanted]:
            assert column.find(value) == (values.index(value) if value in kept else -1)


@pytest.mark.parametrize("wanted", ["item-{}", "item-{}x", "nothing-{}", "{}"])
def test_a_string_is_searched_for_in_few_steps_whether_it_is_there_or_not(wanted: str) -> None:
    column = Strings(*(unpack(part) for part in pack_strings(f"item-{number:06}" for number in range(100_000))))
    column.find("")
    values = [wanted.format(f"{number:06}") for number in range(0, 100_000, 1_000)]
    calls = 0

    def count(_: FrameType, event: str, __: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        for value in values:
            column.find(value)
    finally:
        sys.setprofile(None)
    assert calls <= 20 * len(values)


def test_json_is_read_back() -> None:
    value: dict[str, list[int | None]] = {"ü": [1, None]}
    assert unpack_json(pack_json(value), dict[str, list[int | None]]) == value


@pytest.mark.parametrize("damaged", [pack_json(["text"]), pack(np.frombuffer(b'{"a":', np.uint8))])
def test_json_that_is_damaged_or_of_another_kind_is_refused_with_the_remedy(damaged: bytes) -> None:
    with pytest.raises(StoreError, match=r"^pools of v1 is damaged \(.*\); publish the night again$"):
        unpack_json(damaged, list[int], "pools of v1")


def test_segments_are_read_back_and_those_of_an_older_snapshot_have_no_choices() -> None:
    segments: list[Segment] = [NO_SEGMENT, ("DE", "", ("home/garden", "toys")), ("FR", "25-34", ())]
    blobs = dict(segment_blobs(segments))
    pairs = unpack_json(blobs["segments"], list[tuple[str, str]])
    assert read_segments(pairs, unpack_json(blobs["segment_categories"], list[list[str]])) == segments
    assert read_segments(pairs, None) == [NO_SEGMENT, ("DE", "", ()), ("FR", "25-34", ())]


@pytest.mark.parametrize(
    ("dtype", "shape"), [("<f3", "1,"), ("|b9", "1,"), ("<i8", f"{10**30},"), ("<i8", f"{1 << 62}, 4")]
)
def test_an_image_of_a_type_or_a_size_that_cannot_be_is_refused(dtype: str, shape: str) -> None:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({shape}), }}\n".encode()
    with pytest.raises(StoreError, match=r"^stock is no readable \.npy image"):
        unpack(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64), "stock")
