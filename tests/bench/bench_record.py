"""Shelves of 100 items packed into records and read back, on one core, no store."""

import numpy as np

from serving.snapshot.record import REASON_CODES, SOURCES, ShelfColumns, decode, encode
from tests.bench.figures import Figure, best_of

USERS, ITEMS, CATALOGUE = 20_000, 100, 1_000_000


def shelves() -> ShelfColumns:
    """Random shelves, most with 19 reason items."""
    rng = np.random.default_rng(20260101)
    rows = USERS * ITEMS
    about = rng.integers(0, CATALOGUE, (USERS, 19))[np.arange(USERS)[:, None], rng.integers(0, 19, (USERS, ITEMS))]
    return ShelfColumns(
        np.arange(USERS + 1) * ITEMS,
        rng.integers(0, CATALOGUE, rows).astype(np.uint32),
        rng.random(rows),
        rng.integers(0, len(SOURCES), rows).astype(np.uint8),
        rng.integers(0, len(REASON_CODES), rows).astype(np.uint8),
        about.reshape(-1),
        np.zeros(USERS, np.uint16),
    )


def main() -> list[Figure]:
    columns = shelves()
    records = encode(columns)
    size = sum(map(len, records)) / USERS
    packing_s = best_of(3, lambda: encode(columns))
    reading_s = best_of(3, lambda: [decode(record) for record in records])
    block = np.frombuffer(b"".join(records), np.uint8)
    copying_s = best_of(3, lambda: [bytes(record) for record in np.array_split(block, USERS)])
    copy = "a NumPy slice of as many bytes made into `bytes`"
    return [
        Figure("encode", USERS / packing_s, "users/s", USERS / copying_s, copy),
        Figure("decode", USERS / reading_s, "users/s", USERS / copying_s, copy),
        Figure("record of 100 items", size, "bytes", 800, "the budget", "762"),
    ]
