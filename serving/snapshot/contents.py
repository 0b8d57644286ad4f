"""What a snapshot holds besides the users' records, as blobs.

`jobs.publishing.publish` writes them, `serving.shelf.snapshot` reads them.

Positions are rows of the catalogue, which is sorted by the bytes of `item_id`. Blobs and their shapes:

| blobs | what |
| --- | --- |
| `item_ids`, `titles` (each `.data`, `.offsets`) | strings, one an item |
| `item_brand`, `item_seller` int32 [items] with `brands`, `sellers` (strings) | -1 for none; sellers are not read |
| `image_urls` (`.data`, `.offsets`), if any | addresses of pictures, one an item, empty for none |
| `categories` (strings), `category_end` int32 | every path and each above it; the subtree of `i` is `i:end[i]` |
| `item_category` int32 [items] | the item's node, -1 for none |
| `price_minor` int64, `stock` int32 [items] | as of the night, -1 for unknown |
| `usual_price_minor` int64 [items], if any | what the item usually cost lately, -1 for unknown |
| `popularity` uint32 [listed] | every position that is not withheld, most popular first |
| `withheld` uint32, if any | positions that rules withhold from users not known to be of age |
| `postings_indptr` int64 [nodes + 1], `postings` uint32 | for each node, its subtree's items, most popular first |
| `shelves` (JSON: pairs of shelf and key), with | the fallback shelves, in the order of rank |
| `shelf_indptr`, `shelf_positions`, `shelf_scores` | |
| `neighbours_indptr`, `neighbours`, `neighbour_scores` | similar items, nearest first |
| `<list>_indptr` int64 [items + 1], `<list>` uint32, `<list>_scores` float32 | if any: |
| | each of ITEM_LISTS, the items that go with each item, best first |
| `segments` (JSON: pairs of region and age band) | the segments that records index; the first is that of none |
| `segment_categories` (JSON: lists of paths) | the categories that the users of each segment chose |
| `band_edges` int64 [nodes + 1, PRICE_BANDS - 1] | where a node's price bands end; the last row is for all items |
| `band_indptr` int64 [(nodes + 1) * PRICE_BANDS + 1] | for each node and band its most popular items, |
| `band_positions`, `band_ranks` uint32 | and their places in `popularity` |
| `pools` (JSON: category path, empty for all items; item count; prior), with | the exploration pools |
| `pool_positions` uint32, `pool_means` float32, `pool_new` uint8 | one entry an item, pool after pool |
| `pool_draws` float32 | for each pool an array [ORDERINGS, count]; a row sorted descending is an ordering |
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from serving.snapshot.blobs import pack, pack_json, pack_strings

UNKNOWN = -1  # of a price or a stock
PRICE_BANDS = 8
BAND_LENGTH = 100
ORDERINGS = 256
SALE_SHARE = 0.95  # of its usual price, at most what an item on sale costs
MAX_POOL_ITEMS = 256  # rows of a pool are one byte each
ITEM_LISTS = ("bought_together", "substitutes", "looked_next")  # each optional
Segment = tuple[str, str, tuple[str, ...]]  # region, age band, chosen category paths; each empty for none
PoolHead = tuple[str, int, tuple[float, float]]  # of a pool: category path, count of items, prior
NO_SEGMENT: Segment = ("", "", ())


class ContentsError(ValueError):
    """The columns make no snapshot."""


@dataclass(frozen=True, slots=True)
class SnapshotCatalogue:
    """The day's items, sorted by the UTF-8 bytes of `item_ids`; every column has one entry an item."""

    item_ids: Sequence[str]
    titles: Sequence[str]  # empty for none
    categories: Sequence[str]  # a path, empty for none
    brands: Sequence[str]
    sellers: Sequence[str]
    image_urls: Sequence[str]  # empty for none
    price_minor: NDArray[np.int64]  # UNKNOWN for none
    stock: NDArray[np.int32]  # UNKNOWN for none
    popularity: NDArray[np.uint32]  # positions, most popular first; an item that is not among them is withheld
    usual_price_minor: NDArray[np.int64] | None = None  # UNKNOWN for none


@dataclass(frozen=True, slots=True)
class Pool:
    """Items worth learning about, of one category path, or of all items where that is empty.

    Row `r` of `draws` holds one draw from every item's posterior. Sorted descending it is one of the ORDERINGS that
    requests choose from. `prior` are alpha and beta of the Beta distribution of an item without any data.
    """

    category: str
    positions: NDArray[np.integer]  # [items]
    means: NDArray[np.floating]  # [items], the posterior mean of a click
    new: NDArray[np.bool_]  # [items], true for recently landed items; the others are uncertain ones
    draws: NDArray[np.floating]  # [ORDERINGS, items]
    prior: tuple[float, float]


def catalogue_blobs(catalogue: SnapshotCatalogue) -> Iterator[tuple[str, bytes]]:
    """Yield the blobs of the items, their categories and postings, by name. Raises ContentsError.

    Item ids must ascend, all columns have one length, and popularity names each position at most once.
    """
    _check(catalogue)
    yield from _strings("item_ids", catalogue.item_ids)
    yield from _strings("titles", catalogue.titles)
    for name, values in (("brand", catalogue.brands), ("seller", catalogue.sellers)):
        distinct = sorted({value for value in values if value})
        yield from _strings(f"{name}s", distinct)
        yield f"item_{name}", pack(_row_numbers(values, distinct))
    if any(catalogue.image_urls):
        yield from _strings("image_urls", catalogue.image_urls)
    yield "price_minor", pack(np.asarray(catalogue.price_minor, np.int64))
    if catalogue.usual_price_minor is not None:
        yield "usual_price_minor", pack(np.asarray(catalogue.usual_price_minor, np.int64))
    yield "stock", pack(np.asarray(catalogue.stock, np.int32))
    yield "popularity", pack(np.asarray(catalogue.popularity, np.uint32))
    withheld = np.setdiff1d(np.arange(len(catalogue.item_ids), dtype=np.uint32), catalogue.popularity)
    if len(withheld):
        yield "withheld", pack(withheld.astype(np.uint32))
    yield from _category_blobs(catalogue)


def _check(catalogue: SnapshotCatalogue) -> None:
    n = len(catalogue.item_ids)
    previous = None
    for item_id in catalogue.item_ids:
        encoded = item_id.encode()
        if previous is not None and encoded <= previous:
            raise ContentsError(f"item_id {item_id!r} is out of order; a catalogue is sorted by the bytes of its ids")
        previous = encoded
    for name in ("titles", "categories", "brands", "sellers", "image_urls", "price_minor", "stock"):
        if len(getattr(catalogue, name)) != n:
            raise ContentsError(f"{name} has {len(getattr(catalogue, name))} rows, the catalogue {n}")
    listed = np.sort(catalogue.popularity)
    if len(listed) and (listed[0] < 0 or listed[-1] >= n or (listed[1:] == listed[:-1]).any()):
        raise ContentsError(f"popularity names a position twice, or one that is not among the {n} items")


def _strings(name: str, values: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    data, offsets = pack_strings(values)
    yield f"{name}.data", data
    yield f"{name}.offsets", offsets


def _row_numbers(values: Sequence[str], distinct: Sequence[str]) -> NDArray[np.int32]:
    """Return the row of each value in `distinct`; -1 for an empty value."""
    row = {value: number for number, value in enumerate(distinct)} | {"": -1}
    return np.fromiter((row[value] for value in values), np.int32, len(values))


def _category_blobs(catalogue: SnapshotCatalogue) -> Iterator[tuple[str, bytes]]:
    paths: set[tuple[str, ...]] = set()
    for category in set(catalogue.categories) - {""}:
        path = tuple(category.split("/"))
        paths.update(path[:depth] for depth in range(1, len(path) + 1))
    nodes = sorted(paths)  # by component, so that a subtree follows its root
    row = {path: number for number, path in enumerate(nodes)}
    parent = np.array([row.get(path[:-1], -1) for path in nodes], np.int32)
    end = np.arange(1, len(nodes) + 1, dtype=np.int32)
    for number in range(len(nodes) - 1, -1, -1):
        if parent[number] >= 0:
            end[parent[number]] = max(end[parent[number]], end[number])
    item_category = _row_numbers(catalogue.categories, ["/".join(path) for path in nodes])
    yield from _strings("categories", ["/".join(path) for path in nodes])
    yield "category_end", pack(end)
    yield "item_category", pack(item_category)
    # Every listed item belongs to its own node and to each node above it.
    owners, members = [np.empty(0, np.int32)], [np.empty(0, np.uint32)]
    positions = np.asarray(catalogue.popularity, np.uint32)
    owner = item_category[positions] if nodes else np.full(len(positions), -1, np.int32)
    while (owner >= 0).any():
        positions, owner = positions[owner >= 0], owner[owner >= 0]
        owners.append(owner)
        members.append(positions)
        owner = parent[owner]
    node, position = np.concatenate(owners), np.concatenate(members)
    rank = np.empty(len(catalogue.item_ids), np.int64)
    rank[catalogue.popularity] = np.arange(
        len(catalogue.popularity)
    )  # a withheld item is in no list: it needs no rank
    by_node = np.lexsort((rank[position], node))
    indptr = np.concatenate(([0], np.cumsum(np.bincount(node, minlength=len(nodes))))).astype(np.int64)
    postings = position[by_node]
    yield "postings_indptr", pack(indptr)
    yield "postings", pack(postings)
    node_postings = [postings[start:end] for start, end in pairwise(indptr)]
    yield from _price_band_blobs([*node_postings, catalogue.popularity], np.asarray(catalogue.price_minor), rank)


def _price_band_blobs(
    postings: Sequence[NDArray[np.uint32]], price_minor: NDArray[np.int64], rank: NDArray[np.int64]
) -> Iterator[tuple[str, bytes]]:
    """Cut each node's priced items into bands of about equal count, and keep the BAND_LENGTH most popular of each."""
    edges = np.zeros((len(postings), PRICE_BANDS - 1), np.int64)
    kept: list[NDArray[np.uint32]] = []
    for row, positions in enumerate(postings):
        priced = positions[price_minor[positions] != UNKNOWN]
        price = price_minor[priced]
        if len(price):
            edges[row] = np.sort(price)[np.arange(1, PRICE_BANDS) * len(price) // PRICE_BANDS]
        band = np.searchsorted(edges[row], price, side="right")
        kept += [priced[band == number][:BAND_LENGTH] for number in range(PRICE_BANDS)]
    positions = np.concatenate(kept)
    yield "band_edges", pack(edges)
    yield "band_indptr", pack(np.concatenate(([0], np.cumsum([len(part) for part in kept]))).astype(np.int64))
    yield "band_positions", pack(positions.astype(np.uint32))
    yield "band_ranks", pack(rank[positions].astype(np.uint32))


def shelf_blobs(
    shelves: Mapping[tuple[str, str], tuple[Sequence[int], Sequence[float]]],
) -> Iterator[tuple[str, bytes]]:
    """Yield the blobs of the fallback shelves, given positions and scores in the order of rank by (shelf, key).

    Raises ContentsError for a score that is not finite.
    """
    names = sorted(shelves)
    lengths = [len(shelves[name][0]) for name in names]
    yield "shelves", pack_json(names)
    yield "shelf_indptr", pack(np.concatenate(([0], np.cumsum(lengths))).astype(np.int64))
    for column, (blob, dtype) in enumerate((("shelf_positions", np.uint32), ("shelf_scores", np.float32))):
        parts = [np.asarray(shelves[name][column], dtype) for name in names]
        invalid = next((name for name, part in zip(names, parts, strict=True) if not np.isfinite(part).all()), None)
        if invalid is not None:
            raise ContentsError(
                f"fallback shelf {invalid} has a score that is no number; run topshelf stage fallback again"
            )
        yield blob, pack(np.concatenate(parts) if parts else np.empty(0, dtype))


def neighbour_blobs(
    indptr: NDArray[np.int64], positions: NDArray[np.integer], scores: NDArray[np.floating], n_items: int
) -> Iterator[tuple[str, bytes]]:
    """Yield the blobs of the item neighbours (CSR over the catalogue). Raises ContentsError for another shape."""
    _check_lists("neighbours", indptr, positions, scores, n_items)
    yield "neighbours_indptr", pack(indptr.astype(np.int64))
    yield "neighbours", pack(positions.astype(np.uint32))
    yield "neighbour_scores", pack(scores.astype(np.float32))


def item_list_blobs(
    name: str,
    indptr: NDArray[np.integer],
    positions: NDArray[np.integer],
    scores: NDArray[np.floating],
    n_items: int,
) -> Iterator[tuple[str, bytes]]:
    """Yield the blobs of one of ITEM_LISTS (CSR over the catalogue; each item's list is best first).

    Raises ContentsError for another name or shape, and for a score that is not finite.
    """
    if name not in ITEM_LISTS:
        raise ContentsError(f"{name!r} is no list of items; a snapshot has {', '.join(ITEM_LISTS)}")
    _check_lists(name, indptr, positions, scores, n_items)
    if not np.isfinite(scores).all():
        raise ContentsError(f"{name} has a score that is no number; run the stage that builds it again")
    yield f"{name}_indptr", pack(indptr.astype(np.int64))
    yield name, pack(positions.astype(np.uint32))
    yield f"{name}_scores", pack(scores.astype(np.float32))


def _check_lists(
    name: str,
    indptr: NDArray[np.integer],
    positions: NDArray[np.integer],
    scores: NDArray[np.floating],
    n_items: int,
) -> None:
    """Raise ContentsError unless the three columns are lists of items of the catalogue, one list an item."""
    if len(indptr) != n_items + 1:
        raise ContentsError(
            f"{name} are of {len(indptr) - 1} items, the catalogue has {n_items}; "
            "run the stage that builds them again for the same day"
        )
    is_whole = indptr[0] == 0 and indptr[-1] == len(positions) == len(scores) and (indptr[1:] >= indptr[:-1]).all()
    if not is_whole or (positions.size and not 0 <= positions.min() <= positions.max() < n_items):
        raise ContentsError(
            f"{name} are no lists of the catalogue's {n_items} items; run the stage that builds them again"
        )


def segment_blobs(segments: Sequence[Segment]) -> Iterator[tuple[str, bytes]]:
    """Yield the segment table in two blobs. Raises ContentsError unless the first is NO_SEGMENT."""
    if not segments or segments[0] != NO_SEGMENT:
        raise ContentsError("the first segment must be the one without region, age band and categories")
    yield "segments", pack_json([[region, age_band] for region, age_band, _ in segments])
    yield "segment_categories", pack_json([list(chosen) for _, _, chosen in segments])


def read_segments(pairs: Sequence[Sequence[str]], chosen: Sequence[Sequence[str]] | None) -> list[Segment]:
    """Return the segments of `segment_blobs`, from its JSON; older snapshots have no `segment_categories` (None)."""
    choices = [()] * len(pairs) if chosen is None else chosen
    return [(region, age_band, tuple(paths)) for (region, age_band), paths in zip(pairs, choices, strict=True)]


def pool_blobs(pools: Sequence[Pool], n_items: int) -> Iterator[tuple[str, bytes]]:
    """Yield the blobs of the exploration pools. Raises ContentsError for wrong shapes, draws or items."""
    for pool in pools:
        count, where = len(pool.positions), f"exploration pool {pool.category!r}"
        if count > MAX_POOL_ITEMS or pool.draws.shape != (ORDERINGS, count) or not np.isfinite(pool.draws).all():
            raise ContentsError(
                f"{where} has {count} items and draws of {pool.draws.shape}; it takes at most {MAX_POOL_ITEMS} "
                f"items and {ORDERINGS} draws of each, finite; run topshelf stage exploration again"
            )
        inside = not count or 0 <= pool.positions.min() <= pool.positions.max() < n_items
        if not inside or len(np.unique(pool.positions)) != count:
            raise ContentsError(
                f"{where} repeats an item or names an unknown one; run topshelf stage exploration again"
            )
    yield "pools", pack_json([[pool.category, len(pool.positions), list(pool.prior)] for pool in pools])
    for name, dtype, parts in (
        ("positions", np.uint32, [pool.positions for pool in pools]),
        ("means", np.float32, [pool.means for pool in pools]),
        ("new", np.uint8, [pool.new for pool in pools]),
        ("draws", np.float32, [pool.draws.reshape(-1) for pool in pools]),
    ):
        yield f"pool_{name}", pack(np.concatenate([np.empty(0, dtype), *parts]).astype(dtype))


def read_pools(
    heads: Sequence[PoolHead],
    *,
    positions: NDArray[np.integer],
    means: NDArray[np.floating],
    new: NDArray[np.uint8],
    draws: NDArray[np.floating],
) -> list[Pool]:
    """Return the pools of `pool_blobs`, from its JSON and its flat columns."""
    pools, first = [], 0
    for category, count, prior in heads:
        rows = slice(first, first + count)
        pool_draws = draws[ORDERINGS * first : ORDERINGS * (first + count)].reshape(ORDERINGS, count)
        pools.append(Pool(category, positions[rows], means[rows], new[rows].astype(np.bool_), pool_draws, prior))
        first += count
    return pools
