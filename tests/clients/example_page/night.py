"""A published night of a small shop with titles, prices and lists, for a page to show: no Spark, a second to make."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.publishing.publish import publish
from jobs.synthetic.words import LEAVES
from serving.stores import open_store
from tests.serving.small_shop import item_ids, night

N_ITEMS, N_LEAVES, N_LISTED = 240, 24, 8
Csr = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


def publish_titled_night(folder: Path) -> None:
    """Publish the night to the store in `folder`. Items `number` and `number + N_LEAVES` share a category."""
    plain = night("2026-01-31", n_items=N_ITEMS, top_n=40)
    contents = replace(
        plain,
        items=_titled(plain.items),
        neighbours=_lists(N_LEAVES),
        item_lists={
            "bought_together": _lists(1),
            "substitutes": _lists(N_LEAVES),
            "looked_next": _lists(3 * N_LEAVES + 2),
        },
    )
    with closing(open_store(f"lmdb://{folder}/store")) as store:
        publish(contents, store)


def _titled(items: pa.Table) -> pa.Table:
    leaves = [LEAVES[number % N_LEAVES] for number in range(N_ITEMS)]
    turns = [number // N_LEAVES for number in range(N_ITEMS)]
    titles = [
        f"{leaf.adjectives[turn % 12]} {leaf.materials[turn % 4]} {leaf.nouns[turn % len(leaf.nouns)]}"
        for leaf, turn in zip(leaves, turns, strict=True)
    ]
    prices = [round(leaf.price * (80 + 7 * turn)) for leaf, turn in zip(leaves, turns, strict=True)]
    columns = {
        "title": pa.array(titles),
        "category": pa.array([leaf.path for leaf in leaves]),
        "price_minor": pa.array(prices, pa.int64()),
        "stock": pa.array([9] * N_ITEMS, pa.int32()),
        "image_url": pa.nulls(N_ITEMS, pa.string()),
    }
    assert items["item_id"].to_pylist() == item_ids(N_ITEMS)
    for name, column in columns.items():
        items = items.set_column(items.column_names.index(name), name, column)
    return items


def _lists(step: int) -> Csr:
    """Return for each item the N_LISTED items that are `step`, twice `step` and so on behind it."""
    behind = step * np.arange(1, N_LISTED + 1)
    near = (np.arange(N_ITEMS)[:, None] + behind) % N_ITEMS
    scores = np.tile(1 / np.arange(2.0, N_LISTED + 2), N_ITEMS)
    return np.arange(N_ITEMS + 1) * N_LISTED, near.ravel(), scores
