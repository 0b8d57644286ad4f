"""What the tests of jobs share."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from serving.stores import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty LMDB store."""
    with closing(open_store(f"lmdb://{tmp_path}/store")) as opened:
        yield opened
