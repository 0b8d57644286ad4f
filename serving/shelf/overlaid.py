"""Lay an overlay over its base: one snapshot that lookups read like any other.

merged = with_overlay(base, open_store(overlay_url(store_url)).open(overlay_version))

The base's positions do not change, so stored shelves stay valid; new items follow behind them. A new item is found by
its id, stands at the end of the postings, has neighbours, and joins the exploration pools with draws from the pool's
prior.
"""

import copy
import zlib
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from serving.shelf.explore import ExplorePool
from serving.shelf.published_blobs import PublishedBlobs
from serving.shelf.snapshot import ScoredPositions, Snapshot
from serving.snapshot.blobs import Strings, pack_strings, unpack
from serving.snapshot.contents import MAX_POOL_ITEMS, ORDERINGS, Pool
from serving.snapshot.manifest import StoreError
from serving.snapshot.overlay import OverlayItem, is_over, read_overlay
from serving.stores.protocols import StoredVersion

Number = TypeVar("Number", bound=np.generic)


def with_overlay(base: Snapshot, stored: StoredVersion) -> Snapshot:
    """Return a copy of the base with an overlay over it. Raises StoreError for damage, and for another base's."""
    name = stored.manifest.version
    if base.overlay is not None or not is_over(name, base.version):
        raise StoreError(f"overlay {name} is not bound to {base.version}; the next run writes one that is")
    blobs = PublishedBlobs(stored)
    contents = read_overlay(blobs.raw("trending"), blobs.raw("new_items"), name)
    new_by_id = {item.item_id: item for item in contents.new_items if base.position(item.item_id) < 0}
    new_items = list(new_by_id.values())
    merged = copy.copy(base)
    merged.overlay, merged.lies_over = name, base
    merged.added_rows = {item.item_id: len(base) + row for row, item in enumerate(new_items)}
    merged.item_ids = _extended(base.item_ids, [item.item_id for item in new_items])
    merged.titles = _extended(base.titles, [item.title for item in new_items])
    merged.item_category = _appended(base.item_category, [_known_node(base, item.category) for item in new_items])
    _add_brands(merged, [item.brand for item in new_items])
    _add_image_urls(merged, [item.image_url for item in new_items])
    merged.price_minor = _appended(base.price_minor, [item.price_minor for item in new_items])
    merged.stock = _appended(base.stock, [item.stock for item in new_items])
    merged.reset_caches()
    merged.added_neighbours = [_neighbours(merged, item) for item in new_items]
    if contents.trending is not None:
        merged.overlay_shelves = {("trending", ""): _known_items(merged, contents.trending)}
    merged.pools = {path: _with_new_items(pool, merged, new_items) for path, pool in base.pools.items()}
    return merged


def _extended(column: Strings, values: list[str]) -> Strings:
    data, offsets = column.columns
    added_data, added_offsets = (unpack(image) for image in pack_strings(values))
    joined = np.concatenate([np.frombuffer(data, np.uint8), added_data])
    return Strings(joined, np.concatenate([offsets, added_offsets[1:] + offsets[-1]]))


def _appended(column: NDArray[Number], values: list[int]) -> NDArray[Number]:
    joined = np.concatenate([column, np.array(values, column.dtype)])
    joined.flags.writeable = False
    return joined


def _add_brands(merged: Snapshot, of_new_items: list[str]) -> None:
    """Add the brands of new items behind the base's, and the new items behind its items."""
    base = merged.base
    added = sorted({brand for brand in of_new_items if brand and base.brands.find(brand) < 0})
    row = {brand: len(base.brands) + number for number, brand in enumerate(added)}
    rows = [row[brand] if brand in row else base.brands.find(brand) if brand else -1 for brand in of_new_items]
    merged.brands = _extended(base.brands, added)
    merged.item_brand = _appended(base.item_brand, rows)


def _add_image_urls(merged: Snapshot, of_new_items: list[str]) -> None:
    """Add the pictures of new items behind the base's, which may have none at all."""
    urls = merged.base.image_urls
    if urls is not None or any(of_new_items):
        if urls is None:
            urls = Strings(np.empty(0, np.uint8), np.zeros(len(merged.base) + 1, np.int64))
        merged.image_urls = _extended(urls, of_new_items)


def _known_node(base: Snapshot, category: str) -> int:
    """Return the node of a path, or of the nearest path above it that the base knows; -1 for none."""
    while category:
        first, end = base.category_nodes(category)
        if first < end:
            return first
        category = category.rpartition("/")[0]
    return -1


def _known_items(merged: Snapshot, rows: list[tuple[str, float]]) -> ScoredPositions:
    """Return item ids and scores as columns; items that the catalogue lacks are left out."""
    known = [(position, score) for item_id, score in rows if (position := merged.position(item_id)) >= 0]
    positions = np.array([position for position, _ in known], np.uint32)
    return positions, np.array([score for _, score in known], np.float32)


def _neighbours(merged: Snapshot, item: OverlayItem) -> ScoredPositions:
    return _known_items(merged, [row for row in item.neighbours if row[0] != item.item_id])


def _with_new_items(pool: ExplorePool, merged: Snapshot, new_items: list[OverlayItem]) -> ExplorePool:
    """Return a pool with the new items of its category behind its own, as many as there is room for."""
    added = [
        item
        for item in new_items
        if not pool.category or f"{merged.category(merged.position(item.item_id))}/".startswith(f"{pool.category}/")
    ][: MAX_POOL_ITEMS - len(pool)]
    if not added:
        return pool
    alpha, beta = pool.prior
    # Seeded by the item, so that every worker draws the same.
    seeds = [zlib.crc32(item.item_id.encode()) for item in added]
    drawn = [np.random.default_rng(seed).beta(alpha, beta, ORDERINGS) for seed in seeds]
    return ExplorePool(
        Pool(
            pool.category,
            np.concatenate([pool.positions, [merged.position(item.item_id) for item in added]]),
            np.concatenate([pool.means, np.full(len(added), alpha / (alpha + beta), np.float32)]),
            np.concatenate([pool.new, np.ones(len(added), bool)]),
            np.concatenate([pool.draws, np.stack(drawn, axis=1).astype(np.float32)], axis=1),
            pool.prior,
        )
    )
