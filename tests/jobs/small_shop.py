"""A small shop in memory as of one day: catalogue, artifacts and shoppers, made by hand or drawn from a seed."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from jobs.candidates.sources import NEIGHBOURS, Sources
from jobs.config.parameters import Parameters
from jobs.features.catalogue import Catalogue
from jobs.features.shoppers import ShopperHistories
from jobs.features.strength import interaction_values
from jobs.lake.lake import Lake
from jobs.lake.manifest import MANIFEST_NAME, Manifest
from jobs.models.als import CfParameters, Pairs
from jobs.models.collaborative import train_cf
from jobs.models.content import ContentParameters, train_content
from jobs.ranking.pair_features import ITEM_FEATURES, PAIR_FEATURES, USER_FEATURES

CF = CfParameters.of(
    Parameters().with_values({"models.als.factors": 8, "models.als.iterations": 4, "models.neighbours": 12})
)
DECAY_DAYS = 60.0
CATEGORIES = ("home", "home/mugs", "toys", "toys/trains")
COLOURS, THINGS = ("red", "blue", "green", "white", "black"), ("mug", "pan", "lamp", "chair", "train", "bear")


def touch(
    item: int, *, bought: int = 0, viewed: int = 0, carted: int = 0, rated: int = 0, days_ago: int = 1
) -> dict[str, float]:
    """A shopper's history with an item: on how many days bought, how often viewed, put into the basket and liked."""
    weight = 5000 * bought + 1000 * (viewed + rated) + 3000 * carted
    bare = dict.fromkeys((*PAIR_FEATURES, "impression_count"), 0.0)
    gone = {name: float(days_ago) if bought else np.nan for name in PAIR_FEATURES if "_purchase" in name}
    return (
        bare
        | {name: gone[name] for name in ("days_since_last_purchase", "days_since_first_purchase")}
        | {"mean_gap_days": np.nan, "gap_sd_days": np.nan, "item_pos": item}
        | {"days_since_last_event": days_ago, "days_since_first_event": days_ago}
        | {"purchase_count": bought, "purchase_day_count": bought, "view_count": viewed, "cart_count": carted}
        | {"last_event_ts": -86_400_000_000 * days_ago}
        | {"event_count": bought + viewed + carted + rated, "weight_milli": weight}
    )


def shoppers(n_items: int, *histories: Sequence[Mapping[str, float]], **users: Sequence[Any]) -> ShopperHistories:
    """Shoppers with these histories; a column of features/user that is not given is 0, or None where it is a name."""
    rows = [row for history in histories for row in sorted(history, key=lambda row: row["item_pos"])]
    history = {name: np.array([row[name] for row in rows]) for name in touch(0)}
    whole = {"item_pos": np.int64, "weight_milli": np.int64, "last_event_ts": np.int64}
    nobody = np.full(len(histories), None)
    return ShopperHistories(
        user_id=pa.array([f"user-{number:04d}" for number in range(len(histories))]),
        users={name: np.array(users.get(name, [0.0] * len(histories)), float) for name in USER_FEATURES}
        | {name: np.array(users.get(name, nobody), object) for name in ("region", "age_band")},
        history={name: values.astype(whole.get(name, np.float64)) for name, values in history.items()},
        indptr=np.cumsum([0, *(len(history) for history in histories)]),
        n_items=n_items,
    )


def catalogue(n_items: int, category: Sequence[str | None] = (), **columns: Sequence[float]) -> Catalogue:
    """A catalogue; a column of features/item that is not given is 0, and without stock nobody knows of any."""
    names = tuple(sorted({name for name in category if name}))
    codes = [names.index(name) if name else -1 for name in category] or [-1] * n_items
    bare = dict.fromkeys((*ITEM_FEATURES, "weight_90d", "weight_total"), np.zeros(n_items))
    defaults = {"stock": np.full(n_items, np.nan), "age_days": np.full(n_items, 200.0)}
    given = {name: np.array(values, np.float64) for name, values in columns.items()}
    return Catalogue(
        item_id=pa.array([f"item-{number:04d}" for number in range(n_items)], pa.string()),
        columns=bare | defaults | given,
        category_code=np.array(codes, np.int32),
        category_names=names,
    )


def sources(of: Catalogue, factors: Any = None, vectors: Any = None, **neighbours: Any) -> Sources:
    """Artifacts by hand: dense [n_items, n_items] neighbours by name, factors of CF.factors columns, and vectors."""
    n = len(of)
    matrix = {
        name: sp.csr_matrix(np.array(neighbours.get(name, np.zeros((n, n))), np.float32)) for name in NEIGHBOURS
    }
    plain = np.zeros((n, CF.factors), np.float32)
    return Sources(
        catalogue=of,
        item_factors=plain if factors is None else np.array(factors, np.float32),
        item_vectors=plain if vectors is None else np.array(vectors, np.float32),
        neighbours=matrix,
        cf=CF,
        taste_decay_days=DECAY_DAYS,
    )


def drawn_history(seed: int, n_users: int, n_items: int, nobody_has: int = -1) -> ShopperHistories:
    """Shoppers who keep to a half of the catalogue, some with much history, some with none, some who only looked."""
    draw = np.random.default_rng(seed)
    histories = []
    for user in range(n_users):
        taste = np.where(np.arange(n_items) % 2 == user % 2, 4.0, 1.0)
        items = draw.choice(
            n_items, draw.integers(1, n_items // 4) if user % 9 else 0, replace=False, p=taste / taste.sum()
        )
        kinds = draw.choice(["bought", "viewed", "carted"], len(items))
        histories.append(
            [
                touch(int(item), days_ago=int(draw.integers(1, 90)), **{str(kind): int(draw.integers(1, 4))})
                for item, kind in zip(items, kinds, strict=True)
                if item != nobody_has
            ]
        )
    gaps = {name: draw.integers(0, 50, n_users) for name in USER_FEATURES}
    regions = [("north", "south")[user % 2] for user in range(n_users)]
    ages = [("18-29", "30-44", None)[user % 3] for user in range(n_users)]
    return shoppers(n_items, *histories, **gaps, region=regions, age_band=ages)


def drawn_catalogue(seed: int, n_items: int) -> Catalogue:
    """A catalogue with categories, prices, popularity, new items and items that are out of stock."""
    draw = np.random.default_rng(seed)
    category = [str(name) if name else None for name in draw.choice([*CATEGORIES, ""], n_items)]
    columns = {name: draw.integers(0, 40, n_items) for name in (*ITEM_FEATURES, "weight_90d", "weight_total")}
    return catalogue(n_items, category, **columns | {"stock": draw.choice([np.nan, 0.0, 5.0], n_items)})


def pairs_of(of: ShopperHistories) -> Pairs:
    """What CF is fitted to, as the night reads it from the same history."""
    values = interaction_values(of.history["weight_milli"])
    days = of.history["days_since_last_event"].astype(np.float32) + 1
    shape, at = (len(of), of.n_items), (of.history_user()[values > 0], of.history["item_pos"][values > 0])
    strength, since = (sp.csr_matrix((column[values > 0], at), shape=shape) for column in (values, days))
    return Pairs(strength, since, sp.csr_matrix(((of.later_moments() + 1.0)[values > 0], at), shape=shape), len(of))


def content_rows(n_items: int) -> pa.Table:
    """Titles and categories of a catalogue's items."""
    titles = [f"{COLOURS[item % 5]} {THINGS[item % 6]} {THINGS[item // 7 % 6]}" for item in range(n_items)]
    category = [CATEGORIES[item % 4] for item in range(n_items)]
    nobody = pa.nulls(n_items, pa.string())
    prices = pa.array(np.arange(n_items) * 37 + 100)
    return pa.table({"title": titles, "category": category, "brand": nobody, "price_minor": prices})


def artifacts(of: ShopperHistories) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arrays of the CF and the content artifact, as a night trains them on this history."""
    with threadpool_limits(1, "blas"):
        return train_cf(pairs_of(of), CF), train_content(content_rows(of.n_items), ContentParameters(8, 7))[0]


@cache
def drawn_shop(seed: int = 3, n_users: int = 40, n_items: int = 60) -> tuple[ShopperHistories, Sources]:
    """A shop of `n_users` and `n_items` with the artifacts that were fitted to it."""
    of = drawn_history(seed, n_users, n_items)
    cf, content = artifacts(of)
    held = {name: cf if f"{name}_data" in cf else content for name in NEIGHBOURS}
    dense = {name: csr(arrays, name, n_items).toarray() for name, arrays in held.items()}
    return of, sources(drawn_catalogue(seed, n_items), cf["item_factors"], content["item_vectors"], **dense)


def csr(arrays: Mapping[str, Any], name: str, n_items: int) -> sp.csr_matrix:
    """An artifact's item-item matrix."""
    return sp.csr_matrix(
        tuple(arrays[f"{name}_{part}"] for part in ("data", "indices", "indptr")), (n_items, n_items)
    )


def lay(lake: Lake, table: str, ds: date, rows: pa.Table, shard: int = 0) -> None:
    """Lay a day of a table into a lake without Spark: one file, as it would lie for a user shard."""
    folder = Path(lake.root) / table / f"ds={ds}"
    folder.mkdir(parents=True)
    name = f"part-{shard:05d}-laid.parquet"
    pq.write_table(rows, folder / name)
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest()}
    (folder / MANIFEST_NAME).write_text(Manifest(table, str(ds), len(rows), files).to_json())


def lay_shop(lake: Lake, ds: date, shop: ShopperHistories, of: Catalogue) -> None:
    """Lay features and artifacts of a drawn shop into a lake, its shoppers in one shard."""
    n = len(of)
    names = pa.array(of.category_names).take(pa.array(of.category_code, mask=of.category_code < 0))
    words = {name: pa.nulls(n, pa.string()) for name in ("title", "brand", "seller_id")}
    ids = {"item_pos": pa.array(range(n), pa.int32()), "item_id": of.item_id, "category": names}
    lay(lake, "features/item", ds, pa.table(ids | words | _arrow(of.columns)))
    lay(lake, "features/user", ds, pa.table({"user_id": shop.user_id} | _arrow(shop.users)))
    owner, history = pa.array(shop.history_user()), _arrow(shop.history)
    pair = {"user_id": shop.user_id.take(owner), "item_id": of.item_id.take(history["item_pos"])}
    lay(lake, "features/user_item", ds, pa.table(pair | history))
    cf, content = artifacts(shop)
    for name in ("artifacts/cf", "artifacts/window_cf"):
        lake.write_artifact(name, ds, cf, inputs={}, parameters=vars(CF))
    lake.write_artifact("artifacts/content", ds, content, inputs={})
    lake.write_artifact("artifacts/towers", ds, {}, inputs={})


def _arrow(columns: Mapping[str, Any]) -> dict[str, pa.Array]:
    return {name: pa.array(values, from_pandas=True) for name, values in columns.items()}
