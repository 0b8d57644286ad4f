"""Counting where rows are many: what cases of a few rows do not show."""

from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa

from jobs.features.counting import counted_events
from jobs.lake.contracts import arrow_schema, contract
from jobs.lake.lake import without_zones
from jobs.lake.tables import INTERACTIONS
from jobs.spark.in_process import InProcess

DAY = date(2026, 1, 31)
NOON = datetime(2026, 1, 31, 12)


def staged(shoppers: int, *events: tuple[str, int]) -> pa.Table:
    """Return these events (type, quantity) of every shopper with one item, all of one moment."""
    schema = without_zones(arrow_schema(contract(INTERACTIONS))).append(pa.field("ds", pa.date32()))
    n = shoppers * len(events)
    columns = {
        "user_id": [f"u{shopper}" for shopper in range(shoppers) for _ in events],
        "item_id": ["mug"] * n,
        "event_type": [event_type for event_type, _ in events] * shoppers,
        "quantity": [Decimal(quantity) for _, quantity in events] * shoppers,
        "ts": [NOON] * n,
        "event_date": [DAY] * n,
        "ds": [DAY] * n,
    }
    return pa.table([pa.array(columns.get(field.name, [None] * n), field.type) for field in schema], schema=schema)


def pieces(interactions: pa.Table) -> dict[tuple[int, int], int]:
    """Return how many shoppers have so many purchases, of so many pieces, that count."""
    with InProcess() as engine:
        counted = counted_events(engine, engine.table(interactions), DAY)
        of_shoppers = engine.select(
            "SELECT user_id, COUNT(*) AS n, SUM(quantity_milli) DIV 1000 AS q FROM counted GROUP BY user_id",
            {"counted": counted},
        )
        rows = engine.arrow(of_shoppers).to_pylist()
    found: dict[tuple[int, int], int] = {}
    for row in rows:
        found[row["n"], row["q"]] = found.get((row["n"], row["q"]), 0) + 1
    return found


def test_equal_purchases_of_many_shoppers_all_count() -> None:
    assert pieces(staged(60_000, ("purchase", 1), ("purchase", 1), ("purchase", 1))) == {(3, 3): 60_000}


def test_a_return_takes_one_of_equal_purchases_whichever_comes_first() -> None:
    events = [("purchase", 2), ("purchase", 2), ("purchase", 2), ("return", 3)]
    assert pieces(staged(60_000, *events)) == {(2, 3): 60_000}
