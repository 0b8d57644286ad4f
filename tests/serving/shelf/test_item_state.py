import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.intraday.overlay import write_overlay
from jobs.publishing.publish import publish
from serving.logs.file_log import FileLog
from serving.logs.lander_process import live_item_ids
from serving.shelf.item_state import TAKEN_BACK, ItemChange, ItemState, LiveItems, compacted, encode_changes
from serving.shelf.overlaid import with_overlay
from serving.shelf.snapshot import Snapshot
from serving.snapshot.blobs import Strings
from serving.snapshot.overlay import OverlayItem, overlay_url
from serving.snapshot.string_lookup import rows_of
from serving.stores import open_store
from tests.serving.small_shop import night


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    folder: Path = tmp_path_factory.mktemp("state")
    with closing(open_store(f"lmdb://{folder}/store")) as store:
        publish(night(), store)
        return Snapshot(store.open(str(store.pointer().live)))


class Worker:
    """The state as one worker of a host holds it, beside the log that all append to."""

    def __init__(self, folder: Path, snapshot: Snapshot | None = None) -> None:
        self.log, self.state = FileLog(folder, "items"), ItemState()
        self._reader = self.log.reader()
        self.follow()
        if snapshot is not None:
            self.bind(snapshot)

    def bind(self, snapshot: Snapshot) -> LiveItems:
        bound = self.state.bind(snapshot)
        self.state.use(bound)
        self.live = bound.live
        return self.live

    def follow(self) -> int:
        taken = 0
        while block := self._reader.read():
            self.state.take(block.splitlines())
            taken += block.count(b"\n")
        return taken

    def append(self, changes: list[ItemChange]) -> None:
        self.log.append(encode_changes(changes))
        self.follow()

    def close(self) -> None:
        self._reader.close()


def bound(folder: Path, snapshot: Snapshot) -> tuple[Worker, LiveItems]:
    worker = Worker(folder, snapshot)
    return worker, worker.live


def test_a_change_is_live_at_once_and_after_a_restart(tmp_path: Path, snapshot: Snapshot) -> None:
    state, live = bound(tmp_path, snapshot)
    state.append([ItemChange("item-00001", 1_000, price_minor=77, stock=0)])
    for _ in range(2):
        assert (live.price_minor[1], live.stock[1], bool(live.servable[1])) == (77, 0, False)
        state.close()
        state, live = bound(tmp_path, snapshot)


def test_what_the_feed_does_not_name_stays_as_the_night_saw_it(tmp_path: Path, snapshot: Snapshot) -> None:
    state, live = bound(tmp_path, snapshot)
    state.append([ItemChange("item-00002", 1_000, stock=9)])
    assert live.price_minor[2] == snapshot.price_minor[2]
    assert live.stock[2] == 9
    assert live.price_minor[3] == snapshot.price_minor[3]


def test_a_value_that_is_taken_back_is_the_nights_again_also_in_a_folded_log(snapshot: Snapshot) -> None:
    rows = [
        ItemChange("item-00001", 1_000, price_minor=77, stock=0, hidden=True),
        ItemChange("item-00001", 2_000, price_minor=TAKEN_BACK, stock=TAKEN_BACK, hidden=False),
        ItemChange("item-00001", 1_500, price_minor=78, stock=0, hidden=True),  # older: it comes too late
    ]
    at_once, folded = ItemState(), ItemState()
    live = at_once.bind(snapshot)
    at_once.use(live)
    at_once.take(encode_changes(rows).splitlines())
    folded.take(compacted(encode_changes(rows[:2])).splitlines())
    folded.take(encode_changes(rows[2:]).splitlines())
    for columns in (live.live, folded.bind(snapshot).live):
        assert (columns.price_minor[1], columns.stock[1]) == (snapshot.price_minor[1], snapshot.stock[1])
        assert columns.servable[1]


def test_an_item_that_is_hidden_is_not_servable_until_it_is_shown_again(tmp_path: Path, snapshot: Snapshot) -> None:
    state, live = bound(tmp_path, snapshot)
    state.append([ItemChange("item-00001", 1_000, hidden=True)])
    assert not live.servable[1]
    state.append([ItemChange("item-00001", 2_000, hidden=False)])
    assert live.servable[1]


def test_an_item_that_only_a_later_snapshot_has_is_taken_then(tmp_path: Path, snapshot: Snapshot) -> None:
    worker = Worker(tmp_path)
    worker.append([ItemChange("item-00099", 1_000, stock=0), ItemChange("never", 1_000, stock=0)])
    bound_state = worker.state.bind(snapshot)
    worker.append([ItemChange("item-00098", 1_000, stock=0)])  # while the snapshot was being bound
    worker.state.use(bound_state)
    assert not bound_state.live.servable[[98, 99]].any()


def test_another_worker_of_the_host_sees_a_change_when_it_next_looks(tmp_path: Path, snapshot: Snapshot) -> None:
    writer, _ = bound(tmp_path, snapshot)
    reader, live = bound(tmp_path, snapshot)
    writer.append([ItemChange("item-00005", 1_000, price_minor=5)])
    assert reader.follow() == 1
    assert live.price_minor[5] == 5


changes = st.lists(
    st.builds(
        ItemChange,
        item_id=st.sampled_from(["item-00001", "item-00002", "ghost"]),
        ts=st.integers(0, 5),
        price_minor=st.one_of(st.none(), st.integers(0, 500)),
        stock=st.one_of(st.none(), st.integers(0, 3)),
        hidden=st.one_of(st.none(), st.booleans()),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(rows=changes)
def test_the_last_writer_wins_field_by_field_by_its_own_ts(
    tmp_path_factory: pytest.TempPathFactory, snapshot: Snapshot, rows: list[ItemChange]
) -> None:
    state, live = bound(tmp_path_factory.mktemp("lww"), snapshot)
    for row in rows:
        state.append([row])
    for position, item_id in ((1, "item-00001"), (2, "item-00002")):
        newest: dict[str, tuple[int, int]] = {}
        for row in rows:
            for name in ("price_minor", "stock", "hidden"):
                value = getattr(row, name)
                if row.item_id == item_id and value is not None and row.ts >= newest.get(name, (-1, 0))[0]:
                    newest[name] = (row.ts, int(value))
        price = newest.get("price_minor", (0, int(snapshot.price_minor[position])))[1]
        stock = newest.get("stock", (0, int(snapshot.stock[position])))[1]
        assert live.price_minor[position] == price
        assert live.stock[position] == stock
        assert bool(live.servable[position]) == (stock != 0 and newest.get("hidden", (0, 0))[1] == 0)
    state.close()


def test_a_line_torn_by_a_crash_is_cut_off_and_nothing_after_it_is_lost(tmp_path: Path, snapshot: Snapshot) -> None:
    state, _ = bound(tmp_path, snapshot)
    state.append([ItemChange("item-00001", 1_000, price_minor=11)])
    with state.log.path(1).open("ab") as log:
        log.write(b'{"item_id":"item-0000')
    state.append([ItemChange("item-00002", 1_000, price_minor=22)])
    state.close()
    _, live = bound(tmp_path, snapshot)
    assert live.price_minor[[1, 2]].tolist() == [11, 22]


def test_a_log_that_repeats_itself_is_folded_and_a_worker_that_follows_it_goes_on(
    tmp_path: Path, snapshot: Snapshot
) -> None:
    state, _ = bound(tmp_path, snapshot)
    other, live = bound(tmp_path, snapshot)
    for ts in range(3):
        state.append([ItemChange("item-00001", ts * 10_000 + n, price_minor=n) for n in range(10_000)])
    before = state.log.size()
    state.log.fold(compacted)
    assert state.log.size() < before / 100
    again, fresh = bound(tmp_path, snapshot)
    assert fresh.price_minor[1] == 9_999
    again.append([ItemChange("item-00002", 1, stock=0)])
    other.follow()
    assert (live.price_minor[1], live.stock[2]) == (9_999, 0)
    state.append([ItemChange("item-00003", 1, price_minor=3)])  # it had the old segment open
    other.follow()
    assert live.price_minor[3] == 3


@settings(max_examples=60, deadline=None)
@given(rows=changes, cut=st.integers(0, 25))
def test_a_folded_log_leaves_the_same_state_whenever_it_is_folded(
    snapshot: Snapshot, rows: list[ItemChange], cut: int
) -> None:
    plain, after = ItemState(), ItemState()
    plain.take(encode_changes(rows).splitlines())
    after.take(compacted(encode_changes(rows[:cut])).splitlines())
    after.take(encode_changes(rows[cut:]).splitlines())
    # As sets: a row that says nothing of an item is dropped by folding, so the item may come later in the order.
    assert set(plain.lines().splitlines()) == set(after.lines().splitlines())


DAY_MS = 24 * 3600 * 1000


def fed(*changes: ItemChange) -> ItemState:
    state = ItemState()
    state.take(encode_changes(changes).splitlines())
    return state


def known(state: ItemState) -> set[str]:
    return {json.loads(line)["item_id"] for line in state.lines().splitlines()}


def test_positions_are_looked_up_anew_only_for_other_items(
    tmp_path: Path, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[int] = []

    def counted(column: Strings, item_ids: Sequence[str]) -> np.ndarray:
        looked_up.append(len(item_ids))
        return rows_of(column, item_ids)

    monkeypatch.setattr("serving.shelf.item_state.rows_of", counted)
    url = f"lmdb://{tmp_path}/store"
    state = fed(*(ItemChange(name, 1, stock=0) for name in ("item-00002", "new-1", "new-2", "never")))

    def bound(to: Snapshot) -> LiveItems:
        made = state.bind(to, now_s=0.0)
        state.take(encode_changes([ItemChange("item-00003", 2, stock=0)]).splitlines())
        state.use(made)
        assert not made.live.servable[[2, 3]].any()
        return made.live

    def over(*names: str) -> Snapshot:
        new = [OverlayItem(item_id=name, title="New", stock=5) for name in names]
        write_overlay(url, base.version, new_items=new)
        with closing(open_store(overlay_url(url))) as store, closing(store.open(str(store.pointer().live))) as stored:
            return with_overlay(base, stored)

    with closing(open_store(url)) as store:
        base = Snapshot(store.open(publish(night("2026-02-01"), store).manifest.version))
        bound(base)
        first, second = bound(over("new-1")), bound(over("new-2", "new-1"))
        assert not first.servable[100]
        assert not second.servable[[100, 101]].any()
        assert len(bound(base).servable) == 100
        next_night = Snapshot(store.open(publish(night("2026-02-02", seed=1), store).manifest.version))
        bound(next_night)  # other shelves, the same items
        assert looked_up == [4]
        larger = Snapshot(store.open(publish(night("2026-02-03", n_items=120), store).manifest.version))
        bound(larger)
        assert looked_up == [4, 5]


def test_an_item_that_no_catalogue_has_known_for_a_week_is_forgotten_unless_it_is_hidden(snapshot: Snapshot) -> None:
    changes = [
        ItemChange("item-00001", 0, stock=0),  # the catalogue knows it
        ItemChange("gone", 0, stock=1),
        ItemChange("hidden", 0, stock=1, hidden=True),
        ItemChange("shown again", 0, stock=1, hidden=False),
        ItemChange("coming", 2 * DAY_MS, price_minor=5),
    ]
    state = fed(*changes)
    bound = state.bind(snapshot, now_s=8 * 24 * 3600.0)
    meanwhile = [ItemChange("shown again", 8 * DAY_MS, stock=0), ItemChange("newer", 8 * DAY_MS, stock=0)]
    meanwhile.append(ItemChange("item-00002", 8 * DAY_MS, stock=0))
    state.take(encode_changes(meanwhile).splitlines())
    state.use(bound)
    assert known(state) == {"item-00001", "hidden", "coming", "shown again", "newer", "item-00002"}
    assert not bound.live.servable[[1, 2]].any()
    state.take(encode_changes([ItemChange("item-00003", 8 * DAY_MS, stock=0)]).splitlines())
    assert not bound.live.servable[3]
    lines = {(row["item_id"], row["ts"], row.get("stock")) for row in map(json.loads, state.lines().splitlines())}
    assert {("shown again", 0, None), ("shown again", 8 * DAY_MS, 0), ("item-00001", 0, 0)} < lines
    folded = compacted(encode_changes(changes), snapshot.item_ids, now_s=8 * 24 * 3600.0)
    assert known(fed(*(msgspec.json.decode(line, type=ItemChange) for line in folded.splitlines()))) == {
        "item-00001", "hidden", "coming",
    }  # fmt: skip
    assert compacted(encode_changes(changes), snapshot.item_ids, now_s=6 * 24 * 3600.0).count(b"gone") == 1


def test_the_lander_knows_the_items_of_the_live_snapshot(tmp_path: Path) -> None:
    url = f"lmdb://{tmp_path}/store"
    assert live_item_ids(url) is None  # nothing is published
    with closing(open_store(url)) as store:
        version = publish(night(n_items=30), store).manifest.version
    found = live_item_ids(url)
    assert found is not None
    assert list(found) == [f"item-{number:05d}" for number in range(30)]
    (tmp_path / "store/versions" / version / "blobs/item_ids.data.npy").unlink()
    assert live_item_ids(url) is None


WRITER = """
import sys
from pathlib import Path
from serving.shelf.item_state import TAKEN_BACK, ItemChange, encode_changes
from serving.logs.file_log import FileLog
log = FileLog(Path(sys.argv[1]), "items")
number = 0
while True:
    log.append(encode_changes([ItemChange("item-00001", number, price_minor=number)]))
    print(number, flush=True)
    number += 1
"""


def test_a_change_that_was_acknowledged_outlasts_kill_9(tmp_path: Path, snapshot: Snapshot) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, env=os.environ)
    assert process.stdout is not None
    last = -1
    while last < 50:
        last = int(process.stdout.readline())
    process.kill()
    last = int((process.stdout.read().split() or [last])[-1])
    process.wait()
    _, live = bound(tmp_path, snapshot)
    assert live.price_minor[1] >= last


@pytest.mark.parametrize(
    "damaged",
    [
        b'{"item_id":"\xff","ts":5,"stock":1}',
        b'{"item_id":"a","ts":5,"stock":99999999999999999999}',
        b'{"item_id":"a","ts":5,"stock":-9999999999}',
        b'{"item_id":"a","ts":5,"price_minor":99999999999999999999}',
        b'{"item_id":"a","ts":99999999999999999999,"stock":1}',
        b'{"x":' + b"[" * 50_000,
    ],
    ids=["no text", "stock", "negative stock", "price", "ts", "nested"],
)
def test_a_damaged_line_changes_nothing_and_keeps_no_log_from_being_folded(damaged: bytes) -> None:
    before, after = (encode_changes([ItemChange("a", ts, stock=ts)]) for ts in (1, 2))
    folded = ItemState()
    folded.take(compacted(before + damaged + b"\n" + after).splitlines())
    whole = ItemState()
    whole.take((before + after).splitlines())
    assert folded.lines() == whole.lines()
