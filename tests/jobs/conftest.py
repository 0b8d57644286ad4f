"""What the tests of jobs share."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from serving.stores import open_store
from serving.stores.protocols import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty LMDB store."""
    with closing(open_store(f"lmdb://{tmp_path}/store")) as opened:
        yield opened
