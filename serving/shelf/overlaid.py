"""Lay an overlay over its base: one snapshot that lookups read whole, as they read any other.

over = laid_over(base, open_store(overlay_url(store_url)).open(overlay_version))

The base's positions stay what they are, so stored shelves hold; new items stand behind them. They are found by id,
fill from the postings' end, have neighbours, and join the exploration pools with draws from the pool's prior.
"""

import copy
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.shelf.explore import ExplorePool
from serving.shelf.snapshot import Snapshot
from serving.snapshot.blobs import Strings, pack_strings, unpack
from serving.snapshot.contents import MAX_POOL_ITEMS, ORDERINGS, Pool
from serving.snapshot.manifest import StoreError
from serving.snapshot.overlay import OverlayItem, is_over, read_overlay
from serving.stores.protocols import StoredVersion


def laid_over(base: Snapshot, stored: StoredVersion) -> Snapshot:
    """The base with an overlay over it; `base` itself does not change. Raises StoreError for one of another base."""
    name = stored.manifest.version
    if base.overlay is not None or not is_over(name, base.version):
        raise StoreError(f"overlay {name} is not bound to {base.version}; the next run writes one that is")
    contents = read_overlay(stored.blob("trending"), stored.blob("new_items"), name)
    fresh = {item.item_id: item for item in contents.new_items if base.position(item.item_id) < 0}
    new = list(fresh.values())
    over = copy.copy(base)
    over.overlay, over.base = name, base
    over.added_row = {item.item_id: len(base) + row for row, item in enumerate(new)}
    over.item_ids = _longer(base.item_ids, [item.item_id for item in new])
    over.titles = _longer(base.titles, [item.title for item in new])
    over.item_category = _joined(base.item_category, [_node(base, item.category) for item in new])
    over.item_brand = _joined(base.item_brand, [-1] * len(new))
    over.item_seller = _joined(base.item_seller, [-1] * len(new))
    over.price_minor = _joined(base.price_minor, [item.price_minor for item in new])
    over.stock = _joined(base.stock, [item.stock for item in new])
    over.remember()
    over.added_near = [_neighbours(over, item) for item in new]
    if contents.trending is not None:
        over.laid_shelves = {("trending", ""): _known(over, contents.trending)}
    over.pools = {path: _with_new(pool, over, new) for path, pool in base.pools.items()}
    return over


def _longer(column: Strings, values: list[str]) -> Strings:
    data, offsets = column.columns
    more, ends = (unpack(image) for image in pack_strings(values))
    joined = np.concatenate([np.frombuffer(data, np.uint8), more])
    return Strings(joined, np.concatenate([offsets, ends[1:] + offsets[-1]]))


def _joined(column: NDArray[Any], values: list[int]) -> NDArray[Any]:
    joined = np.concatenate([column, np.array(values, column.dtype)])
    joined.flags.writeable = False
    return joined


def _node(base: Snapshot, category: str) -> int:
    """The node of a path, or of the nearest above it that the base knows; -1 for none."""
    while category:
        first, end = base.category_nodes(category)
        if first < end:
            return first
        category = category.rpartition("/")[0]
    return -1


def _known(over: Snapshot, rows: list[tuple[str, float]]) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Items and scores as columns; items that the catalogue does not have are left out."""
    found = [(position, score) for item_id, score in rows if (position := over.position(item_id)) >= 0]
    positions = np.array([position for position, _ in found], np.uint32)
    return positions, np.array([score for _, score in found], np.float32)


def _neighbours(over: Snapshot, item: OverlayItem) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    return _known(over, [row for row in item.neighbours if row[0] != item.item_id])


def _with_new(pool: ExplorePool, over: Snapshot, new: list[OverlayItem]) -> ExplorePool:
    """A pool with the new items of its category behind its own, as many as there is room for."""
    rows = [
        item
        for item in new
        if not pool.category or f"{over.category(over.position(item.item_id))}/".startswith(f"{pool.category}/")
    ][: MAX_POOL_ITEMS - len(pool)]
    if not rows:
        return pool
    alpha, beta = pool.prior
    # Seeded by the item: every worker draws the same.
    drawn = [np.random.default_rng(zlib.crc32(i.item_id.encode())).beta(alpha, beta, ORDERINGS) for i in rows]
    return ExplorePool(
        Pool(
            pool.category,
            np.concatenate([pool.positions, [over.position(item.item_id) for item in rows]]),
            np.concatenate([pool.means, np.full(len(rows), alpha / (alpha + beta), np.float32)]),
            np.concatenate([pool.new, np.ones(len(rows), bool)]),
            np.concatenate([pool.draws, np.stack(drawn, axis=1).astype(np.float32)], axis=1),
            pool.prior,
        )
    )
