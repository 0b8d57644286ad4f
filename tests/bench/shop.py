"""A night of many shoppers for the benches: random shelves in memory, of the types that a lake's shard is read as."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from jobs.publishing.night_contents import NightContents
from serving.snapshot.record import REASON_CODES, SOURCES, shard_of
from tests.serving.small_shop import night

ITEMS, TOP_N, SHARDS = 50_000, 100, 8


def user_id(number: int) -> str:
    return f"user-{number:08d}"


def many(n_users: int, *, n_items: int = ITEMS, day: str = "2026-01-31", seed: int = 0) -> NightContents:
    """A night of `n_users` shelves of 100 items, 19 reason items each."""
    names = [user_id(number) for number in range(n_users)]
    owners = [[name for name in names if shard_of(name, SHARDS) == shard] for shard in range(SHARDS)]
    base = night(day, n_users=0, n_items=n_items, top_n=TOP_N, n_shards=SHARDS, seed=seed)
    ids = base.items["item_id"].combine_chunks()
    rng = np.random.default_rng(seed)
    tables = [_shelves(of, ids, rng) for of in owners]
    users = [
        pa.table(
            {
                "user_id": pa.array(of, pa.string()),
                "region": pa.array(["DE", "FR", None]).take(pa.array(np.arange(len(of)) % 3)),
                "age_band": pa.array(["18-24", "25-34"]).take(pa.array(np.arange(len(of)) % 2)),
                "preferred_categories": pa.nulls(len(of), pa.list_(pa.string())),
            }
        )
        for of in owners
    ]
    return replace(base, shelves=tables.__getitem__, users=users.__getitem__, expected_users=n_users)


def _shelves(owners: list[str], ids: pa.Array, rng: np.random.Generator) -> pa.Table:
    n = len(owners)
    rows = n * TOP_N
    behind = rng.integers(0, len(ids), (n, 19), np.int32)[np.arange(n)[:, None], rng.integers(0, 19, (n, TOP_N))]

    def drawn(values: pa.Array, codes: np.ndarray) -> pa.DictionaryArray:
        return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32, copy=False)), values)

    return pa.table(
        {
            "variant": drawn(pa.array(["base"]), np.zeros(rows, np.int32)),
            "user_id": drawn(pa.array(owners, pa.string()), np.repeat(np.arange(n), TOP_N)),
            "rank": pa.array(np.tile(np.arange(1, TOP_N + 1, dtype=np.int32), n)),
            "item_id": drawn(ids, rng.integers(0, len(ids), rows, np.int32)),
            "score": pa.array(rng.random(rows)),
            "source": drawn(pa.array(SOURCES), rng.integers(0, len(SOURCES), rows, np.int32)),
            "reason_code": drawn(pa.array(REASON_CODES), rng.integers(0, len(REASON_CODES), rows, np.int32)),
            "reason_item_id": drawn(ids, behind.reshape(-1)),
        }
    )
