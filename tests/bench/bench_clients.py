"""What the Python client adds to a call: processor of this process for a shelf, beside httpx and a JSON reader."""

import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import httpx

from jobs.publishing.publish import publish
from serving.stores import open_store
from tests.bench.bench_endpoint import Served, endpoint, popular_night
from tests.bench.figures import Figure, percentile
from tests.bench.shop import user_id
from topshelf_client import AsyncClient, Client

USERS, ITEMS, CALLS, ROUNDS = 5_000, 5_000, 400, 9


def cost_us(ask: Callable[[str], object]) -> float:
    """Processor of a call in µs."""
    began = time.process_time()
    for number in range(CALLS):
        ask(user_id(number))
    return (time.process_time() - began) / CALLS * 1e6


async def async_cost_us(ask: Callable[[str], Awaitable[object]]) -> float:
    """The same of calls that are awaited."""
    began = time.process_time()
    for number in range(CALLS):
        await ask(user_id(number))
    return (time.process_time() - began) / CALLS * 1e6


def sync_figure(served: Served, address: str) -> Figure:
    """The sync client, in turns with httpx."""
    headers = {"authorization": f"Bearer {served.secret}"}
    ours, bare = [], []
    with Client(address, served.secret) as topshelf, httpx.Client(base_url=address, headers=headers) as http:
        for _ in range(ROUNDS):
            ours.append(cost_us(topshelf.recommend))
            bare.append(
                cost_us(lambda user: json.loads(http.get("/recommendations", params={"user_id": user}).content))
            )
    middle = (percentile(ours, 0.5), percentile(bare, 0.5))
    return Figure("a shelf of 20 items, Client", middle[0], "µs of processor", middle[1], "httpx and json")


async def async_figure(served: Served, address: str) -> Figure:
    """The async client, in turns with httpx."""
    headers = {"authorization": f"Bearer {served.secret}"}
    ours, bare = [], []
    async with (
        AsyncClient(address, served.secret) as topshelf,
        httpx.AsyncClient(base_url=address, headers=headers) as http,
    ):

        async def plain(user: str) -> object:
            return json.loads((await http.get("/recommendations", params={"user_id": user})).content)

        for _ in range(ROUNDS):
            ours.append(await async_cost_us(topshelf.recommend))
            bare.append(await async_cost_us(plain))
    middle = (percentile(ours, 0.5), percentile(bare, 0.5))
    return Figure(
        "a shelf of 20 items, AsyncClient", middle[0], "µs of processor", middle[1], "httpx and json, async"
    )


def main() -> list[Figure]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with closing(open_store(f"lmdb://{folder}/store")) as store:
            publish(popular_night(USERS, ITEMS), store)
        with endpoint(folder) as served:
            address = f"http://127.0.0.1:{served.port}"
            return [sync_figure(served, address), asyncio.run(async_figure(served, address))]
