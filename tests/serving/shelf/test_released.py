"""A snapshot that was replaced is released at once: the garbage collector rarely runs in a worker."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from jobs.intraday.overlay import write_overlay
from jobs.publishing.publish import publish
from serving.shelf import live_snapshot
from serving.shelf.fill import fill_shelf
from serving.shelf.item_state import ItemState
from serving.shelf.live_snapshot import LiveSnapshot, LoadedSnapshot
from serving.shelf.request import ShelfRequest
from serving.snapshot.overlay import OverlayItem, overlay_url
from serving.stores import open_store
from tests.serving.small_shop import night


@pytest.fixture(autouse=True)
def _without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def ask(loaded: LoadedSnapshot | None) -> list["weakref.ref[object]"]:
    """Fill every cache of a snapshot; return weak references to what answers read."""
    assert loaded is not None
    snapshot = loaded.snapshot
    for category, highest in ((None, None), ("home", 300), ("toys", None)):
        request = ShelfRequest("user-1", 20, category, price_max_minor=highest, region="DE", exclude=("item-00003",))
        filled = fill_shelf(snapshot, loaded.live, request, request_key=b"key")
        loaded.parts.items(filled.positions)
    return [weakref.ref(snapshot), weakref.ref(snapshot.base), weakref.ref(loaded.parts)]


def test_snapshots_and_their_files_are_gone_after_many_overlays_and_swaps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_snapshot, "_LINGER_S", 0.0)
    url = f"lmdb://{tmp_path}/store"
    seen: list[weakref.ref[object]] = []
    open_files: list[int] = []

    async def follow() -> None:
        with closing(open_store(url)) as store, closing(open_store(overlay_url(url))) as overlays:
            live = LiveSnapshot(store, ItemState(), overlays)
            for day in range(1, 6):
                version = publish(night(f"2026-01-{day:02d}", explores=True, seed=day), store).manifest.version
                await live.refresh()
                seen.extend(ask(live.loaded))
                for number in range(4):
                    new = OverlayItem(item_id=f"new-{number}", title="New", category="toys", price_minor=100)
                    write_overlay(url, version, new_items=[new], trending=[("item-00002", number + day)])
                    await live.refresh()
                    seen.extend(ask(live.loaded))
                await asyncio.sleep(0)  # so that what lingered is closed
                await asyncio.sleep(0)
                open_files.append(len(list(Path("/proc/self/fd").iterdir())))
            assert live.loaded is not None
            held = {id(live.loaded.snapshot), id(live.loaded.snapshot.base), id(live.loaded.parts)}
            assert {id(found) for ref in seen if (found := ref()) is not None} == held

    asyncio.run(follow())
    assert len(set(open_files[1:])) == 1, open_files
