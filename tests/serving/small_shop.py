"""The tables of one night of a shop small enough to check by hand, made without Spark."""

from collections.abc import Sequence
from datetime import date

import numpy as np
import pyarrow as pa

from jobs.publishing.night_contents import NightContents
from jobs.publishing.own_list_columns import LIST_COLUMNS, NO_LISTS
from serving.snapshot.record import REASON_CODES, SOURCES, shard_of

Newcomer = tuple[str, str | None, str | None, list[str] | None]  # id, region, age band, chosen categories
USERS = pa.schema(
    [
        ("user_id", pa.string()),
        ("region", pa.string()),
        ("age_band", pa.string()),
        ("preferred_categories", pa.list_(pa.string())),
    ]
)
CATEGORIES = ("home/kitchen/mugs", "home/kitchen/pans", "home/garden", "toys", None)


def item_ids(n_items: int) -> list[str]:
    return sorted((f"item-{number:05d}" for number in range(n_items)), key=str.encode)


def items_table(n_items: int) -> pa.Table:
    numbers = range(n_items)
    return pa.table(
        {
            "item_pos": pa.array(numbers, pa.int32()),
            "item_id": item_ids(n_items),
            "title": [None if number % 7 == 6 else f"Thing № {number}" for number in numbers],
            "category": [CATEGORIES[number % 5] for number in numbers],
            "brand": [None if number % 3 == 0 else f"brand-{number % 4}" for number in numbers],
            "seller_id": [f"seller-{number % 2}" for number in numbers],
            "price_minor": pa.array([None if number % 11 == 10 else 100 + number for number in numbers], pa.int64()),
            "stock": pa.array([None if number % 2 else number % 6 for number in numbers], pa.int32()),
            "purchaser_count_30d": pa.array([number % 17 for number in numbers], pa.int64()),
            "image_url": [None if number % 4 == 3 else f"https://shop.example/{number}.jpg" for number in numbers],
        }
    )


def shelves_table(users: list[str], n_items: int, top_n: int, seed: int = 0, variant: str = "base") -> pa.Table:
    rng = np.random.default_rng(seed)
    shelves = [rng.permutation(n_items)[:top_n].tolist() for _ in users]
    ids = item_ids(n_items)
    reason_positions = [rng.integers(-1, min(5, n_items)) for _ in range(len(users) * top_n)]
    length = min(top_n, n_items)
    positions = [position for shelf in shelves for position in shelf]
    return pa.table(
        {
            "variant": pa.array([variant] * (len(users) * length), pa.string()),
            "user_id": pa.array([user for user in users for _ in range(length)], pa.string()),
            "rank": pa.array(list(range(1, length + 1)) * len(users), pa.int32()),
            "item_id": pa.array([ids[position] for position in positions], pa.string()),
            "score": pa.array([1.0 / (rank + 1) for _ in users for rank in range(length)], pa.float64()),
            "source": pa.array([SOURCES[p % len(SOURCES)] for p in positions], pa.string()),
            "reason_code": pa.array([REASON_CODES[p % len(REASON_CODES)] for p in positions], pa.string()),
            "reason_item_id": pa.array(
                [None if p < 0 else ids[p] for p in reason_positions[: len(users) * length]], pa.string()
            ),
        }
    )


def lists_table(users: Sequence[str], n_items: int, seed: int = 0) -> pa.Table:
    """Return up to four items to buy again and up to six that were viewed of every user but each third."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in [user for number, user in enumerate(users) if number % 3]:
        items = rng.permutation(n_items)[:10].tolist()
        lists = {"buy_again": items[: rng.integers(0, 5)], "recently_viewed": items[4 : rng.integers(5, 11)]}
        rows += [
            {"list": name, "user_id": user, "rank": rank, "item_id": item_ids(n_items)[item], "score": 2.0 / rank}
            for name, of in lists.items()
            for rank, item in enumerate(of, 1)
        ]
    return pa.Table.from_pylist(rows, NO_LISTS.schema).sort_by([(key, "ascending") for key in LIST_COLUMNS[:3]])


def fallback_table(n_items: int) -> pa.Table:
    ids = item_ids(n_items)
    rows = []
    for shelf, key, positions in (
        ("global", "", range(min(40, n_items))),
        ("trending", "", range(min(10, n_items))),
        ("region", "DE", range(min(15, n_items))),
        ("age_band", "18-24", range(3, min(15, n_items))),
        ("category", "toys", [p for p in range(n_items) if p % 5 == 3][:8]),
    ):
        rows += [(shelf, key, rank, ids[p], 1.0 / rank) for rank, p in enumerate(positions, 1)]
    names = ("shelf", "shelf_key", "rank", "item_id", "score")
    return pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


def exploration_table(n_items: int, seed: int = 0) -> pa.Table:
    """Return pools of all items and of `home`: every fourth item from the third on, half of them new, at most 200."""
    rng = np.random.default_rng(seed)
    positions = range(2, n_items, 4)
    rows = [("", p) for p in positions[:200]] + [("home", p) for p in positions if p % 5 < 3][:200]
    ids, count = item_ids(n_items), len(rows)
    alpha = rng.integers(1, 6, count).astype(np.float64)
    return pa.table(
        {
            "pool": pa.array([pool for pool, _ in rows], pa.string()),
            "item_id": [ids[position] for _, position in rows],
            "kind": ["new" if position % 8 == 2 else "uncertain" for _, position in rows],
            "exposure_count": pa.array([20] * count, pa.int64()),
            "click_count": pa.array(alpha.astype(np.int64) - 1),
            "alpha": alpha,
            "beta": 40 - alpha,
            "prior_alpha": [1.0] * count,
            "prior_beta": [19.0] * count,
            "draws": pa.array(
                [rng.beta(a, 40 - a, 256).astype(np.float32) for a in alpha.tolist()], pa.list_(pa.float32())
            ),
        }
    )


def night(
    day: str = "2026-01-31",
    *,
    n_users: int = 60,
    n_items: int = 100,
    top_n: int = 20,
    n_shards: int = 3,
    seed: int = 0,
    run_id: str = "",
    metrics: dict[str, object] | None = None,
    explores: bool = False,
    newcomers: Sequence[Newcomer] = (),
    lists: bool = False,
) -> NightContents:
    """Return the contents of one night. `newcomers` have signed up only. With `lists`, most have own lists."""
    users = [f"user {number} ✓" if number % 9 == 0 else f"user-{number}" for number in range(n_users)]
    by_shard = [
        sorted((user for user in users if shard_of(user, n_shards) == shard), key=str.encode)
        for shard in range(n_shards)
    ]

    def users_of(shard: int) -> pa.Table:
        rows: list[Newcomer] = [
            (user, "DE" if len(user) % 2 else None, "18-24" if len(user) % 3 else None, None)
            for user in by_shard[shard]
        ]
        rows += [newcomer for newcomer in newcomers if shard_of(newcomer[0], n_shards) == shard]
        return pa.Table.from_pylist([dict(zip(USERS.names, row, strict=True)) for row in rows], USERS)

    indptr = np.arange(n_items + 1) * 2
    near = (np.repeat(np.arange(n_items), 2) + np.tile([1, 2], n_items)) % n_items
    return NightContents(
        ds=date.fromisoformat(day),
        run_id=run_id or f"{seed:012d}",
        items=items_table(n_items),
        fallback=fallback_table(n_items),
        neighbours=(indptr, near, np.tile([0.9, 0.5], n_items)),
        shelves=lambda shard: shelves_table(by_shard[shard], n_items, top_n, seed * 100 + shard),
        users=users_of,
        n_shards=n_shards,
        top_n=top_n,
        model_version=f"model-{seed}",
        policy_version="ranked-fill-1",
        expected_users=n_users,
        metrics=metrics or {},
        own_lists=lambda shard: lists_table(users_of(shard)["user_id"].to_pylist() if lists else [], n_items, seed),
        exploration=exploration_table(n_items, seed) if explores else None,
    )


def version(day: str, seed: int = 0) -> str:
    """Return the version that a publish of `night(day, seed=seed)` makes."""
    return night(day, seed=seed).version
