"""The stores that the behavioural suite runs against: each is real, on this machine."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.stores import Store, open_store


@pytest.fixture(params=["lmdb"])
def open_any(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Open an empty store of each kind; every call gives another connection to the same one."""
    opened: list[Store] = []
    url = f"lmdb://{tmp_path}/store"

    def connect() -> Store:
        opened.append(open_store(url))
        return opened[-1]

    yield connect
    for store in opened:
        store.close()
