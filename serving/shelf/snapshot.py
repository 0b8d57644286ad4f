"""A snapshot as the endpoint reads it: one immutable version, whole.

from serving.stores import open_store
store = open_store("lmdb://data/store")
snapshot = Snapshot(store.open(store.pointer().live))
"""

from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.shelf.explore import ExplorePool
from serving.snapshot.blobs import Strings, unpack, unpack_json
from serving.snapshot.contents import PRICE_BANDS, Segment, read_pools, read_segments
from serving.snapshot.manifest import SnapshotManifest
from serving.snapshot.record import REASON_CODES, PackedShelf, RecordError, Shelf, decode, record_key
from serving.snapshot.record import unpack as unpack_record
from serving.stores.protocols import StoredVersion

Positions = NDArray[np.integer[Any]]

_TEXTS = {
    # reason code: text with the thing it names, text without
    "popular": ("Popular right now", "Popular right now"),
    "trending": ("Trending in {}", "Trending now"),
    "popular_in_category": ("Popular in {}", "Popular right now"),
    "new_item": ("New in {}", "New arrival"),
    "buy_again": ("Buy again", "Buy again"),
    "bought": ("Because you bought {}", "Because of what you bought"),
    "viewed": ("Because you viewed {}", "Because of what you viewed"),
    "carted": ("Because {} is in your basket", "Goes with your basket"),
    "similar_taste": ("Picked for your taste", "Picked for your taste"),
    "explore": ("Worth a look", "Worth a look"),
}
_RECORDS = 1 << 14  # remembered, of 1 KB each
OF_CATEGORY = {"trending", "popular_in_category", "new_item"}  # reasons that speak of the item's category


def reason_text(name: str, spoken_of: str) -> str:
    """The text of a reason that speaks of a thing, or of none where that is empty."""
    named, bare = _TEXTS[name]
    return named.format(spoken_of) if spoken_of else bare


def spoken_category(path: str) -> str:
    """How a category is named in a sentence."""
    return path.rpartition("/")[2].replace("_", " ").replace("-", " ")


def _json(text: str) -> str:
    return msgspec.json.encode(text).decode()


class Snapshot:
    """One version: its catalogue, fallback shelves, postings, neighbours, and any user's shelf."""

    def __init__(self, stored: StoredVersion) -> None:
        self._stored = stored
        self.manifest: SnapshotManifest = stored.manifest
        self.version = self.manifest.version
        self.item_ids, self.titles = self._strings("item_ids"), self._strings("titles")
        self.categories = self._strings("categories")
        self.brands, self.sellers = self._strings("brands"), self._strings("sellers")
        self.item_category: NDArray[np.int32] = self._array("item_category")
        self.item_brand: NDArray[np.int32] = self._array("item_brand")
        self.item_seller: NDArray[np.int32] = self._array("item_seller")
        self.price_minor: NDArray[np.int64] = self._array("price_minor")
        self.stock: NDArray[np.int32] = self._array("stock")
        self.popularity: NDArray[np.uint32] = self._array("popularity")
        self._withheld = self._array("withheld") if "withheld" in self.manifest.blobs else self.popularity[:0]
        self._category_end, self._postings = self._array("category_end"), self._array("postings")
        self._postings_indptr = self._array("postings_indptr")
        self._shelf_positions, self._shelf_scores = self._array("shelf_positions"), self._array("shelf_scores")
        self._shelf_indptr = self._array("shelf_indptr").tolist()
        self._shelf_row = {(shelf, key): row for row, (shelf, key) in enumerate(self._json("shelves"))}
        self._neighbours_indptr, self._neighbours = self._array("neighbours_indptr"), self._array("neighbours")
        self._neighbour_scores = self._array("neighbour_scores")
        self.segments = self._read_segments()
        self._category_row = {category: row for row, category in enumerate(self.categories)}
        self.pools = self._read_pools()
        self._bands = self._read_bands()
        self.packed = lru_cache(_RECORDS)(self._packed)
        # What `serving.shelf.overlaid` lays over a copy of a base; nothing of it in the base itself.
        self.overlay: str | None = None
        self.base = self
        self.added_row: dict[str, int] = {}
        self.added_near: list[tuple[NDArray[np.uint32], NDArray[np.float32]]] = []
        self.laid_shelves: dict[tuple[str, str], tuple[NDArray[np.uint32], NDArray[np.float32]]] = {}
        self.remember()

    def remember(self) -> None:
        """Texts and ids repeat from request to request: the same items are shown to many."""
        self.item_id = lru_cache(1 << 16)(self.item_ids.__getitem__)
        self.item_json = lru_cache(1 << 16)(self._item_json)
        self.reason_json = lru_cache(1 << 17)(self._reason_json)
        self.position = lru_cache(1 << 16)(self._position)
        self.segment_shelf = lru_cache(1 << 12)(self._segment_shelf)
        self.pool_in = lru_cache(1 << 12)(self._pool_in)
        self.band_shelf = lru_cache(1 << 10)(self._band_shelf)

    def __len__(self) -> int:
        return len(self.item_ids)

    def _array(self, name: str) -> NDArray[Any]:
        return unpack(self._stored.blob(name), f"{name} of {self._stored.manifest.version}")

    def _json(self, name: str) -> Any:
        return unpack_json(self._stored.blob(name), name)

    def _strings(self, name: str) -> Strings:
        return Strings(self._array(f"{name}.data"), self._array(f"{name}.offsets"))

    def _read_segments(self) -> list[Segment]:
        chosen = self._json("segment_categories") if "segment_categories" in self.manifest.blobs else None
        return read_segments(self._json("segments"), chosen)

    def _read_pools(self) -> dict[str, ExplorePool]:
        """Exploration pools by category path; none in a snapshot from before there were any."""
        if "pools" not in self.manifest.blobs:
            return {}
        names = self._json("pools")
        columns = {name: self._array(f"pool_{name}") for name in ("positions", "means", "new", "draws")}
        return {pool.category: ExplorePool(pool) for pool in read_pools(names, columns)}

    def _read_bands(self) -> tuple[NDArray[np.int64], NDArray[np.int64], Positions, Positions] | None:
        if "band_edges" not in self.manifest.blobs:
            return None
        edges, indptr = self._array("band_edges"), self._array("band_indptr")
        return edges, indptr, self._array("band_positions"), self._array("band_ranks")

    def _packed(self, user_id: str, variant: str = "base") -> PackedShelf | None:
        """A user's own record, or None for a user that the night did not know. Raises RecordError, StoreError."""
        record = self._stored.look_up(record_key(user_id, variant))
        if record is None:
            return None
        packed = unpack_record(record)
        highest = int(packed.positions(packed.count).max()) if packed.count else 0
        if highest >= len(self) or packed.segment >= len(self.segments):
            raise RecordError(
                f"a record names an item or a segment that {self.version} lacks; publish the night again"
            )
        return packed

    def shelf(self, user_id: str, variant: str = "base") -> Shelf | None:
        """A user's own shelf, read whole; None and errors as for `packed`."""
        packed = self.packed(user_id, variant)
        return None if packed is None else decode(packed.record)

    def fallback(self, shelf: str, key: str = "") -> tuple[NDArray[np.uint32], NDArray[np.float32]] | None:
        """A fallback shelf (`global`, `trending`, `new`, `region`, `age_band`, `category`): positions and scores."""
        if (shelf, key) in self.laid_shelves:
            return self.laid_shelves[shelf, key]
        row = self._shelf_row.get((shelf, key))
        if row is None:
            return None
        rows = slice(self._shelf_indptr[row], self._shelf_indptr[row + 1])
        return self._shelf_positions[rows], self._shelf_scores[rows]

    def _segment_shelf(
        self, region: str, age_band: str, categories: tuple[str, ...]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]] | None:
        """What a segment wants: the shelves of the chosen categories, the region and the age band take turns.

        Positions (each once), scores, and which come from a chosen category; None for a segment without shelves.
        """
        names = [("category", path) for path in categories] + [("region", region), ("age_band", age_band)]
        shelves = [(kind, found) for kind, key in names if key and (found := self.fallback(kind, key)) is not None]
        if not shelves:
            return None
        turn = np.concatenate([np.arange(len(positions)) for _, (positions, _) in shelves])
        order = np.argsort(turn, kind="stable")
        positions = np.concatenate([positions for _, (positions, _) in shelves]).astype(np.int64)[order]
        scores = np.concatenate([scores for _, (_, scores) in shelves])[order]
        chosen = np.concatenate([np.full(len(found[0]), kind == "category") for kind, found in shelves])[order]
        once = np.sort(np.unique(positions, return_index=True)[1])
        return positions[once], scores[once], chosen[once]

    def _band_shelf(self, category: str | None, lowest: int, highest: int) -> NDArray[np.int64]:
        """The most popular items, as of the night, of the price bands that a range touches: positions."""
        row = len(self.categories) if category is None else self._category_row.get(category)
        if self._bands is None or row is None:
            return np.empty(0, np.int64)
        edges, indptr, positions, ranks = self._bands
        first = row * PRICE_BANDS + int(np.searchsorted(edges[row], lowest, side="right"))
        last = row * PRICE_BANDS + int(np.searchsorted(edges[row], highest, side="right"))
        rows = slice(indptr[first], indptr[last + 1])
        return positions[rows][np.argsort(ranks[rows], kind="stable")].astype(np.int64)

    def pool(self, category: str | None) -> ExplorePool | None:
        """The exploration pool of a path, or of the nearest path above it that has one; None where none has."""
        path = category or ""
        while path not in self.pools and path:
            path = path.rpartition("/")[0]
        return self.pools.get(path)

    def _pool_in(self, category: str | None) -> tuple[ExplorePool, NDArray[np.bool_]] | None:
        """The pool of a path, and which of its items lie in that path."""
        pool = self.pool(category)
        if pool is None or category is None:
            return None if pool is None else (pool, np.ones(len(pool), np.bool_))
        first, end = self.category_nodes(category)
        node = self.item_category[pool.positions]
        return pool, (node >= first) & (node < end)

    def category_nodes(self, category: str) -> tuple[int, int]:
        """The nodes of a path and all below it, as a half-open range of `item_category`; empty where unknown."""
        row = self._category_row.get(category)
        return (0, 0) if row is None else (row, int(self._category_end[row]))

    def postings(self, category: str | None = None) -> Positions:
        """Every item of the catalogue, or of a path and all below it, the most popular first."""
        if category is None:
            return self.popularity
        row = self._category_row.get(category)
        if row is None:
            return self.popularity[:0]
        found: Positions = self._postings[self._postings_indptr[row] : self._postings_indptr[row + 1]]
        return found

    def listed(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of the positions that rules do not withhold from who is not known to be of age."""
        return positions[~np.isin(positions, self._withheld)] if len(self._withheld) else positions

    def added(self, category: str | None = None) -> Positions:
        """The items that an overlay added to the catalogue, or to a path and all below it, the newest first."""
        positions = np.arange(len(self.base), len(self))
        if category is None:
            return positions
        first, end = self.category_nodes(category)
        node = self.item_category[positions]
        return positions[(node >= first) & (node < end)]

    def _position(self, item_id: str) -> int:
        """The item's row in the catalogue, or -1."""
        found = self.base.item_ids.find(item_id)
        return found if found >= 0 else self.added_row.get(item_id, -1)

    def similar(self, position: int) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """The item's neighbours and their scores, the nearest first."""
        if position >= len(self.base):
            return self.added_near[position - len(self.base)]
        rows = slice(self._neighbours_indptr[position], self._neighbours_indptr[position + 1])
        return self._neighbours[rows], self._neighbour_scores[rows]

    def category(self, position: int) -> str:
        """The item's path, empty for none."""
        row = int(self.item_category[position])
        return "" if row < 0 else str(self.categories[row])

    def _item_json(self, position: int) -> str:
        """The beginning of an item in an answer, up to its score."""
        return f'{{"item_id":{_json(self.item_ids[position])},"score":'

    def _reason_json(self, code: int, position: int, reason_position: int) -> str:
        return _json(self.reason(code, position, reason_position))

    def reason(self, code: int, position: int, reason_position: int) -> str:
        """The text of a reason, with the title or the category it speaks of where that is known."""
        name = REASON_CODES[code]
        if name in OF_CATEGORY:
            return reason_text(name, spoken_category(self.category(position)))
        return reason_text(name, str(self.titles[reason_position]) if 0 <= reason_position < len(self) else "")

    def close(self) -> None:
        """Give back what the store holds for this version; its arrays stay readable."""
        self._stored.close()
