"""One snapshot version as lookups read it.

from serving.stores import open_store
store = open_store("lmdb://data/store")
snapshot = Snapshot(store.open(store.pointer().live))
"""

import sys
import weakref
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from serving.shelf.basket import ItemLists
from serving.shelf.bounded_table import BoundedTable
from serving.shelf.explore import ExplorePool
from serving.shelf.languages import built_in_languages, category_name
from serving.shelf.published_blobs import PublishedBlobs
from serving.shelf.vocabulary import ANSWER_REASONS
from serving.snapshot.contents import ITEM_LISTS, PRICE_BANDS, PoolHead, Segment, read_pools, read_segments
from serving.snapshot.experiments import BASE, Experiments, ExperimentsError, Layer, read_experiments
from serving.snapshot.manifest import SnapshotManifest, StoreError
from serving.snapshot.own_lists import NO_OWN_LISTS, OWN_LISTS, OwnLists, own_lists_of
from serving.snapshot.record import PackedShelf, RecordError, Shelf, decode, record_key, record_size
from serving.snapshot.record import unpack as unpack_record
from serving.stores.protocols import StoredVersion

Positions = NDArray[np.integer]
ScoredPositions = tuple[NDArray[np.uint32], NDArray[np.float32]]
SegmentShelf = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]

# Bounds of the tables of one snapshot. Ids and paths have at most 256 bytes.
_RECORDS_BYTES, _MOST_RECORDS, _RECORD_ENTRY_BYTES = 24 << 20, 1 << 14, 640
_MOST_POSITIONS = 1 << 15  # of about 0.2 KB each, at most 0.5 KB
_MOST_POOL_MASKS = 1 << 12  # of at most 1 KB each
_MOST_BAND_SHELVES = 1 << 10  # of at most 7 KB each
_SEGMENT_SHELVES_BYTES, _SEGMENT_ENTRY_BYTES = 16 << 20, 600

_NO_ITEMS: ScoredPositions = (np.empty(0, np.uint32), np.empty(0, np.float32))


class Snapshot:
    """One version: its catalogue, fallback shelves, postings, neighbours, and any user's stored shelf."""

    def __init__(self, stored: StoredVersion) -> None:
        """Read every blob that lookups need. Raises StoreError for one that is missing or damaged."""
        self._stored, self._blobs = stored, PublishedBlobs(stored)
        self.manifest: SnapshotManifest = stored.manifest
        self.version = self.manifest.version
        self.item_ids, self.titles = self._blobs.strings("item_ids"), self._blobs.strings("titles")
        self.item_ids.find("")  # prepares it for searches here, on the thread that loads
        self.categories = self._blobs.strings("categories")
        self.item_category = self._blobs.array("item_category", np.int32)
        self.brands, self.item_brand = self._blobs.strings("brands"), self._blobs.array("item_brand", np.int32)
        self.image_urls = self._blobs.strings("image_urls") if self._blobs.has("image_urls.data") else None
        self.price_minor = self._blobs.array("price_minor", np.int64)
        self.stock = self._blobs.array("stock", np.int32)
        self.popularity = self._blobs.array("popularity", np.uint32)
        self._withheld = (
            self._blobs.array("withheld", np.uint32) if self._blobs.has("withheld") else self.popularity[:0]
        )
        self._category_end = self._blobs.array("category_end", np.int32)
        self._postings = self._blobs.array("postings", np.uint32)
        self._postings_indptr = self._blobs.array("postings_indptr", np.int64)
        self._shelf_positions = self._blobs.array("shelf_positions", np.uint32)
        self._shelf_scores = self._blobs.array("shelf_scores", np.float32)
        self._shelf_indptr: list[int] = self._blobs.array("shelf_indptr", np.int64).tolist()
        self._shelf_row = {name: row for row, name in enumerate(self._blobs.json("shelves", list[tuple[str, str]]))}
        self._neighbours_indptr = self._blobs.array("neighbours_indptr", np.int64)
        self._neighbours = self._blobs.array("neighbours", np.uint32)
        self._neighbour_scores = self._blobs.array("neighbour_scores", np.float32)
        has_usual = self._blobs.has("usual_price_minor")
        self.usual_price_minor = self._blobs.array("usual_price_minor", np.int64) if has_usual else None
        self._item_lists = {name: self._read_item_list(name) for name in ITEM_LISTS if self._blobs.has(name)}
        self.segments = self._read_segments()
        self._category_row = {category: row for row, category in enumerate(self.categories)}
        self.pools = self._read_pools()
        self._bands = self._read_bands()
        self.experiments = self._read_experiments()
        largest = max([record_size(self.manifest.top_n), *(of.max_record_bytes for of in self.manifest.shards)])
        most_records = _RECORDS_BYTES // (largest + _RECORD_ENTRY_BYTES)
        self.packed = lru_cache(min(_MOST_RECORDS, most_records))(partial(type(self)._packed, weakref.proxy(self)))
        # The fields that `serving.shelf.overlaid` sets on its copy of a base; a base has no overlay.
        self.overlay: str | None = None
        self.lies_over: Snapshot | None = None
        self.added_rows: dict[str, int] = {}
        self.added_neighbours: list[ScoredPositions] = []
        self.overlay_shelves: dict[tuple[str, str], ScoredPositions] = {}
        self.reset_caches()

    def reset_caches(self) -> None:
        """Start empty caches: many requests show the same items and ask for the same categories.

        The caches refer to this snapshot weakly, so that it is released with its last user: no cycle is left for the
        garbage collector, which rarely runs.
        """
        this = weakref.proxy(self)
        self.position = lru_cache(_MOST_POSITIONS)(partial(Snapshot._position, this))
        self.pool_in = lru_cache(_MOST_POOL_MASKS)(partial(Snapshot._pool_in, this))
        self.band_shelf = lru_cache(_MOST_BAND_SHELVES)(partial(Snapshot._band_shelf, this))
        self.segment_shelves: BoundedTable[Segment, tuple[SegmentShelf | None]] = BoundedTable(_SEGMENT_SHELVES_BYTES)

    @property
    def base(self) -> "Snapshot":
        """The snapshot that this one's overlay lies over; itself where there is none."""
        return self if self.lies_over is None else self.lies_over

    def __len__(self) -> int:
        return len(self.item_ids)

    def has_items_of(self, other: "Snapshot") -> bool:
        """Whether the bases of both have the same items at the same positions."""
        blobs, others = self.manifest.blobs, other.manifest.blobs
        return self.base is other.base or all(
            blobs[name] == others[name] for name in ("item_ids.data", "item_ids.offsets")
        )

    def _read_item_list(self, name: str) -> ItemLists:
        return ItemLists(
            self._blobs.array(f"{name}_indptr", np.int64),
            self._blobs.array(name, np.uint32),
            self._blobs.array(f"{name}_scores", np.float32),
        )

    def _read_segments(self) -> list[Segment]:
        chosen = (
            self._blobs.json("segment_categories", list[list[str]]) if self._blobs.has("segment_categories") else None
        )
        return read_segments(self._blobs.json("segments", list[tuple[str, str]]), chosen)

    def _read_pools(self) -> dict[str, ExplorePool]:
        """Read the exploration pools by category path; older snapshots have none."""
        if not self._blobs.has("pools"):
            return {}
        pools = read_pools(
            self._blobs.json("pools", list[PoolHead]),
            positions=self._blobs.array("pool_positions", np.uint32),
            means=self._blobs.array("pool_means", np.float32),
            new=self._blobs.array("pool_new", np.uint8),
            draws=self._blobs.array("pool_draws", np.float32),
        )
        return {pool.category: ExplorePool(pool) for pool in pools}

    def _read_experiments(self) -> Experiments | None:
        """Read the experiments that run, None for none. Raises StoreError where they cannot be meant."""
        if not self._blobs.has("experiments"):
            return None
        layers = self._blobs.json("experiments", list[Layer])
        try:
            return read_experiments(layers, self._blobs.array("experiment_buckets", np.uint8))
        except ExperimentsError as error:
            raise StoreError(f"{self.version}: {error}") from error

    def usual_variant(self, user_id: str) -> str:
        """Return the variant of a user's shelf that an answer reads, the control's where it reads several."""
        return self.experiments.assigned(user_id, b"").variants[0] if self.experiments is not None else BASE

    def _read_bands(
        self,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint32], NDArray[np.uint32]] | None:
        """Read edges, indptr, positions and ranks of the price bands; older snapshots have none."""
        if not self._blobs.has("band_edges"):
            return None
        edges, indptr = self._blobs.array("band_edges", np.int64), self._blobs.array("band_indptr", np.int64)
        return (
            edges,
            indptr,
            self._blobs.array("band_positions", np.uint32),
            self._blobs.array("band_ranks", np.uint32),
        )

    def _packed(self, user_id: str, variant: str = "base") -> PackedShelf | None:
        """Return a user's stored shelf, or None where the night has none. Raises RecordError, StoreError."""
        record = self._stored.look_up(record_key(user_id, variant))
        if record is None:
            return None
        packed = unpack_record(record)
        highest = int(packed.positions(packed.count).max()) if packed.count else -1
        if highest >= len(self) or packed.segment >= len(self.segments):
            raise RecordError(
                f"a record names an item or a segment that {self.version} lacks; publish the night again"
            )
        return packed

    def shelf(self, user_id: str, variant: str | None = None) -> Shelf | None:
        """Return a user's stored shelf decoded, or None where the night has none. Raises RecordError, StoreError.

        Without a variant, it is the one that answers read.
        """
        packed = self.packed(user_id, variant or self.usual_variant(user_id))
        if packed is None and variant is None:
            packed = self.packed(user_id)
        return None if packed is None else decode(packed.record)

    def own_lists(self, user_id: str) -> OwnLists:
        """Return a user's own lists, empty where the night has none. Raises RecordError, StoreError."""
        packed = self.packed(user_id, OWN_LISTS)
        return NO_OWN_LISTS if packed is None else own_lists_of(packed)

    def fallback(self, shelf: str, key: str = "") -> ScoredPositions | None:
        """Return a fallback shelf, or None; `shelf` is global, trending, new, region, age_band or category."""
        if (shelf, key) in self.overlay_shelves:
            return self.overlay_shelves[shelf, key]
        row = self._shelf_row.get((shelf, key))
        if row is None:
            return None
        rows = slice(self._shelf_indptr[row], self._shelf_indptr[row + 1])
        return self._shelf_positions[rows], self._shelf_scores[rows]

    def segment_shelf(self, region: str, age_band: str, categories: tuple[str, ...]) -> SegmentShelf | None:
        """Return what a segment is offered, as `_segment_shelf` does."""
        segment = (region, age_band, categories)
        found = self.segment_shelves.get(segment)
        if found is None:
            shelf = self._segment_shelf(*segment)
            size = _SEGMENT_ENTRY_BYTES + sum(map(sys.getsizeof, (region, age_band, *categories)))
            size += sum(column.nbytes for column in shelf or ())
            found = (shelf,)
            self.segment_shelves.put(segment, found, size)
        return found[0]

    def _segment_shelf(self, region: str, age_band: str, categories: tuple[str, ...]) -> SegmentShelf | None:
        """Return what a segment is offered: the shelves of its categories, region and age band take turns.

        Gives positions (each once), scores, and whether each comes from a chosen category. None if the segment has
        no shelf.
        """
        names = [("category", path) for path in categories] + [("region", region), ("age_band", age_band)]
        shelves = [(kind, shelf) for kind, key in names if key and (shelf := self.fallback(kind, key)) is not None]
        if not shelves:
            return None
        turn = np.concatenate([np.arange(len(positions)) for _, (positions, _) in shelves])
        order = np.argsort(turn, kind="stable")
        positions = np.concatenate([positions for _, (positions, _) in shelves]).astype(np.int64)[order]
        scores = np.concatenate([scores for _, (_, scores) in shelves])[order]
        chosen = np.concatenate([np.full(len(shelf[0]), kind == "category") for kind, shelf in shelves])[order]
        once = np.sort(np.unique(positions, return_index=True)[1])
        return positions[once], scores[once], chosen[once]

    def _band_shelf(self, category: str | None, lowest: int, highest: int) -> NDArray[np.int64]:
        """Return positions of the most popular items of every price band that the range touches, by popularity.

        Bands follow the night's prices, so an item may lie outside the range.
        """
        row = len(self.categories) if category is None else self._category_row.get(category)
        if self._bands is None or row is None:
            return np.empty(0, np.int64)
        edges, indptr, positions, ranks = self._bands
        first = row * PRICE_BANDS + int(np.searchsorted(edges[row], lowest, side="right"))
        last = row * PRICE_BANDS + int(np.searchsorted(edges[row], highest, side="right"))
        rows = slice(indptr[first], indptr[last + 1])
        return positions[rows][np.argsort(ranks[rows], kind="stable")].astype(np.int64)

    def pool(self, category: str | None) -> ExplorePool | None:
        """Return the exploration pool of a path, or of the nearest path above it that has one, or None."""
        path = category or ""
        while path not in self.pools and path:
            path = path.rpartition("/")[0]
        return self.pools.get(path)

    def _pool_in(self, category: str | None) -> tuple[ExplorePool, NDArray[np.bool_]] | None:
        """Return the pool of a path, and which of its items lie in that path."""
        pool = self.pool(category)
        if pool is None or category is None:
            return None if pool is None else (pool, np.ones(len(pool), np.bool_))
        first, end = self.category_nodes(category)
        node = self.item_category[pool.positions]
        return pool, (node >= first) & (node < end)

    def category_nodes(self, category: str) -> tuple[int, int]:
        """Return a path and all below it as a half-open range of `item_category`; (0, 0) for an unknown path."""
        row = self._category_row.get(category)
        return (0, 0) if row is None else (row, int(self._category_end[row]))

    def postings(self, category: str | None = None) -> Positions:
        """Return every listed item of the catalogue, or of a path and all below it, most popular first."""
        if category is None:
            return self.popularity
        row = self._category_row.get(category)
        if row is None:
            return self.popularity[:0]
        return self._postings[self._postings_indptr[row] : self._postings_indptr[row + 1]]

    def not_withheld(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions without items that rules withhold from users not known to be of age."""
        return positions[~np.isin(positions, self._withheld)] if len(self._withheld) else positions

    def added_items(self, category: str | None = None) -> Positions:
        """Return the items that the overlay added to the catalogue, or to a path and all below it, newest first."""
        positions = np.arange(len(self.base), len(self))
        if category is None:
            return positions
        first, end = self.category_nodes(category)
        node = self.item_category[positions]
        return positions[(node >= first) & (node < end)]

    def _position(self, item_id: str) -> int:
        """Return the item's row in the catalogue, or -1."""
        position = self.base.item_ids.find(item_id)
        return position if position >= 0 else self.added_rows.get(item_id, -1)

    def similar(self, position: int) -> ScoredPositions:
        """Return the item's neighbours and their scores, nearest first."""
        if position >= len(self.base):
            return self.added_neighbours[position - len(self.base)]
        rows = slice(self._neighbours_indptr[position], self._neighbours_indptr[position + 1])
        return self._neighbours[rows], self._neighbour_scores[rows]

    def item_list(self, name: str, position: int) -> ScoredPositions:
        """Return one of ITEM_LISTS of an item: positions and scores, best first.

        Both are empty where the snapshot has no such list, and for an item that an overlay added.
        """
        columns = self._item_lists.get(name)
        if columns is None or position >= len(self.base):
            return _NO_ITEMS
        indptr, positions, scores = columns
        rows = slice(indptr[position], indptr[position + 1])
        return positions[rows], scores[rows]

    def item_lists(self, name: str) -> ItemLists | None:
        """Return one of ITEM_LISTS of all items of the base; None where the snapshot has no such list."""
        return self._item_lists.get(name)

    def item_id(self, position: int) -> str:
        """Return the item's id."""
        return self.item_ids[position]

    def category(self, position: int) -> str:
        """Return the item's category path; empty for none."""
        row = int(self.item_category[position])
        return "" if row < 0 else str(self.categories[row])

    def brand(self, position: int) -> str:
        """Return the item's brand; empty for none."""
        row = int(self.item_brand[position])
        return "" if row < 0 else self.brands[row]

    def image_url(self, position: int) -> str:
        """Return the address of the item's picture; empty for none."""
        return "" if self.image_urls is None else self.image_urls[position]

    def reason(self, code: int, position: int, reason_position: int) -> str:
        """Return a reason in English, with the title or category that it names where that is known."""
        message = built_in_languages().english.reasons[ANSWER_REASONS[code]]
        if message.names == "category":
            return message.text(category_name(self.category(position)))
        return message.text(self.titles[reason_position] if 0 <= reason_position < len(self) else "")

    def close(self) -> None:
        """Release what the store holds for this version. Its arrays stay readable."""
        self._stored.close()
