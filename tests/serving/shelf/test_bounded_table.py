from hypothesis import given
from hypothesis import strategies as st

from serving.shelf.bounded_table import ENTRY_BYTES, BoundedTable


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 900))))
def test_a_table_never_holds_more_than_its_bound_and_never_another_value(asked: list[tuple[int, int]]) -> None:
    table: BoundedTable[int, int] = BoundedTable(4_000)
    for key, size in asked:
        found = table.get(key)
        assert found in {None, -key}
        if found is None:
            table.put(key, -key, size)
        assert table.bytes <= 4_000
    assert table.bytes >= len(table) * ENTRY_BYTES


def test_what_is_used_stays_and_what_is_not_used_goes() -> None:
    table: BoundedTable[int, str] = BoundedTable(20 * ENTRY_BYTES)
    table.put(0, "used", 0)
    table.put(1, "not used", 0)
    for key in range(2, 100):
        table.put(key, "other", 0)
        assert table.get(0) == "used"
    assert table.get(1) is None
    assert len(table) <= 20


def test_a_value_that_would_take_half_of_the_table_is_not_kept() -> None:
    table: BoundedTable[str, str] = BoundedTable(10_000)
    table.put("large", "x", 6_000)
    assert table.get("large") is None
    assert (table.bytes, len(table)) == (0, 0)
