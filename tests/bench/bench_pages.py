"""A page of five shelves in one request, beside five requests of one shelf each: whole answers of one process.

python -m tests.bench pages

Both are asked through the ASGI application, without a network, which would add its cost once for a page and five
times for single shelves. Blocks of requests take turns; the ratio is the median over pairs of blocks, of processor
time. A sixth of the products is out of stock, and every shopper viewed three products.
"""

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import numpy as np
import pyarrow as pa
from litestar.types import ASGIApp

from jobs.publishing.night_contents import NightContents
from jobs.publishing.publish import publish
from serving.api.app import build
from serving.settings import EndpointSettings
from serving.snapshot.contents import ITEM_LISTS
from serving.stores import open_store
from tests.bench.figures import Figure
from tests.bench.shop import many, user_id

USERS, ITEMS, LISTED = 4_000, 20_000, 50
BLOCK, PAIRS = 300, 15
PLACEMENTS = """
homepage:
  - {shelf: for_you, limit: 20}
  - {shelf: because_you_viewed, limit: 10}
  - {shelf: trending, in: favourite_category, limit: 10}
  - {shelf: on_sale, limit: 10}
  - {shelf: best_sellers, limit: 10}
"""


def contents() -> NightContents:
    """A night with everything that the page's shelves read."""
    night, draw = many(USERS, n_items=ITEMS), np.random.default_rng(1)
    ids = night.items["item_id"].to_pylist()
    rows = [("global", "", rank, ids[rank], 1.0) for rank in range(1, 201)]
    for shelf in ("trending", "best_sellers_30d", "on_sale"):
        found = draw.permutation(ITEMS)[:200]
        rows += [(shelf, "", rank, ids[item], 1.0) for rank, item in enumerate(found.tolist(), 1)]
    names = night.fallback.column_names
    indptr = np.arange(ITEMS + 1) * LISTED
    listed = (indptr, draw.integers(0, ITEMS, ITEMS * LISTED), np.tile(np.linspace(1, 0.1, LISTED), ITEMS))
    cut = draw.permutation(ITEMS)[: ITEMS // 5]
    usual = pa.table({"item_id": [ids[item] for item in cut], "usual_price_minor": np.full(len(cut), 1 << 40)})
    return replace(
        night,
        fallback=pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))),
        item_lists=dict.fromkeys(ITEM_LISTS, listed),
        usual_prices=usual,
    )


async def asked(app: ASGIApp, path: str, query: str) -> int:
    """Ask once; return the bytes of the body."""
    scope: dict[str, Any] = {
        "type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "path": path, "root_path": "",
        "raw_path": path.encode(), "query_string": query.encode(), "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 1),
        "headers": [(b"host", b"127.0.0.1")], "state": {}, "extensions": {},
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == 200, sent
    return sum(len(message.get("body", b"")) for message in sent)


async def seconds(app: ASGIApp, block: Sequence[Sequence[tuple[str, str]]]) -> float:
    """The processor's seconds for a block of visits, each of one request or several."""
    began = process_time()
    for visit in block:
        for path, query in visit:
            await asked(app, path, query)
    return process_time() - began


def visits(users: Sequence[int], draw: np.random.Generator) -> tuple[list[Any], list[Any]]:
    """The same visits as pages, and as five requests each."""
    pages, singles = [], []
    for user in users:
        items = draw.integers(0, ITEMS, 3).tolist()
        viewed = f"user_id={user_id(user)}&actions=" + ",".join(f"view:item-{item:05d}" for item in items)
        pages.append([("/pages/homepage", viewed)])
        plain = [("/recommendations", f"{viewed}&limit={limit}") for limit in (20, 10, 10, 10)]
        singles.append([*plain, (f"/items/item-{items[0]:05d}/similar", "limit=10")])
    return pages, singles


async def measured() -> list[Figure]:
    """How many pages a second, and their cost beside five single requests."""
    draw = np.random.default_rng(3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with closing(open_store(f"lmdb://{folder}/store")) as store:
            publish(contents(), store)
        (folder / "placements.yaml").write_text(PLACEMENTS)
        settings = EndpointSettings(
            f"lmdb://{folder}/store",
            f"{folder}/landing",
            folder / "state",
            folder / "keys.json",
            open=True,
            placements=folder / "placements.yaml",
        )
        (folder / "landing").mkdir()
        (folder / "state").mkdir()
        app = build(settings)
        started, ended = asyncio.Event(), asyncio.Event()
        lifespan = asyncio.create_task(_lifespan(app, started, ended))
        await started.wait()
        pages, singles = [], []
        for pair in range(PAIRS + 1):
            page, single = visits(draw.integers(0, USERS, BLOCK).tolist(), draw)
            took = (await seconds(app, page), await seconds(app, single))
            if pair:  # the first warms caches
                pages.append(took[0])
                singles.append(took[1])
        size = await asked(app, *page[0][0])
        ended.set()
        await lifespan
    one, five = median(pages) / BLOCK, median(singles) / BLOCK
    return [
        Figure("pages of five shelves a second, one process", 1 / one, "1/s"),
        Figure("processor time of a page", one * 1e6, "µs"),
        Figure("processor time of five single requests", five * 1e6, "µs"),
        Figure(
            "a page against five single requests", median(a / b for a, b in zip(pages, singles, strict=True)), "x"
        ),
        Figure("bytes of a page", size, "B"),
    ]


async def _lifespan(app: ASGIApp, started: asyncio.Event, ended: asyncio.Event) -> None:
    messages = iter(["lifespan.startup"])

    async def receive() -> Any:
        first = next(messages, None)
        if first is None:
            await ended.wait()
            return {"type": "lifespan.shutdown"}
        return {"type": first}

    async def send(message: Any) -> None:
        assert "failed" not in message["type"], message
        if message["type"] == "lifespan.startup.complete":
            started.set()

    await app({"type": "lifespan", "state": {}}, receive, send)  # type: ignore[arg-type,typeddict-item]


def main() -> list[Figure]:
    """The bench's figures."""
    return asyncio.run(measured())
