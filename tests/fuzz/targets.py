"""What is fuzzed: each target takes any bytes, and raises nothing but the errors that its callers catch."""

import gzip
import io
import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np

from serving import money
from serving.api.feed_bodies import inflated, split_rows
from serving.api.keys import KeyRing, KeysError
from serving.api.parameters import from_body, from_query, id_in_path
from serving.api.rates import SharedFileStorage
from serving.logs.events import read_events, without_received
from serving.logs.exposure_rows import exposure_row
from serving.logs.exposures import Shown, filters_json
from serving.logs.file_log import FileLog
from serving.logs.item_feed import MAX_BYTES, Refusal, read_changes
from serving.problems import ProblemError
from serving.shelf.item_state import ItemState, compacted, encode_changes
from serving.shelf.recent_actions import RecentActions
from serving.snapshot.blobs import pack, unpack, unpack_json
from serving.snapshot.digest import RecordDigest
from serving.snapshot.manifest import ShardReport, SnapshotManifest, StoreError
from serving.snapshot.pointer import Pointer, published
from serving.snapshot.record import RecordError, ShelfColumns, decode, encode
from serving.snapshot.record import unpack as unpack_record
from serving.snapshot.record_stream import pack_stream, unpack_stream
from serving.snapshot.tombstones import Tombstones, tombstone_line
from serving.stores.key_value.store import _pointer as key_value_pointer
from serving.stores.lmdb.store import LmdbStore
from tests.fuzz import endpoint, heads, landings, overlays

NOW_S = 1_767_225_600.0  # 2026-01-01
TYPES = (b"application/json", b"text/plain", b"application/x-ndjson; charset=utf-8", b"", b"multipart/form-data")
ENCODINGS = (b"", b"gzip", b"identity", b"br")


@dataclass(frozen=True, slots=True)
class Target:
    """`refusals` are the errors that callers catch. `words` are tokens of the format, for the fuzzer to insert."""

    read: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()

    def take(self, data: bytes) -> None:
        """Read the data. Raises whatever is a finding."""
        with suppress(*self.refusals):
            self.read(data)


@lru_cache
def _folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="fuzz-")
    _KEPT.append(folder)
    return Path(folder.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []  # removed when the process ends


# Requests ---------------------------------------------------------------------------------------------------


def query(data: bytes) -> None:
    filters_json(from_query(data))


def body(data: bytes) -> None:
    filters_json(from_body(data))


def path(data: bytes) -> None:
    assert id_in_path(b"/users/" + data)


def feed_body(data: bytes) -> None:
    kind, encoding, content = data[:1], data[1:2], data[2:]
    plain = inflated(content, ENCODINGS[encoding[0] % len(ENCODINGS)] if encoding else b"")
    assert len(plain) <= MAX_BYTES
    for row in split_rows(plain, TYPES[kind[0] % len(TYPES)] if kind else None):
        list(read_changes([row], NOW_S, 1, ItemState().newest_ms))


def items(data: bytes) -> None:
    changes = [
        row
        for row in read_changes(data.splitlines(), NOW_S, 1, ItemState().newest_ms)
        if not isinstance(row, Refusal)
    ]
    state, again = ItemState(), ItemState()
    lines = encode_changes(changes)
    state.take(lines.splitlines())
    assert len(state) == len({change.item_id for change in changes})
    again.take(compacted(lines).splitlines())
    assert again.lines() == state.lines()


def events(data: bytes) -> None:
    lines = [row for row in read_events(data.splitlines(), NOW_S) if not isinstance(row, Refusal)]
    for line in lines:
        assert json.loads(without_received(line))["event_id"]
    RecentActions(lambda _: None).take(lines)


def price(data: bytes) -> None:
    text = data.decode("latin-1")
    nearest = money.to_minor(text)
    assert money.highest_minor(text) <= nearest <= money.lowest_minor(text)
    assert money.to_minor(money.to_text(nearest)) == nearest


# Files of the state folder ----------------------------------------------------------------------------------


def item_log(data: bytes) -> None:
    ItemState().take(data.splitlines())
    compacted(data)


def event_log(data: bytes) -> None:
    actions = RecentActions(lambda _: None)
    actions.take(data.splitlines())
    actions.last_actions("u", (), lambda _: 0, NOW_S, "s")


def tombstones(data: bytes) -> None:
    taken = Tombstones()
    taken.take(data.splitlines())
    taken.take([tombstone_line("anna", NOW_S)])
    assert taken.erased_at("anna") is not None
    assert taken.after(NOW_S).newest() >= NOW_S
    taken.digest()


def spool(data: bytes) -> None:
    exposure_row(msgspec.json.decode(data, type=Shown))


def segments(data: bytes) -> None:
    log = FileLog(_folder() / "logs", "x")
    log.drop(log.segments())
    for number, part in enumerate(data.split(b"\0\n"), 1):
        (_folder() / "logs").mkdir(exist_ok=True)
        log.path(number).write_bytes(part)
    reader = log.reader()
    while block := reader.read():
        assert block.endswith(b"\n")
    log.append(b"last\n")
    assert reader.read() == b"last\n"
    reader.close()
    log.fold(lambda lines: lines[: lines.find(b"\n") + 1], min_bytes=0)


def keys(data: bytes) -> None:
    path = _folder() / "keys.json"
    path.write_bytes(data)
    ring = KeyRing(path)
    ring.find(b"Bearer x")
    ring.refresh()


def slots(data: bytes) -> None:
    folder = _folder() / "rates"
    storage = SharedFileStorage(f"shared-file://{folder}")
    storage.reset()
    with (folder / "rates.slots").open("r+b") as file:
        for offset in range(0, 4_096 * 32 - len(data), max(1, len(data))):
            file.seek(offset)
            file.write(data)
    before = storage.incr("key", 60, 5)
    assert storage.incr("key", 60, 5) == before + 5


# A snapshot -------------------------------------------------------------------------------------------------


def record(data: bytes) -> None:
    packed, shelf = unpack_record(data), decode(data)
    assert packed.positions(packed.count).tolist() == shelf.positions.tolist()
    assert packed.scores(np.arange(packed.count)) == shelf.scores.tolist()
    packed.reasons(list(range(packed.count)))


def blob(data: bytes) -> None:
    unpack(data).sum()


def json_blob(data: bytes) -> None:
    unpack_json(pack(np.frombuffer(data, np.uint8)), list[tuple[str, str]])


def stream(data: bytes) -> None:
    list(unpack_stream(io.BytesIO(data), "shard"))


def manifest(data: bytes) -> None:
    with suppress(StoreError):
        SnapshotManifest.from_json(data, "manifest.json")
    with suppress(ValueError, RecursionError):
        head = json.loads(data)
        with suppress(Exception):
            head["hash"] = msgspec.convert(head, SnapshotManifest).hash
            data = json.dumps(head).encode()
    read = SnapshotManifest.from_json(data, "manifest.json")
    erased = Tombstones()
    erased.take([tombstone_line("anna", NOW_S)])
    erased.hide("anna", read)
    SnapshotManifest.from_json(read.to_json(), "manifest.json")


def pointer(data: bytes) -> None:
    store = LmdbStore(f"lmdb://{_folder()}/store")
    store.folder.mkdir(exist_ok=True)
    (store.folder / "pointer.json").write_bytes(data)
    for read in (store.pointer, lambda: key_value_pointer(data, "redis")):
        with suppress(StoreError):
            msgspec.json.encode(published(read(), "x"))


def _record() -> bytes:
    columns = ShelfColumns(
        np.array([0, 3]), np.array([7, 8, 70_000], np.uint32), np.array([1.5, 0.0, -2.0]),
        np.array([0, 1, 2], np.uint8), np.array([3, 4, 5], np.uint8), np.array([-1, 9, 9]), np.array([2], np.uint16),
    )  # fmt: skip
    return encode(columns)[0]


def _manifest(**fields: object) -> bytes:
    head = SnapshotManifest(
        version="2026-01-01.abc", day="2026-01-01", run_id="r", users=1, items=1, top_n=20, n_shards=1,
        shards=[ShardReport(1, 2, "00", 2)], blobs={"stock": "00"}, **fields,
    )  # fmt: skip
    return head.to_json()


_POINTER = published(Pointer(), "2026-01-01.abc")
_KEYS = {
    "id": "k1", "name": "web", "scopes": ["read"], "sha256": "ab" * 32, "rate": "5/second",
    "created": "2026-01-01T00:00:00Z",
}  # fmt: skip
_ITEM = b'{"item_id":"mug","price":12.50,"stock":3,"moderated":false,"ts":"2026-01-01T00:00:00Z"}'
_EVENT = (
    b'{"event_id":"e","user_id":"u","session_id":"s","item_id":"i","event_type":"view","ts":"2026-01-01T00:00:00Z",'
    b'"value":1.5,"quantity":2,"unit_price":"9.99","request_id":"r","position":1,"page":"p"}'
)
_NUMBERS = (
    b"null",
    b"1e999999",
    b"sNaN",
    b"-1",
    b"99999999999999999999",
    b"9223372036854775808",
    b"\\ud800",
    b"\xff",
)
_QUERY_WORDS = (b"user_id=", b"limit=", b"category=", b"price_min=", b"exclude=", b"actions=", b"view:", b"%2F", b"&")
_SHOWN = (
    b'[{"recommendations":[{"item_id":"a","score":1.5,"reason":"x"}],"request_id":"r"},1767225600000,'
    b'["s",null,"m","p"],"u",null,null,null,20,"{}",[0],[0],[0],[1.0],[3],[1250]]\n'
)

TARGETS: dict[str, Target] = {
    "query": Target(
        query, (ProblemError,),
        (
            b"user_id=u1&session_id=s1&limit=5&price_min=1.5&price_max=20&category=a%2Fb",
            b"exclude=a,b&actions=view:a,click:b",
        ),
        _QUERY_WORDS,
    ),
    "body": Target(
        body, (ProblemError,),
        (b'{"user_id":"u","limit":5,"context":{"page":"p","categories":["a"]},"filters":{"category":"a",'
         b'"price_min":"1.5","price_max":1e3},"exclude":["a"],"actions":[{"type":"view","item_id":"a"}]}',),
        _NUMBERS,
    ),
    "path": Target(path, (ProblemError,), (b"anna", b"a%2Fb/trace"), (b"%00", b"%ff", b"/")),
    "feed_body": Target(
        feed_body, (ProblemError,),
        (b"\0\0[" + _ITEM + b"]", b"\1\0" + _ITEM + b"\n", b"\2\1" + gzip.compress(_ITEM, mtime=0)),
        _NUMBERS,
    ),
    "items": Target(items, (), (_ITEM + b"\n" + _ITEM.replace(b"12.50", b"null"),), _NUMBERS),
    "events": Target(events, (), (_EVENT + b"\n",), _NUMBERS),
    "price": Target(price, (money.PriceError,), (b"12.50", b"1e3", b"0"), _NUMBERS),
    "item_log": Target(
        item_log, (), (b'{"item_id":"mug","ts":1767225600000,"price_minor":1250,"stock":3,"hidden":false}\n',),
        _NUMBERS,
    ),
    "event_log": Target(
        event_log, (),
        (b'{"received":1767225600.0,"event_id":"e","item_id":"i","event_type":"view","user_id":"u"}\n',),
        _NUMBERS,
    ),
    "tombstones": Target(tombstones, (), (tombstone_line("anna", NOW_S),), (b"0001-01-01", b"9999-12-31", b"+23:59")),
    # The lander leaves out a line for whatever is wrong with it.
    "spool": Target(spool, (Exception,), (_SHOWN,), _NUMBERS),
    "segments": Target(segments, (), (b"a\nb\n\0\nc\nd", b"\0\n\0\nx"), (b"\0\n",)),
    "keys": Target(
        keys, (KeysError,), (json.dumps({"keys": [_KEYS]}).encode(),), (b"minute", b"admin", b"revoked", b"[")
    ),
    "slots": Target(slots, (), (b"\0" * 32, b"\xff" * 32, b"k" * 16 + b"\1" * 8 + b"\x40" * 8), ()),
    "record": Target(record, (RecordError,), (_record(),)),
    "blob": Target(
        blob, (StoreError,), (pack(np.arange(6).reshape(2, 3)), pack(np.array([1.5, 2], np.float32))),
        (b"<i8", b"|b1", b"<f2", b"99999999999999999999", b", "),
    ),
    "json_blob": Target(json_blob, (StoreError,), (b'[["global",""],["category","a/b"]]',), _NUMBERS),
    "stream": Target(
        stream, (StoreError,), (b"".join(pack_stream([(b"a", b"xy"), (b"b", b"z")], RecordDigest())),)
    ),
    "manifest": Target(
        manifest, (StoreError,), (_manifest(), _manifest(metrics={"erasures_until": "2026-01-01T00:00:00Z"})),
        _NUMBERS,
    ),
    "pointer": Target(pointer, (), (msgspec.json.encode(_POINTER),), _NUMBERS),
    "overlay": Target(overlays.read, (StoreError,), overlays.SEEDS, _NUMBERS),
    "head": Target(heads.read, (), heads.SEEDS, heads.WORDS),
    "endpoint": Target(endpoint.answer, (), endpoint.SEEDS, (*_QUERY_WORDS, *_NUMBERS)),
    "landed_csv": Target(landings.csv_file, (), landings.CSV_SEEDS, landings.WORDS),
    "landed_jsonl": Target(landings.jsonl_file, (), landings.JSONL_SEEDS, landings.WORDS),
    "landed_parquet": Target(landings.parquet_file, (), landings.PARQUET_SEEDS),
}  # fmt: skip
