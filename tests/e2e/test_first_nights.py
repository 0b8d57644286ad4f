"""First nights of shops that lack nearly everything: each gets a snapshot that answers, full where products exist."""

import asyncio
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import httpx
import pytest
from pyspark.sql import SparkSession

from jobs.config.parameters import Parameters
from jobs.config.settings import Settings
from jobs.features import missing
from jobs.features.missing import what_is_missing
from jobs.lake.lake import Lake
from jobs.night.run import nightly
from serving.api.app import build
from serving.settings import EndpointSettings

DS = date(2026, 1, 31)
HEADER = "user_id,session_id,item_id,event_type,ts\n"
pytestmark = pytest.mark.usefixtures("nothing_compiled")


@dataclass(frozen=True)
class FirstNight:
    """What a shop lands before its first night, and what comes of it."""

    items: dict[str, str]
    """Rows of items.csv by day: item_id, title, category, price, stock, deleted."""
    events: str = ""
    """Rows of events.csv on DS, after HEADER."""
    lacks: list[str] = field(default_factory=list)
    answers: int = 3
    """How many products an answer of up to 20 has."""


def shelf(stock: int = 4, last: int = 3, deleted: str = "") -> str:
    return "".join(f"p{n},Mug {n},home/mugs,{n}.50,{stock},{deleted}\n" for n in range(1, last + 1))


GUESTS = "".join(f",s{n},p{1 + (n + step) % 3},view,2026-01-31T1{step}:00:00Z\n" for n in range(4) for step in (0, 1))
KNOWN = "".join(f"u{n},,p{1 + n % 3},purchase,2026-01-31T10:00:00Z\n" for n in range(6))
SHOPS = {
    "a catalogue alone": FirstNight({"2026-01-28": shelf()}, lacks=[missing.NO_EVENT]),
    "guests alone": FirstNight({"2026-01-28": shelf()}, GUESTS, [missing.NO_SHOPPER]),
    "one event": FirstNight({"2026-01-28": shelf()}, KNOWN.splitlines(keepends=True)[0]),
    "one product": FirstNight(
        {"2026-01-28": shelf(last=1)}, KNOWN.replace("p2", "p1").replace("p3", "p1"), answers=1
    ),
    "sold out": FirstNight({"2026-01-28": shelf(stock=0)}, KNOWN, [missing.NO_STOCK], 0),
    "all deleted": FirstNight(
        {"2026-01-28": shelf(), "2026-01-31": shelf(deleted="true")}, KNOWN, [missing.NO_PRODUCT], 0
    ),
}


def landed(folder: Path, shop: FirstNight) -> Settings:
    """Land what the shop has; its events begin days after its catalogue."""
    settings = Settings.below(folder)
    for table, day, name, content in [
        *(
            ("items", day, "items.csv", f"item_id,title,category,price,stock,deleted\n{rows}")
            for day, rows in shop.items.items()
        ),
        ("events", str(DS), "events.csv", HEADER + shop.events),
    ]:
        of_day = Path(settings.landing) / table / f"ds={day}"
        of_day.mkdir(parents=True)
        (of_day / "_SUCCESS").touch()
        if content != HEADER:
            (of_day / name).write_text(content)
    return settings


async def _answers(settings: Settings, folder: Path, paths: list[str]) -> list[httpx.Response]:
    """Ask an endpoint that runs within this process."""
    places = {"store": settings.store, "landing": settings.landing, "keys": folder / "keys.json"}
    application = build(EndpointSettings(state=folder / "state", open=True, **places))  # type: ignore[arg-type]
    asked: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    told: asyncio.Queue[object] = asyncio.Queue()
    running = asyncio.create_task(application({"type": "lifespan", "state": {}}, asked.get, told.put))  # type: ignore[arg-type, typeddict-item]
    await asked.put({"type": "lifespan.startup"})
    await told.get()
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        found = [await client.get(path) for path in paths]
    await asked.put({"type": "lifespan.shutdown"})
    await running
    return found


SLOW = ("one event", "one product", "all deleted")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in SHOPS]
)
def test_a_shop_that_lacks_nearly_everything_has_a_night_whose_snapshot_answers(
    spark: SparkSession, tmp_path: Path, name: str
) -> None:
    shop = SHOPS[name]
    settings = landed(tmp_path, shop)
    night = nightly(settings, Parameters().with_values({"shelves.top_n": 20}), DS)
    assert night.live, night.reason
    assert what_is_missing(Lake(settings.lake), DS) == "; ".join(shop.lacks)
    (features,) = (timing for timing in night.timings if timing.name == "features")
    assert features.remarks == ["; ".join(shop.lacks)] * bool(shop.lacks)
    asked = ["/recommendations?user_id=u0", "/recommendations?user_id=stranger", "/recommendations?category=home"]
    for answer in asyncio.run(_answers(settings, tmp_path, asked)):
        assert answer.status_code == 200, answer.text
        ids = [row["item_id"] for row in answer.json()["recommendations"]]
        assert ids == sorted(set(ids), key=ids.index)
        assert len(ids) == shop.answers
        assert "degraded" not in answer.json()
