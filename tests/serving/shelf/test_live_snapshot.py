"""Following the pointer to snapshots that cannot be loaded."""

import asyncio
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from serving.shelf.item_state import ItemState
from serving.shelf.live_snapshot import LiveSnapshot
from serving.snapshot.blobs import pack
from serving.stores import open_store
from serving.stores.protocols import Store, StoredVersion
from tests.serving.running import publish_night

BAD = {
    "nothing": pack(np.zeros(0, np.int64)),
    "floats": pack(np.linspace(-1.0, 1e300, 7)),
    "other JSON": pack(np.frombuffer(b'{"a":[1]}', np.uint8)),
    "huge numbers": pack(np.full(9, 2**62, np.int64)),
    "noise": bytes(range(256)),
}


class Tampered:
    """A store of which one blob is another; `asked` are the names of all that were read."""

    def __init__(self, store: Store, blob: str, image: bytes) -> None:
        self._store, self._blob, self._image = store, blob, image
        self.pointer, self.asked = store.pointer, list[str]()

    def open(self, version: str) -> StoredVersion:
        stored = self._store.open(version)
        whole = stored.blob

        def blob(name: str) -> bytes | memoryview:
            self.asked.append(name)
            return self._image if name == self._blob else whole(name)

        stored.blob = blob  # type: ignore[method-assign]
        return stored


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_blob_of_any_kind_is_not_answered_from_and_is_told(tmp_path: Path, kind: str) -> None:
    publish_night(tmp_path, "2026-01-01")
    with closing(open_store(f"lmdb://{tmp_path}/store")) as store:
        whole = Tampered(store, "", b"")
        live = LiveSnapshot(whole, ItemState())  # type: ignore[arg-type]
        asyncio.run(live.attempt())
        assert live.trouble is None
        for blob in set(whole.asked):
            live = LiveSnapshot(Tampered(store, blob, BAD[kind]), ItemState())  # type: ignore[arg-type]
            asyncio.run(live.attempt())
            assert live.loaded is None
            assert live.trouble is not None and blob in live.trouble


def test_whatever_loading_raises_the_one_before_answers_until_another_can_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = publish_night(tmp_path, "2026-01-01")

    async def scenario() -> None:
        with closing(open_store(f"lmdb://{tmp_path}/store")) as store:
            live = LiveSnapshot(store, ItemState())
            await live.attempt()
            second = publish_night(tmp_path, "2026-01-02", seed=2)
            for step in ("shelf.live_snapshot.Snapshot", "shelf.live_snapshot.EncodedParts"):
                with monkeypatch.context() as broken:
                    broken.setattr(f"serving.{step}", lambda *_: (_ for _ in ()).throw(TypeError("unforeseen")))
                    await live.attempt()
                assert live.loaded is not None
                assert (live.loaded.snapshot.version, live.trouble) == (first, "unforeseen")
            await live.attempt()
            assert (live.loaded.snapshot.version, live.trouble) == (second, None)

    asyncio.run(scenario())
