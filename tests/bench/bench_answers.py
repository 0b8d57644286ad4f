"""What an answer takes with fields, details, another language or a page's origin, beside one without any of them.

    python -m tests.bench answers

Answers of 20 items by the hot route, in one process without HTTP: processor time, and bytes of body and spool. The
kinds take turns in short batches, so that other work of the machine meets all of them alike.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.publishing.publish import publish
from serving.api.app import hot_route
from serving.api.cors import with_cors
from serving.api.worker import Worker
from serving.settings import EndpointSettings
from serving.shelf.item_fields import FIELDS
from serving.stores import open_store
from tests.bench.bench_endpoint import popular_night
from tests.bench.figures import Figure, percentile
from tests.bench.shop import user_id

USERS, ITEMS, BATCH, BATCHES = 20_000, 20_000, 200, 150
ORIGIN = "https://shop.example"
RUSSIAN, FROM_PAGE = (b"accept-language", b"ru-RU,ru;q=0.9,en;q=0.8"), (b"origin", ORIGIN.encode())


@dataclass
class Kind:
    """One kind of request, and what its answers took."""

    what: str
    query: str = ""
    header: tuple[bytes, bytes] | None = None
    cpu_us: list[float] = field(default_factory=list)
    body_bytes: int = 0
    spool_bytes: int = 0


def kinds() -> list[Kind]:
    """The plain kind first: the others are measured against it."""
    return [
        Kind("plain"),
        Kind("fields=title", "&fields=title"),
        Kind("all fields", f"&fields={','.join(FIELDS)}"),
        Kind("details", "&details=true"),
        Kind("in Russian", header=RUSSIAN),
        Kind("from a page of a named origin", header=FROM_PAGE),
    ]


def asked(kind: Kind, drawn: random.Random) -> dict[str, Any]:
    """One request as an ASGI scope."""
    user = user_id(drawn.randrange(USERS))
    query = f"user_id={user}&limit=20&category=home&page=homepage&device=mobile{kind.query}".encode()
    headers = [(b"host", b"localhost"), *([kind.header] if kind.header else [])]
    path = {"path": "/recommendations", "raw_path": b"/recommendations"}
    return {"type": "http", "method": "GET", **path, "query_string": query, "headers": headers}


async def measure(worker: Worker, found: list[Kind]) -> None:
    """Ask for all kinds in turns; the first tenth of the batches is not counted."""
    await worker.live_snapshot.refresh()
    worker.landed_erasures_are_known = True
    plain = hot_route(worker, other_routes=None)  # type: ignore[arg-type]  # no other route is asked
    named, drawn = with_cors(plain, (ORIGIN,)), random.Random(1)
    sizes: list[int] = []
    spooled: list[int] = []
    worker.exposures.put = lambda line: spooled.append(len(line))  # type: ignore[method-assign]

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            sizes.append(len(message["body"]))

    for number in range(BATCHES + BATCHES // 10):
        for kind in found:
            application: Callable[..., Any] = named if kind.header == FROM_PAGE else plain
            scopes = [asked(kind, drawn) for _ in range(BATCH)]
            began = time.process_time()
            for scope in scopes:
                await application(scope, None, send)
            if number >= BATCHES // 10:
                kind.cpu_us.append((time.process_time() - began) / BATCH * 1e6)
            kind.body_bytes, kind.spool_bytes = sum(sizes) // BATCH, sum(spooled) // BATCH
            sizes.clear()
            spooled.clear()


def main() -> list[Figure]:
    """Measure all kinds over one shop."""
    found = kinds()
    with tempfile.TemporaryDirectory() as name, closing(open_store(f"lmdb://{name}/store")) as store:
        folder = Path(name)
        publish(popular_night(USERS, ITEMS), store)
        (folder / "landing").mkdir()
        settings = EndpointSettings(
            f"lmdb://{name}/store", f"{name}/landing", folder / "state", folder / "keys.json", open=True
        )
        worker = Worker(settings)
        asyncio.run(measure(worker, found))
        worker.exposures.close()
    plain = found[0]
    floor = percentile(plain.cpu_us, 0.25)
    figures = []
    for kind in found:
        figures.append(Figure(f"{kind.what}: processor", percentile(kind.cpu_us, 0.25), "µs", floor, "plain"))
        figures.append(Figure("  body", kind.body_bytes, "B", plain.body_bytes, "plain"))
        figures.append(Figure("  line of the spool", kind.spool_bytes, "B", plain.spool_bytes, "plain"))
    return figures
