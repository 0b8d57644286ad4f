"""A shopper's own lists read for an answer: what fails is named, and nothing is read for the erased."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from jobs.publishing.publish import publish
from serving.shelf.item_state import LiveItems
from serving.shelf.own_lists import read_own_lists
from serving.shelf.request import ShelfRequest
from serving.shelf.snapshot import Snapshot
from serving.shelf.trace import trace
from serving.snapshot.manifest import StoreError
from serving.snapshot.own_lists import NO_OWN_LISTS, OWN_LISTS
from serving.snapshot.record import record_key
from serving.stores import open_store
from serving.stores.protocols import StoredVersion
from tests.serving.small_shop import night


class Altered:
    """A stored version whose records of lists are replaced, or fail to be read."""

    def __init__(self, stored: StoredVersion) -> None:
        self._stored = stored
        self.record: bytes | StoreError | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._stored, name)

    def look_up(self, key: bytes) -> bytes | None:
        if not key.endswith(b"\xff" + OWN_LISTS.encode()) or self.record is None:
            return self._stored.look_up(key)
        if isinstance(self.record, StoreError):
            raise self.record
        return self.record


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Altered]:
    with closing(open_store(f"lmdb://{tmp_path}/store")) as store:
        publish(night(lists=True), store)
        yield Altered(store.open(str(store.pointer().live)))


def owner_of(stored: Altered) -> str:
    users = [f"user-{number}" for number in range(1, 9)]
    return next(user for user in users if stored.look_up(record_key(user, OWN_LISTS)) is not None)


def test_a_shopper_has_both_lists_and_a_stranger_none(stored: Altered) -> None:
    snapshot, degraded = Snapshot(stored), list[str]()
    lists = read_own_lists(snapshot, owner_of(stored), degraded)
    assert len(lists.recently_viewed[0]) == len(lists.recently_viewed[1]) > 0
    assert not set(lists.buy_again[0]) & set(lists.recently_viewed[0])
    assert read_own_lists(snapshot, "stranger", degraded) is NO_OWN_LISTS
    assert degraded == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda record: StoreError("the store is gone"), "store_unavailable"),
        (lambda record: b"\x02" + record[1:], "record_newer"),
        (lambda record: record[:-1], "record_unreadable"),
        (lambda record: record[:5] + b"\xfe\xff\xff" + record[8:], "record_unreadable"),  # an item of no catalogue
    ],
)
def test_a_failure_gives_empty_lists_and_its_name(stored: Altered, change: object, named: str) -> None:
    user = owner_of(stored)
    record = stored.look_up(record_key(user, OWN_LISTS))
    assert callable(change)
    stored.record = change(record)
    degraded = ["before"]
    assert read_own_lists(Snapshot(stored), user, degraded) is NO_OWN_LISTS
    assert degraded == ["before", named]


def test_a_trace_tells_the_stored_shelf_and_nothing_of_the_lists(stored: Altered) -> None:
    snapshot, user = Snapshot(stored), owner_of(stored)
    shelf = snapshot.shelf(user)
    assert shelf is not None
    traced = trace(snapshot, LiveItems(snapshot), ShelfRequest(user_id=user, limit=20))
    assert [snapshot.position(of.item_id) for of in traced.candidates] == shelf.positions.tolist()
    stored.record = StoreError("the store is gone")
    assert trace(snapshot, LiveItems(snapshot), ShelfRequest(user_id=user, limit=20)) == traced
