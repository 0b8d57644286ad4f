"""The table of units over days: who is known from before, what is built again, and what an erasure takes."""

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.experiments.units import build
from jobs.lake.lake import Lake
from jobs.lake.tables import EXPERIMENT_UNITS, EXPOSURES, INTERACTIONS
from jobs.upkeep.erasure import drop_from_lake
from serving.snapshot.tombstones import Tombstones, tombstone_line
from tests.jobs.evaluation.three_shoppers import put
from tests.jobs.experiments.declared import VARIED_HEAD, declared

FIRST = date(2026, 3, 1)
NEXT = FIRST + timedelta(days=1)
FILE = VARIED_HEAD + "    shares: {control: 0.5, varied: 0.5}\n"
LIMITS = {"places": 20, "follow_minutes": 30}


def at(day: date, hour: int) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


def stage_exposures(lake: Lake, day: date, shoppers: dict[str, str]) -> None:
    """Stage one answer of one item for each shopper, by the arm that it was made by."""
    rows = pa.table(
        {
            "request_id": [f"{day}-{user}" for user in shoppers],
            "user_id": list(shoppers),
            "item_id": ["mug"] * len(shoppers),
            "position": pa.array([0] * len(shoppers), pa.int32()),
            "ts": pa.array([at(day, 9)] * len(shoppers), pa.timestamp("us", "UTC")),
            "arms": pa.array(
                [[("varied-head", arm)] for arm in shoppers.values()], pa.map_(pa.string(), pa.string())
            ),
            "fill_level": ["user"] * len(shoppers),
            "limit": pa.array([1] * len(shoppers), pa.int32()),
        }
    )
    put(lake, EXPOSURES, day, rows)


def stage_purchases(lake: Lake, day: date, users: list[str]) -> None:
    rows = pa.table(
        {
            "interaction_id": [f"{day}-{user}" for user in users],
            "user_id": users,
            "item_id": ["pan"] * len(users),
            "event_type": ["purchase"] * len(users),
            "event_date": [day] * len(users),
            "ts": pa.array([at(day, 12)] * len(users), pa.timestamp("us", "UTC")),
            "unit_price_minor": pa.array([500] * len(users), pa.int64()),
        }
    )
    put(lake, INTERACTIONS, day, rows)


@pytest.fixture
def staged(lake: Lake) -> Lake:
    stage_exposures(lake, FIRST, {"ann": "control", "bob": "varied"})
    stage_purchases(lake, FIRST, ["bob", "eve"])
    stage_exposures(lake, NEXT, {"cat": "varied"})
    stage_purchases(lake, NEXT, ["ann", "eve"])
    return lake


def rows_of(lake: Lake, day: date) -> list[tuple[str, str, int, int]]:
    columns = ["unit_id", "arm", "request_count", "revenue_minor"]
    rows = lake.arrow(EXPERIMENT_UNITS, day, columns).sort_by("unit_id").to_pylist()
    return [tuple(row[column] for column in columns) for row in rows]


def test_units_stay_known_and_only_what_changed_is_built_again(staged: Lake, tmp_path: Path) -> None:
    file = declared(tmp_path, FILE)
    assert build(staged, NEXT, file, LIMITS) == [FIRST, NEXT], "a night that was left out is made up for"
    assert rows_of(staged, FIRST) == [("ann", "control", 1, 0), ("bob", "varied", 1, 500)]
    assert rows_of(staged, NEXT) == [("ann", "control", 0, 500), ("cat", "varied", 1, 0)]
    assert build(staged, NEXT, file, LIMITS) == []
    shutil.rmtree(Path(staged.root) / EXPOSURES / f"ds={FIRST}")
    stage_exposures(staged, FIRST, {"bob": "varied"})
    assert build(staged, NEXT, file, LIMITS) == [FIRST, NEXT], "the second day rests on the first"
    assert rows_of(staged, NEXT) == [("cat", "varied", 1, 0)]
    assert build(staged, NEXT, declared(tmp_path, ""), LIMITS) == []
    erased = Tombstones()
    erased.take([tombstone_line("bob", at(NEXT, 10).timestamp())])
    assert drop_from_lake(staged, erased) == [f"{EXPERIMENT_UNITS}/ds={FIRST}"]
