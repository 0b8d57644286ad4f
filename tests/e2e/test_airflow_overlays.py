"""What the DAGs of the day do, end to end: what trends and what is new reaches the endpoint's answers."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jobs.config.settings import Settings
from jobs.demo import endpoint, request_shelf
from tests.e2e.airflow_stack import ROOT, wait_until
from tests.e2e.conftest import DAY, Shop


@dataclass(frozen=True)
class Open:
    """An endpoint that answers from the shop's night, with a landing and a store of its own."""

    settings: Settings
    address: str

    def shelf(self) -> list[dict[str, Any]]:
        answer = request_shelf(self.address, {"user_id": "nobody-knows-me", "limit": "20"})
        return list(answer["recommendations"])

    def similar(self, item_id: str) -> list[str]:
        try:
            with urllib.request.urlopen(f"{self.address}/items/{item_id}/similar?limit=10", timeout=10) as answer:
                return [row["item_id"] for row in json.load(answer)["recommendations"]]
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return []
            raise

    def run(self, job: str) -> str:
        """Run a job as its DAG does; return what it printed."""
        env = os.environ | {
            "TOPSHELF_LANDING": self.settings.landing,
            "TOPSHELF_LAKE": self.settings.lake,
            "TOPSHELF_STORE": self.settings.store,
        }
        done = subprocess.run(
            [sys.executable, "-m", "jobs", job], env=env, cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout


@pytest.fixture
def opened(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    monkeypatch.setenv("TOPSHELF_EXPLORE_SHARE", "0")  # a slot of chance could show what has yet to trend
    store = tmp_path / "store"
    shutil.copytree(shop.settings.store.removeprefix("lmdb://"), store)
    settings = shop.settings.model_copy(update={"landing": str(tmp_path / "landing"), "store": f"lmdb://{store}"})
    Path(settings.landing).mkdir()
    with endpoint(settings) as address:
        yield Open(settings, address)


def test_what_shoppers_do_now_trends_in_answers_after_the_next_run(opened: Open, shop: Shop) -> None:
    items = shop.lake.arrow("features/item", DAY, ["item_id", "stock", "weight_30d"]).to_pylist()
    in_stock = sorted((row for row in items if row["stock"]), key=lambda row: (row["weight_30d"], row["item_id"]))
    hot = str(in_stock[0]["item_id"])
    assert hot not in {row["item_id"] for row in opened.shelf()}
    assert "stay" in opened.run("trending")
    began = time.monotonic()
    lines = "".join(
        json.dumps({"event_id": f"e-{n}", "user_id": f"u-{n}", "item_id": hot, "event_type": "purchase"}) + "\n"
        for n in range(30)
    )
    send = urllib.request.Request(f"{opened.address}/events", lines.encode(), method="POST")
    with urllib.request.urlopen(send, timeout=10) as taken:
        assert taken.status == 202
    today = Path(opened.settings.landing, "events", f"ds={datetime.now(UTC).date()}")
    wait_until(lambda: any(path.read_bytes().count(b"\n") == 30 for path in today.glob("*.jsonl")), "the lander", 30)
    told = opened.run("trending")
    assert f"{hot} most" in told, told
    first = wait_until(lambda: [row for row in opened.shelf() if row["item_id"] == hot], "the trend in answers", 30)
    assert "rending" in first[0]["reason"]
    sys.stdout.write(f"from event to answer: {time.monotonic() - began:.1f} s, its run started at once\n")


def test_a_product_that_lands_by_day_is_found_with_its_likes_after_the_next_run(opened: Open, shop: Shop) -> None:
    item = shop.lake.arrow("features/item", DAY, ["title", "category", "brand", "price_minor"]).to_pylist()[5]
    new = {"item_id": "brand-new", "title": item["title"], "category": item["category"], "brand": item["brand"]}
    assert opened.similar("brand-new") == []
    began = time.monotonic()
    folder = Path(opened.settings.landing, "items", f"ds={datetime.now(UTC).date()}")
    folder.mkdir(parents=True)
    line = new | {"price": str(item["price_minor"] / 100), "stock": 5}
    (folder / "new.jsonl").write_text(json.dumps(line) + "\n")
    told = opened.run("new-items")
    assert "1 new items" in told, told
    near = wait_until(lambda: opened.similar("brand-new"), "the new item in answers", 30)
    assert len(near) >= 3
    known = shop.lake.arrow("features/item", DAY, ["item_id", "category"]).to_pylist()
    categories = {row["item_id"]: row["category"] for row in known}
    top = item["category"].split("/")[0]
    assert sum(categories[found].split("/")[0] == top for found in near) * 2 > len(near)
    sys.stdout.write(f"from landing to answer: {time.monotonic() - began:.1f} s, its run started at once\n")
