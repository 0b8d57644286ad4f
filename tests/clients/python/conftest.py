"""Both Python clients, called alike, and an endpoint for them."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving.running import Server, publish_night, serving
from topshelf_client import AsyncClient, Client


class Awaited:
    """An AsyncClient whose methods wait for their answers; an iterator is read to its end."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = AsyncClient(*args, **options)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*args: Any, **options: Any) -> Any:
            async def answer() -> Any:
                result = method(*args, **options)
                return [row async for row in result] if hasattr(result, "__aiter__") else await result

            return self._loop.run_until_complete(answer())

        return call

    def close(self) -> None:
        self._loop.run_until_complete(self._client.aclose())
        self._loop.close()


MakeClient = Callable[..., Any]


@pytest.fixture(params=[Client, Awaited], ids=["sync", "async"])
def client(request: pytest.FixtureRequest) -> Iterator[MakeClient]:
    """Makes a client of either kind, and closes it."""
    made = []

    def make(address: str, key: str | None = None, **options: Any) -> Any:
        made.append(request.param(address, key, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests that change nothing another would see."""
    folder: Path = tmp_path_factory.mktemp("clients")
    publish_night(folder, "2026-01-01")
    with serving(folder, "--explore-share", "0", keyed=True) as server:
        yield server
