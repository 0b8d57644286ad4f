import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.snapshot import string_lookup
from serving.snapshot.blobs import Strings, pack_strings, unpack
from serving.snapshot.string_lookup import rows_of


def column(values: list[str]) -> Strings:
    data, offsets = pack_strings(values)
    return Strings(unpack(data), unpack(offsets))


texts = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(["", "a", "a\0", "a\0\0", "ab", "é"])


@settings(max_examples=200, deadline=None)
@given(st.sets(texts), st.lists(texts))
def test_each_string_is_found_where_a_search_for_it_alone_finds_it(kept: set[str], wanted: list[str]) -> None:
    strings = column(sorted(kept, key=str.encode))
    wanted += sorted(kept)[::-2]
    assert rows_of(strings, wanted).tolist() == [strings.find(value) for value in wanted]


def test_strings_are_found_across_the_steps_of_a_large_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(string_lookup, "_STEP_ROWS", 7)
    kept = sorted(f"item-{number}" for number in range(100))
    wanted = [f"item-{number}" for number in range(50, 150)]
    found = rows_of(column(kept), wanted).tolist()
    assert found == [kept.index(value) if value in kept else -1 for value in wanted]


def test_strings_that_share_a_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_equal(data: np.ndarray, offsets: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.zeros(len(offsets) - 1, np.uint64)

    monkeypatch.setattr(string_lookup, "_hashes", all_equal)
    assert rows_of(column(["a", "b", "ccc"]), ["ccc", "b", "x", "a", "bb"]).tolist() == [2, 1, -1, 0, -1]
