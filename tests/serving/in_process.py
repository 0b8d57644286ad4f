"""The endpoint's application in this process, for tests and benches that look between two turns of its loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from serving.api.app import build
from serving.settings import EndpointSettings


@asynccontextmanager
async def started(folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Start the application on the store in a folder; yield a client of it, which needs no key."""
    places = {"store": f"lmdb://{folder}/store", "landing": str(folder / "landing"), "keys": folder / "keys.json"}
    application: Any = build(EndpointSettings(state=folder / "state", open=True, **places))
    begun, ending = asyncio.Event(), asyncio.Event()
    messages = [("lifespan.startup", None), ("lifespan.shutdown", ending)]

    async def receive() -> dict[str, str]:
        name, waits_for = messages.pop(0)
        if waits_for is not None:
            await waits_for.wait()
        return {"type": name}

    async def send(message: dict[str, str]) -> None:
        assert message["type"] in {"lifespan.startup.complete", "lifespan.shutdown.complete"}, message
        begun.set()

    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    life = asyncio.create_task(application(scope, receive, send))
    await begun.wait()
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client
    ending.set()
    await life
