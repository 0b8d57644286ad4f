from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from jobs.intraday.overlay import write_overlay
from jobs.publishing.publish import publish
from serving.shelf.overlaid import with_overlay
from serving.shelf.snapshot import Snapshot
from serving.snapshot.contents import ITEM_LISTS, ContentsError, item_list_blobs
from serving.snapshot.overlay import OverlayItem, overlay_url
from serving.stores import open_store
from serving.stores.protocols import StoredVersion
from tests.serving.item_lists import with_item_lists
from tests.serving.small_shop import night

N_ITEMS = 100


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = tmp_path_factory.mktemp("lists")
    return f"lmdb://{folder}/store"


@pytest.fixture(scope="module")
def stored(url: str) -> Iterator[StoredVersion]:
    with closing(open_store(url)) as store:
        publish(night(n_items=N_ITEMS), store)
        yield store.open(str(store.pointer().live))


def told(snapshot: Snapshot, name: str, position: int) -> list[tuple[int, float]]:
    positions, scores = snapshot.item_list(name, position)
    return list(zip(positions.tolist(), scores.tolist(), strict=True))


def test_each_item_has_the_list_that_was_published_for_it(stored: StoredVersion) -> None:
    lists = {name: {3: [(9, 0.5), (1, 0.25)], N_ITEMS - 1: [(row, 1.0)]} for row, name in enumerate(ITEM_LISTS)}
    snapshot = Snapshot(with_item_lists(stored, lists))
    for row, name in enumerate(ITEM_LISTS):
        assert snapshot.item_lists(name) is not None
        assert told(snapshot, name, 3) == [(9, 0.5), (1, 0.25)]
        assert told(snapshot, name, 4) == []
        assert told(snapshot, name, N_ITEMS - 1) == [(row, 1.0)]


def test_a_snapshot_without_a_list_answers_none_for_every_item(stored: StoredVersion) -> None:
    snapshot = Snapshot(with_item_lists(stored, {"looked_next": {3: [(9, 0.5)]}}))
    assert snapshot.item_lists("looked_next") is not None
    assert snapshot.item_lists("bought_together") is None
    assert told(snapshot, "bought_together", 3) == []


def test_an_item_that_an_overlay_added_has_none(url: str, stored: StoredVersion) -> None:
    base = Snapshot(with_item_lists(stored, {"looked_next": {3: [(9, 0.5)]}}))
    new = OverlayItem(item_id="zz-new", title="New", category="toys", price_minor=100)
    version = write_overlay(url, base.version, new_items=[new], trending=[])
    with closing(open_store(overlay_url(url))) as overlays:
        merged = with_overlay(base, overlays.open(version))
    assert merged.position("zz-new") == N_ITEMS
    assert told(merged, "looked_next", N_ITEMS) == []
    assert told(merged, "looked_next", 3) == [(9, 0.5)]


@pytest.mark.parametrize(
    ("name", "indptr", "positions", "scores", "told_as"),
    [
        ("looked_last", [0, 1, 1], [1], [1.0], "no list of items"),
        ("looked_next", [0, 1], [1], [1.0], "are of 1 items, the catalogue has 2"),
        ("looked_next", [0, 1, 1], [2], [1.0], "no lists of the catalogue's 2 items"),
        ("looked_next", [0, 1, 2], [1], [1.0], "no lists of the catalogue's 2 items"),
        ("looked_next", [0, 2, 1], [1], [1.0], "no lists of the catalogue's 2 items"),
        ("looked_next", [0, 1, 1], [1], [], "no lists of the catalogue's 2 items"),
        ("looked_next", [0, 1, 1], [1], [np.nan], "a score that is no number"),
    ],
)
def test_what_are_no_lists_of_the_catalogue_is_refused(
    name: str, indptr: list[int], positions: list[int], scores: list[float], told_as: str
) -> None:
    columns: list[NDArray[np.number]] = [np.array(indptr), np.array(positions), np.array(scores, np.float32)]
    with pytest.raises(ContentsError, match=told_as):
        list(item_list_blobs(name, *columns, 2))  # type: ignore[arg-type]
