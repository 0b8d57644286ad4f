"""Rows to land, and what is staged of them."""

from datetime import date

import pytest

from jobs.lake.lake import Lake

D1, D2, D3, D4, D5 = (date(2026, 1, n) for n in (1, 2, 3, 4, 5))

on_both_engines = pytest.mark.parametrize("engine", ["duckdb", "spark"], indirect=True)


def staged(lake: Lake, table: str, ds: date = D1) -> list[dict]:
    manifest = lake.manifest(f"staging/{table}", ds)
    return lake.arrow(f"staging/{table}", ds).to_pylist() if manifest.files else []


def event(**given) -> dict:
    return {
        "event_id": None, "user_id": "u1", "item_id": "i1", "event_type": "view", "ts": "2026-01-01T10:00:00Z",
    } | given  # fmt: skip


def csv_text(rows: list[dict]) -> str:
    def cell(value) -> str:
        return "" if value is None else '"' + str(value).replace('"', '""') + '"'

    return "\n".join([",".join(rows[0]), *(",".join(cell(value) for value in row.values()) for row in rows)]) + "\n"
