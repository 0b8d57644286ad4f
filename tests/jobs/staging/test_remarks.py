"""Remarks of ingest: kept with the day, short enough for a page, and readable whatever they quote."""

from datetime import date

from jobs.lake.lake import Lake
from jobs.lake.tables import QUARANTINE
from jobs.staging.remarks import MOST_CHARACTERS, MOST_LINES, Remarks, remarks_as_metrics, remarks_of, shortened

D1, D2 = date(2026, 1, 1), date(2026, 1, 2)


def kept(lake: Lake, lines: list[str]) -> Remarks:
    """Keep remarks on two days as ingest does, and read them back."""
    metrics = remarks_as_metrics([D1, D2], lines)
    lake.write_days(None, QUARANTINE, [D2], inputs={D2: {}}, metrics={D2: metrics})
    return remarks_of(lake, D2)


def test_remarks_are_read_back_with_the_days_that_they_are_of(lake: Lake) -> None:
    remarks = kept(lake, ["items: set aside 1 rows: negative_price", "passed over items: Größe"])
    assert remarks == Remarks([D1, D2], ["items: set aside 1 rows: negative_price", "passed over items: Größe"])
    assert remarks.span == "2026-01-01 to 2026-01-02"
    assert Remarks([D1, D1]).span == "2026-01-01"


def test_a_day_without_remarks_or_never_read_has_none(lake: Lake) -> None:
    assert remarks_of(lake, D1) == Remarks()
    lake.write_days(None, QUARANTINE, [D1], inputs={D1: {}})
    assert remarks_of(lake, D1) == Remarks()


def test_text_that_json_cannot_carry_is_kept_as_an_escape(lake: Lake) -> None:
    assert kept(lake, ["passed over items: caf\udce9"]).lines == [r"passed over items: caf\udce9"]


def test_many_and_long_remarks_are_cut_and_the_others_counted() -> None:
    lines = shortened(["x" * 9_999, *map(str, range(2 * MOST_LINES))])
    assert len(lines) == MOST_LINES
    assert lines[0] == "x" * (MOST_CHARACTERS - 1) + "…"
    assert lines[-1] == f"and {MOST_LINES + 2} more"
    assert shortened(["a"] * MOST_LINES) == ["a"] * MOST_LINES
