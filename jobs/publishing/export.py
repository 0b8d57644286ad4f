"""Export a snapshot for readers that skip HTTP, such as e-mail and push campaigns, as parquet or JSON lines.

    topshelf export shelves.parquet
    topshelf export shelves.jsonl --first 10

Parquet has one row for each item of a shelf: user_id, variant, rank, item_id, title, price_minor, score, source,
reason_code, reason_item_id, reason_title. JSON lines have one line for each user, with the same fields under `items`.
A user's own lists are of the variants `buy_again` and `recently_viewed`, beside their shelf of `base`.
"""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from serving.snapshot.blobs import unpack
from serving.snapshot.manifest import StoreError
from serving.snapshot.own_lists import LISTS, SOURCE_OF_LIST, holds_own_lists
from serving.snapshot.record import REASON_CODES, SOURCES, Shelf, decode, user_of
from serving.snapshot.tombstones import Tombstones
from serving.stores.files import store_errors
from serving.stores.protocols import Store, StoredVersion

USERS_AT_ONCE = 2_000
NamedShelf = tuple[str, str, Shelf]  # user id, variant, and what is on it
_REMEDY = "free disk space, or name a file elsewhere"
FORMATS = (".parquet", ".jsonl")


def export(
    store: Store, path: Path, tombstones: Tombstones, version: str | None = None, first: int | None = None
) -> int:
    """Write the live snapshot, or the named one, to `path`, whole or not at all; return how many shelves it has.

    Users who were erased since the snapshot was published are left out. `first` limits each shelf to that many items.

    Raises:
        StoreError: there is no such version, the path has an unknown format, or it cannot be written.
    """
    if path.suffix not in FORMATS:
        raise StoreError(f"{path} names no format; end it with {' or '.join(FORMATS)}")
    wanted = version or store.pointer().live
    if wanted is None:
        raise StoreError(f"{store.url} has no live snapshot; run topshelf nightly, or name a version")
    if not path.parent.is_dir():
        raise StoreError(f"{path.parent} is no folder; make it, or name a file in another one")
    beside = path.with_name(f".{path.name}.partial")
    write = _write_parquet if path.suffix == ".parquet" else _write_json_lines
    with closing(store.open(wanted)) as stored, store_errors(f"{path} cannot be written", _REMEDY):
        try:
            users = write(beside, _tables(stored, tombstones, first))
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    return users


def _strings(stored: StoredVersion, name: str) -> pa.Array:
    data, offsets = unpack(stored.blob(f"{name}.data")), unpack(stored.blob(f"{name}.offsets"))
    return pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))


def _tables(stored: StoredVersion, tombstones: Tombstones, first: int | None) -> Iterator[pa.Table]:
    """Yield the shelves of USERS_AT_ONCE users at a time, shard by shard, in key order."""
    ids, titles = _strings(stored, "item_ids"), _strings(stored, "titles")
    prices = unpack(stored.blob("price_minor"))
    for shard in range(stored.manifest.n_shards):
        shelves: list[NamedShelf] = []
        for key, record in stored.scan(shard):
            if not tombstones.hide(user_of(key).decode(), stored.manifest):
                shelves += _named(key, decode(record))
            if len(shelves) >= USERS_AT_ONCE:
                yield _table(shelves, (ids, titles, prices), first)
                shelves = []
        if shelves:
            yield _table(shelves, (ids, titles, prices), first)


def _named(key: bytes, shelf: Shelf) -> Iterator[NamedShelf]:
    """Yield a record's shelf, or each of its lists."""
    user_id = user_of(key).decode()
    if not holds_own_lists(key):
        yield user_id, key.partition(b"\xff")[2].decode() or "base", shelf
        return
    for name, code in SOURCE_OF_LIST.items():
        of = shelf.sources == code
        columns = {column: getattr(shelf, column)[of] for column in Shelf.__struct_fields__[1:]}
        yield user_id, name, msgspec.structs.replace(shelf, **columns)


def _table(shelves: list[NamedShelf], catalogue: tuple[pa.Array, pa.Array, Any], first: int | None) -> pa.Table:
    ids, titles, prices = catalogue

    def column(name: str) -> Any:
        return np.concatenate([getattr(shelf, name)[:first] for *_, shelf in shelves])

    lengths = np.array([len(shelf.positions[:first]) for *_, shelf in shelves])
    owner = pa.array(np.repeat(np.arange(len(shelves)), lengths))
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    at, about = column("positions"), column("reason_positions")
    behind = pa.array(about, mask=about < 0)
    price = prices[at]
    return pa.table(
        {
            "user_id": pa.array([user_id for user_id, *_ in shelves]).take(owner),
            "variant": pa.array([variant for _, variant, _ in shelves]).take(owner),
            "rank": pa.array(np.arange(len(at)) - starts + 1, pa.int32()),
            "item_id": ids.take(pa.array(at)),
            "title": titles.take(pa.array(at)),
            "price_minor": pa.array(price, mask=price < 0),
            "score": pa.array(column("scores")),
            "source": pa.array(SOURCES).take(pa.array(column("sources"))),
            "reason_code": pa.array(REASON_CODES).take(pa.array(column("reasons"))),
            "reason_item_id": ids.take(behind),
            "reason_title": titles.take(behind),
        }
    )


def _write_parquet(path: Path, tables: Iterator[pa.Table]) -> int:
    users, writer = 0, None
    try:
        for table in tables:
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
            is_list = pc.is_in(table["variant"], value_set=pa.array(list(LISTS)))
            users += int(pc.sum(pc.and_not(pc.equal(table["rank"], 1), is_list)).as_py() or 0)
    finally:
        if writer is not None:
            writer.close()
    if writer is None:
        raise StoreError("the snapshot has no users, so there is nothing to export")
    return users


def _write_json_lines(path: Path, tables: Iterator[pa.Table]) -> int:
    users = 0
    with path.open("w", encoding="utf-8") as file:
        for table in tables:
            shelf: dict[str, Any] = {}
            for row in table.to_pylist():
                user_id, variant, rank = row.pop("user_id"), row.pop("variant"), row.pop("rank")
                if rank == 1:
                    if shelf:
                        file.write(json.dumps(shelf, ensure_ascii=False) + "\n")
                    shelf = {"user_id": user_id, "variant": variant, "items": []}
                    users += variant not in LISTS
                shelf["items"].append(row)
            if shelf:
                file.write(json.dumps(shelf, ensure_ascii=False) + "\n")
    return users
