"""The demo: a synthetic shop, its night, the endpoint, the shelves of a few shoppers, and a page to click through.

topshelf demo
"""

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from rich.table import Table

from jobs.config.parameters import Parameters
from jobs.config.settings import Settings
from jobs.config.terminal import Terminal
from jobs.example_page import check_page, example_page
from jobs.lake.lake import Lake
from jobs.night.progress import StageProgress
from jobs.night.run import nightly
from jobs.spark.session import session
from jobs.synthetic.shop import synthetic_shop

FIRST_DAY, LAST_DAY = date(2026, 1, 1), date(2026, 2, 14)
USERS, ITEMS, EVENTS, SEED = 2_000, 1_000, 60_000, 7
START_S = 30.0
PAGE_SHOPPERS = 4


class EndpointError(RuntimeError):
    """The endpoint did not start."""


def demo(folder: Path, *, stay: bool) -> None:
    """Make the shop under `folder`, run its night, request three shelves from the endpoint and print them.

    With `stay` it then serves the example page until Ctrl-C.

    Raises:
        MissingPageError: it is to stay, and this installation has no page.
        EndpointError: the endpoint did not become ready.
    """
    if stay:
        check_page()
    console = Terminal()
    settings = Settings.below(folder)
    progress = StageProgress()
    with progress.stage("synthetic shop") as stage:
        landing, truth = Path(settings.landing), folder / "truth"
        synthetic_shop(session(), landing, truth, USERS, ITEMS, EVENTS, FIRST_DAY, LAST_DAY, SEED)
        stage.note = f"about {USERS:,} shoppers, {ITEMS:,} products, {EVENTS:,} events in {landing}"
    night = nightly(settings, Parameters(), LAST_DAY, progress)
    console.print(f"{night.version}: {night.reason}")
    lake = Lake(settings.lake)
    with contextlib.ExitStack() as running:
        if stay:
            page = running.enter_context(example_page())
            address = running.enter_context(endpoint(settings, "--cors-origins", page.origin))
        else:
            address = running.enter_context(endpoint(settings))
        print_shelves(console, lake, address)
        if stay:
            shoppers = regulars(lake)
            shoppers = shoppers[:: max(1, len(shoppers) // PAGE_SHOPPERS)][:PAGE_SHOPPERS]
            console.print(f"See it as a shop: {page.address(address, shoppers)}\nCtrl-C ends it.", soft_wrap=True)
            wait_for_ctrl_c()
    console.print(
        f"Try it yourself:\n  .venv/bin/topshelf serve --store {settings.store} --landing {settings.landing}\n"
        f"  curl 'http://127.0.0.1:8000/recommendations?user_id={regulars(lake)[0]}&limit=5'",
        soft_wrap=True,  # commands are copied whole
    )


def print_shelves(console: Terminal, lake: Lake, address: str) -> None:
    """Print the shelves of a regular, of somebody new, and of a regular who looks for something."""
    user_id, (category, price) = regulars(lake)[0], category_and_price(lake)
    requests = {
        f"A regular, {user_id}": {"user_id": user_id},
        "Somebody new": {"user_id": "first-visit"},
        f"{user_id} looking for {category} up to {price}": {
            "user_id": user_id,
            "category": category,
            "price_max": price,
        },
    }
    for heading, query in requests.items():
        console.print(shelf_table(heading, request_shelf(address, query | {"limit": "8"}), titles(lake)))


def wait_for_ctrl_c() -> None:
    """Wait until the demo is interrupted."""
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()


def regulars(lake: Lake) -> list[str]:
    """Return shoppers with a long history, the longest first, without the top fiftieth."""
    users = lake.arrow("features/user", LAST_DAY, ["user_id", "purchase_count_total"])
    users = users.sort_by([("purchase_count_total", "descending"), ("user_id", "ascending")])
    return [str(user_id) for user_id in users["user_id"][len(users) // 50 :].to_pylist()]


def category_and_price(lake: Lake) -> tuple[str, str]:
    """Return the top category of the product that is liked most, and the median price."""
    items = lake.arrow("features/item", LAST_DAY, ["category", "price_minor", "weight_30d"])
    items = items.sort_by([("weight_30d", "descending"), ("category", "ascending")])
    category = str(items["category"][0]).split("/")[0]
    prices = sorted(price for price in items["price_minor"].to_pylist() if price is not None)
    return category, f"{prices[len(prices) // 2] / 100:.2f}"


def titles(lake: Lake) -> dict[str, tuple[str, str, int | None]]:
    """Return (title, category, price in minor units) by item id."""
    columns = ["item_id", "title", "category", "price_minor"]
    rows = lake.arrow("features/item", LAST_DAY, columns).to_pylist()
    return {row["item_id"]: (row["title"], row["category"], row["price_minor"]) for row in rows}


@contextlib.contextmanager
def endpoint(settings: Settings, *options: str) -> Iterator[str]:
    """Run the endpoint on a free port of this machine until the block ends; give its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "serving", "serve", "--port", str(port)]
    command += ["--store", settings.store, "--landing", settings.landing, *options]
    process = subprocess.Popen(command)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(process, address)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=START_S)


def wait_until_ready(process: subprocess.Popen[bytes], address: str) -> None:
    """Wait until `/readyz` answers.

    Raises:
        EndpointError: the process ended, or START_S passed.
    """
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise EndpointError(f"the endpoint ended with status {process.returncode}; its output is above")
        try:
            with urllib.request.urlopen(f"{address}/readyz", timeout=2):  # noqa: S310  a loopback address of ours
                return
        except OSError:
            time.sleep(0.1)  # not listening yet, or not ready
    raise EndpointError(f"{address}/readyz did not answer within {START_S:.0f} s")


def request_shelf(address: str, query: dict[str, str]) -> dict[str, Any]:
    """Return the endpoint's answer for one shopper."""
    url = f"{address}/recommendations?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  a loopback address of ours
        return dict(json.load(answer))


def shelf_table(heading: str, answer: dict[str, Any], known: dict[str, tuple[str, str, int | None]]) -> Table:
    """Lay an answer out as a table."""
    table = Table(title=heading, title_justify="left", title_style="bold")
    table.add_column("#", justify="right")
    table.add_column("product", no_wrap=True, max_width=30)
    table.add_column("price", justify="right", no_wrap=True, min_width=7)
    table.add_column("reason")
    for rank, row in enumerate(answer["recommendations"], start=1):
        title, _, price = known[row["item_id"]]
        shown = "" if price is None else f"{price / 100:.2f}"
        table.add_row(str(rank), title or row["item_id"], shown, row["reason"])
    return table
