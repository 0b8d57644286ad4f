"""The client reads stored shelves and imports little."""

import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from jobs.publishing.publish import publish
from serving.client import UnknownUserError, open_snapshot, read_shelf, shelf_of
from serving.snapshot.manifest import StoreError, UnknownVersionError
from serving.snapshot.tombstones import UnknownErasuresError, tombstone_line
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


def test_a_shelf_is_read_in_the_order_of_rank_with_the_nights_price_and_stock(url: str, landing: Path) -> None:
    rows = read_shelf(url, "user-1", landing=landing)
    assert [row.rank for row in rows] == list(range(1, 21))
    with open_snapshot(url, landing=landing) as snapshot:
        assert snapshot.version == version(D2, seed=1)
        for row in rows:
            position = snapshot.position(row.item_id)
            assert row.category == snapshot.category(position)
            assert row.price == ("" if position % 11 == 10 else f"{1 + position // 100}.{position % 100:02d}")
            assert row.stock == (None if position % 2 else position % 6)
        assert shelf_of(snapshot, "user-1") == rows


def test_a_named_version_is_read_in_place_of_the_live_one(url: str, landing: Path) -> None:
    assert read_shelf(url, "user-1", version(D1), landing=landing) != read_shelf(url, "user-1", landing=landing)
    with pytest.raises(UnknownVersionError, match="holds no version nowhere"):
        read_shelf(url, "user-1", "nowhere", landing=landing)


@pytest.mark.parametrize("user_id", ["stranger", "newcomer"])
def test_a_user_without_stored_items_is_refused(url: str, landing: Path, user_id: str) -> None:
    with pytest.raises(UnknownUserError, match=f"holds no shelf of '{user_id}'"):
        read_shelf(url, user_id, landing=landing)


def test_a_store_without_a_live_snapshot_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="has no live snapshot; run topshelf nightly"):
        read_shelf(f"lmdb://{tmp_path}/empty", "user-1", landing=tmp_path)


def test_reading_a_shelf_from_lmdb_imports_no_web_framework_and_no_other_driver(url: str, landing: Path) -> None:
    call = f"read_shelf({url!r}, 'user-1', landing={str(landing)!r})"
    program = f"import sys; from serving.client import read_shelf; {call}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    packages = {name.partition(".")[0] for name in done.stdout.split()}
    assert not packages & {"litestar", "uvicorn", "redis", "boto3", "pandas", "pyarrow", "pyspark", "jobs"}


def erase(landing: Path, user_id: str) -> None:
    (landing / "tombstones").mkdir(parents=True, exist_ok=True)
    with (landing / "tombstones" / "host.jsonl").open("ab") as file:
        file.write(tombstone_line(user_id, time.time()))


def test_an_erased_user_has_no_shelf_in_any_version_that_is_older_than_the_erasure(url: str, landing: Path) -> None:
    erase(landing, "user-1")
    for named in (None, version(D1)):
        with pytest.raises(UnknownUserError):
            read_shelf(url, "user-1", named, landing=landing)
    with open_snapshot(url, landing=landing) as snapshot:
        assert snapshot.packed("user-1") is None
    assert len(read_shelf(url, "user-2", landing=landing)) == 20


def test_a_version_that_carried_the_erasure_out_is_read_again(url: str, landing: Path) -> None:
    erase(landing, "user-1")
    later = "9999-01-01T00:00:00.000+00:00"
    with closing(open_store(url)) as store:
        publish(night("2026-01-03", seed=2, metrics={"erasures_until": later}), store)
    assert len(read_shelf(url, "user-1", landing=landing)) == 20


def test_without_the_folder_of_the_tombstones_nothing_is_read(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnknownErasuresError, match="--landing or TOPSHELF_LANDING"):
        read_shelf(url, "user-1", landing=tmp_path / "nowhere")
    monkeypatch.setenv("TOPSHELF_LANDING", f"{tmp_path}/elsewhere")
    with pytest.raises(UnknownErasuresError, match="elsewhere is not there"):
        read_shelf(url, "user-1")
    monkeypatch.delenv("TOPSHELF_LANDING")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownErasuresError, match="data/landing is not there"):
        read_shelf(url, "user-1")


def test_the_command_that_shows_a_shelf_shows_none_of_an_erased_user(url: str, landing: Path) -> None:
    erase(landing, "user-1")
    command = [sys.executable, "-m", "serving", "show", "--store", url, "--landing", str(landing)]
    shown = [
        subprocess.run([*command, user], capture_output=True, text=True, check=False) for user in ("user-1", "user-2")
    ]
    assert [done.returncode for done in shown] == [1, 0]
    assert "holds no shelf of 'user-1'" in shown[0].stderr
