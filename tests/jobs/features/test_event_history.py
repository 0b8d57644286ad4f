"""Settled events: nights that read them make the bytes that they would make of every folder."""

import random
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from jobs.config.parameters import Parameters
from jobs.features import counting, event_history
from jobs.features.event_days import event_days
from jobs.features.event_history import EventHistory, day_to_settle
from jobs.features.feature_tables import TABLES, build_if_stale
from jobs.lake.contracts import arrow_schema, contract
from jobs.lake.lake import Lake
from jobs.lake.tables import INTERACTIONS, ITEMS, SETTLED_EVENTS, USERS
from jobs.spark.engine import Engine, OnSpark
from jobs.spark.in_process import InProcess
from jobs.upkeep.erasure import drop_from_lake
from serving.snapshot.tombstones import Tombstones, tombstone_line
from tests.jobs.killed import kill_once_there_is

FIRST, LAST = date(2025, 7, 1), date(2026, 2, 10)
NIGHTS = 30
ENDS = (None, LAST - timedelta(days=14), LAST - timedelta(days=90))
"""Days after which events are counted: of all, of the newest window, and before what is settled."""
KINDS = ("impression", "click", "view", "view", "add_to_cart", "purchase", "purchase", "rating", "return")
Rows = list[dict[str, Any]]
"""Of staging/interactions, each with the day `ds` of its folder."""


def days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def events(seed: int, *, first: date = FIRST, a_day: Sequence[int] = (0, 2, 5, 9), shoppers: int = 40) -> Rows:
    """Return a shop's events from `first` on: some land late, by up to 120 days, and some take purchases back."""
    draw, number = random.Random(seed), count()
    rows = []
    for folder in days(first, LAST):
        for _ in range(draw.choice(a_day)):
            is_late = draw.random() < 0.05
            day = max(first, folder - timedelta(days=draw.randrange(1, 120))) if is_late else folder
            kind, shopper = draw.choice(KINDS), draw.choice([None, *range(shoppers)])
            rows.append(
                {
                    "ds": folder,
                    "interaction_id": f"{seed}-{next(number)}",
                    "user_id": None if shopper is None else f"u{shopper}",
                    "session_id": f"s{draw.randrange(30)}",
                    "item_id": f"i{draw.randrange(9)}",
                    "event_type": kind,
                    "ts": datetime(day.year, day.month, day.day, draw.randrange(24), draw.randrange(3)),
                    "event_date": day,
                    "value": draw.choice([None, 1.5, 4.0]) if kind in ("rating", "view") else None,
                    "quantity": draw.choice([None, Decimal(1), Decimal(3)])
                    if kind in ("purchase", "return")
                    else None,
                    "unit_price_minor": draw.choice([None, 199, 2500]) if kind == "purchase" else None,
                    "region": draw.choice([None, "UK", "FR"]),
                }
            )
    return rows


def put(lake: Lake, table: str, day: date, rows: Rows) -> None:
    """Write a day of a staging table."""
    schema = arrow_schema(contract(table))
    columns = [pa.array([row.get(field.name) for row in rows], field.type) for field in schema]
    lake.write_table(pa.table(columns, schema=schema), table, day, inputs={"rows": str(len(rows))})


def land(lake: Lake, rows: Rows, folders: Sequence[date]) -> None:
    """Stage folders of events, and a catalogue and shoppers with the first of a shop."""
    for folder in folders:
        put(lake, INTERACTIONS, folder, [row for row in rows if row["ds"] == folder])
        if not lake.days(ITEMS):
            put(lake, ITEMS, folder, [{"item_id": f"i{n}", "deleted": False, "price_minor": 100} for n in range(7)])
            put(lake, USERS, folder, [{"user_id": f"u{n}", "deleted": False} for n in range(45)])


def night(lake: Lake, ds: date, parameters: Parameters | None = None) -> dict[str, str]:
    """Build the features of a day; return the fingerprint of each table."""
    build_if_stale(lake, ds, parameters or Parameters())
    return {table: lake.manifest(table, ds).fingerprint for table in TABLES}


@pytest.fixture
def from_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, str]]:
    """Return what builds a day in a lake of its own, of nothing but a lake's staging."""
    number = count()

    def build(lake: Lake, ds: date, parameters: Parameters | None = None) -> dict[str, str]:
        other = Lake(str(tmp_path / f"scratch-{next(number)}"))
        shutil.copytree(f"{lake.root}/staging", f"{other.root}/staging")
        with monkeypatch.context() as patch:
            patch.setattr(event_history, "OLD_SHOP_DAYS", 100_000)
            found = night(other, ds, parameters)
        assert not other.days(SETTLED_EVENTS)
        return found

    return build


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def old_lake(lake: Lake) -> Lake:
    """The lake of a shop whose nights have settled what happened before."""
    land(lake, events(1), days(FIRST, LAST))
    night(lake, LAST - timedelta(days=1))
    assert lake.days(SETTLED_EVENTS)
    return lake


def test_thirty_nights_one_by_one_make_the_bytes_of_nights_from_scratch(
    lake: Lake, from_scratch: Callable[..., dict[str, str]]
) -> None:
    rows = events(1)
    first_night = LAST - timedelta(days=NIGHTS - 1)
    land(lake, rows, days(FIRST, first_night - timedelta(days=1)))
    found = {}
    for ds in days(first_night, LAST):
        land(lake, rows, [ds])
        found[ds] = night(lake, ds)
    first, second = lake.days(SETTLED_EVENTS)
    assert (second - first).days == event_history.EVERY_DAYS
    for ds in (first_night, LAST - timedelta(days=12), LAST):
        assert found[ds] == from_scratch(lake, ds), ds


def test_what_is_settled_is_the_same_bytes_of_what_was_settled_before_and_of_every_folder(lake: Lake) -> None:
    land(lake, events(2), days(FIRST, LAST))
    night(lake, LAST - timedelta(days=NIGHTS))
    night(lake, LAST)
    _, newest = lake.days(SETTLED_EVENTS)
    made = lake.manifest(SETTLED_EVENTS, newest).fingerprint
    shutil.rmtree(f"{lake.root}/{SETTLED_EVENTS}")
    shutil.rmtree(f"{lake.root}/features/item")
    night(lake, LAST)
    assert lake.days(SETTLED_EVENTS) == [newest]
    assert lake.manifest(SETTLED_EVENTS, newest).fingerprint == made


@pytest.mark.parametrize("days_back", [1, 20, 45, 100, 200])
def test_a_backfill_of_an_old_day_makes_its_bytes(
    old_lake: Lake, from_scratch: Callable[..., dict[str, str]], days_back: int
) -> None:
    ds = LAST - timedelta(days=days_back)
    shutil.rmtree(f"{old_lake.root}/features/item", ignore_errors=True)
    assert night(old_lake, ds) == from_scratch(old_lake, ds)


def written(lake: Lake) -> list[tuple[str, int]]:
    """Return the files of what is settled, with when each was written."""
    return sorted((path.name, path.stat().st_mtime_ns) for path in Path(lake.root, SETTLED_EVENTS).glob("ds=*/*"))


def test_other_weights_need_nothing_settled_again(
    old_lake: Lake, from_scratch: Callable[..., dict[str, str]]
) -> None:
    settled = written(old_lake)
    heavier = Parameters().with_values({"features.event_weight_milli.view": 2000})
    assert night(old_lake, LAST, heavier) == from_scratch(old_lake, LAST, heavier)
    assert written(old_lake) == settled


def test_an_old_folder_that_changes_is_settled_again(
    old_lake: Lake, from_scratch: Callable[..., dict[str, str]]
) -> None:
    folder = FIRST + timedelta(days=30)
    before = old_lake.manifest(SETTLED_EVENTS, old_lake.days(SETTLED_EVENTS)[0])
    put(old_lake, INTERACTIONS, folder, [row | {"ds": folder} for row in events(3)[:5]])
    assert night(old_lake, LAST) == from_scratch(old_lake, LAST)
    assert old_lake.manifest(SETTLED_EVENTS, date.fromisoformat(before.ds)).inputs != before.inputs


def test_an_erased_shopper_leaves_what_is_settled(
    old_lake: Lake, from_scratch: Callable[..., dict[str, str]]
) -> None:
    (day,) = old_lake.days(SETTLED_EVENTS)
    assert "u3" in old_lake.arrow(SETTLED_EVENTS, day)["owner"].to_pylist()
    erased = Tombstones()
    erased.take([tombstone_line("u3", datetime.combine(LAST, datetime.min.time(), UTC).timestamp())])
    assert f"{SETTLED_EVENTS}/ds={day}" in drop_from_lake(old_lake, erased)
    kept = [row for row in events(1) if row["user_id"] != "u3"]
    land(old_lake, kept, sorted({row["ds"] for row in events(1) if row["user_id"] == "u3"}))
    assert night(old_lake, LAST) == from_scratch(old_lake, LAST)
    assert "u3" not in old_lake.arrow(SETTLED_EVENTS, day)["owner"].to_pylist()


STOPS_WHILE_IT_SETTLES = f"""
import sys, time
from datetime import date
from jobs.config.parameters import Parameters
from jobs.features.feature_tables import build_if_stale
from jobs.lake.lake import Lake
write_part = Lake.write_part
def slow(self, table, ds, number, batches):
    write_part(self, table, ds, number, batches)
    if table == "{SETTLED_EVENTS}" and number == 3:
        time.sleep(600)
Lake.write_part = slow
build_if_stale(Lake(sys.argv[1]), date({LAST.year}, {LAST.month}, {LAST.day}), Parameters())
"""


def test_a_kill_while_events_are_settled_loses_nothing(
    lake: Lake, from_scratch: Callable[..., dict[str, str]]
) -> None:
    land(lake, events(1), days(FIRST, LAST))
    kill_once_there_is(f"{SETTLED_EVENTS}/ds=*/part-00003*", lake, STOPS_WHILE_IT_SETTLES)
    assert not lake.days(SETTLED_EVENTS)
    assert night(lake, LAST) == from_scratch(lake, LAST)
    assert len(lake.days(SETTLED_EVENTS)) == 1


def counted(lake: Lake, engine: Engine, ds: date, after: date | None) -> list[tuple[str, ...]]:
    with engine:
        history = EventHistory(lake, engine, event_days(lake, ds))
        found = engine.arrow(history.counted(ds, after) if after else history.counted(ds)).to_pylist()
    return sorted(
        tuple(str(row[name]).removesuffix("+00:00") for name in sorted(row)) for row in found
    )  # Spark's zone


def test_both_engines_count_the_same_of_settled_events_as_of_every_folder(
    old_lake: Lake, spark: SparkSession
) -> None:
    here = [counted(old_lake, InProcess(), LAST, after) for after in ENDS]
    there = [counted(old_lake, OnSpark(spark), LAST, after) for after in ENDS]
    shutil.rmtree(f"{old_lake.root}/{SETTLED_EVENTS}")
    of_folders = [counted(old_lake, InProcess(), LAST, after) for after in ENDS]
    assert here == there == of_folders
    assert len(of_folders[0]) > len(of_folders[1]) > 0


@pytest.mark.parametrize("seed", [5, 6])
def test_what_counts_is_the_same_where_late_events_and_limits_change_it(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(event_history, "OLD_SHOP_DAYS", 50)
    monkeypatch.setattr(counting, "ITEM_LIMIT", 2)
    monkeypatch.setattr(counting, "SHOPPER_LIMIT", 5)
    first = LAST - timedelta(days=80)
    land(lake, events(seed, first=first, a_day=(60,), shoppers=9), days(first, LAST))
    night(lake, LAST - timedelta(days=25))
    night(lake, LAST)
    assert len(lake.days(SETTLED_EVENTS)) == 2
    of_settled = [counted(lake, InProcess(), LAST, after) for after in ENDS]
    shutil.rmtree(f"{lake.root}/{SETTLED_EVENTS}")
    assert of_settled == [counted(lake, InProcess(), LAST, after) for after in ENDS]


def test_only_an_old_shop_has_events_settled() -> None:
    assert day_to_settle(FIRST, FIRST + timedelta(days=event_history.OLD_SHOP_DAYS - 1)) is None
    nights = days(FIRST + timedelta(days=event_history.OLD_SHOP_DAYS), LAST)
    settled = [day_to_settle(FIRST, ds) for ds in nights]
    assert all(day is not None and 28 <= (ds - day).days < 56 for ds, day in zip(nights, settled, strict=True))
    assert len(set(settled)) == 3
