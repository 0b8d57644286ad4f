"""A shop of three shoppers in staging and on shelves, written without Spark: who bought what around DAY."""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.lake.lake import Lake
from jobs.lake.manifest import MANIFEST_NAME, Manifest

DAY = date(2026, 1, 31)
UNTIL = DAY + timedelta(days=14)

BOUGHT = [
    ("ann", "mug", "purchase", -3),
    ("ann", "tea", "purchase", -3),
    ("bob", "jug", "purchase", -4),
    ("cat", "mug", "view", -2),
    ("cat", "pan", "view", -2),
    (None, "lid", "purchase", -1),
    ("ann", "mug", "purchase", 2),
    ("ann", "jug", "purchase", 2),
    ("ann", "jug", "purchase", 9),
    ("bob", "pan", "purchase", 14),
    ("cat", "mug", "purchase", 3),
]
"""Ann buys mug and jug again, Bob the pan that Cat viewed. Cat had only views before, so she is in no split."""

SHELVES = {"ann": ["jug", "mug", "lid"], "bob": ["mug", "tea"], "cat": ["mug"]}


def put(lake: Lake, table: str, ds: date, rows: pa.Table, parameters: Mapping[str, object] | None = None) -> None:
    """Write one partition as the lake holds it, without Spark; no file where there are no rows."""
    folder = Path(lake.root) / table / f"ds={ds}"
    folder.mkdir(parents=True)
    files = {}
    if len(rows):
        pq.write_table(rows, folder / "part-00000.parquet")
        files = {"part-00000.parquet": hashlib.sha256((folder / "part-00000.parquet").read_bytes()).hexdigest()}
    manifest = Manifest(table, str(ds), len(rows), files, parameters=dict(parameters or {}))
    (folder / MANIFEST_NAME).write_text(manifest.to_json())


def stage(
    lake: Lake,
    events: Iterable[tuple],
    until: date = UNTIL,
    first: date = DAY - timedelta(days=60),
    ratings: Mapping[tuple[str, str], float] = MappingProxyType({}),
) -> None:
    """Stage events (user, item, kind, days after DAY it happened[, and it landed]) on every day up to `until`.

    `ratings` are values of ratings by (user, item).
    """
    texts = dict.fromkeys(("user_id", "item_id", "event_type"), pa.string())
    schema = texts | {"event_date": pa.date32(), "value": pa.float64()}
    events = list(events)
    for ds in (first + timedelta(days=n) for n in range((until - first).days + 1)):
        landed = [event for event in events if DAY + timedelta(days=event[-1]) == ds]
        values = [[event[column] for event in landed] for column in range(3)]
        values.append([DAY + timedelta(days=event[3]) for event in landed])
        values.append([ratings.get(event[:2]) if event[2] == "rating" else None for event in landed])
        put(lake, "staging/interactions", ds, pa.table(values, schema=pa.schema(schema)))


def shelve(lake: Lake, shelves: Mapping[str, list[str]], ds: date = DAY) -> None:
    """Publish base shelves of items by user."""
    rows = [
        {"variant": "base", "user_id": user, "rank": rank, "item_id": item}
        for user, items in shelves.items()
        for rank, item in enumerate(items, start=1)
    ]
    types = {"variant": pa.string(), "user_id": pa.string(), "rank": pa.int32(), "item_id": pa.string()}
    put(lake, "marts/top_n", ds, pa.Table.from_pylist(rows, pa.schema(types)), {"run_id": "r1"})
