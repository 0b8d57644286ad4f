"""The client reads stored shelves and imports little."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from jobs.publishing.publish import publish
from serving.client import UnknownUserError, open_snapshot, read_shelf, shelf_of
from serving.snapshot.manifest import StoreError, UnknownVersionError
from serving.stores import open_store
from tests.serving.small_shop import night, version

D1, D2 = "2026-01-01", "2026-01-02"


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store with two nights, the second live; one user signed up and has no items."""
    url = f"lmdb://{tmp_path}/store"
    with closing(open_store(url)) as store:
        publish(night(D1), store)
        publish(night(D2, seed=1, newcomers=[("newcomer", "DE", None, None)]), store)
    return url


def test_a_shelf_is_read_in_the_order_of_rank_with_the_nights_price_and_stock(url: str) -> None:
    rows = read_shelf(url, "user-1")
    assert [row.rank for row in rows] == list(range(1, 21))
    with open_snapshot(url) as snapshot:
        assert snapshot.version == version(D2, seed=1)
        for row in rows:
            position = snapshot.position(row.item_id)
            assert row.category == snapshot.category(position)
            assert row.price == ("" if position % 11 == 10 else f"{1 + position // 100}.{position % 100:02d}")
            assert row.stock == (None if position % 2 else position % 6)
        assert shelf_of(snapshot, "user-1") == rows


def test_a_named_version_is_read_in_place_of_the_live_one(url: str) -> None:
    assert read_shelf(url, "user-1", version(D1)) != read_shelf(url, "user-1")
    with pytest.raises(UnknownVersionError, match="holds no version nowhere"):
        read_shelf(url, "user-1", "nowhere")


@pytest.mark.parametrize("user_id", ["stranger", "newcomer"])
def test_a_user_without_stored_items_is_refused(url: str, user_id: str) -> None:
    with pytest.raises(UnknownUserError, match=f"holds no shelf of '{user_id}'"):
        read_shelf(url, user_id)


def test_a_store_without_a_live_snapshot_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="has no live snapshot; run topshelf nightly"):
        read_shelf(f"lmdb://{tmp_path}/empty", "user-1")


def test_reading_a_shelf_from_lmdb_imports_no_web_framework_and_no_other_driver(url: str) -> None:
    program = f"import sys; from serving.client import read_shelf; read_shelf({url!r}, 'user-1'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    packages = {name.partition(".")[0] for name in done.stdout.split()}
    assert not packages & {"litestar", "uvicorn", "redis", "boto3", "pandas", "pyarrow", "pyspark", "jobs"}
