"""A read-only client of a store: any user's shelf, with neither Spark nor the endpoint.

from serving.client import read_shelf
for row in read_shelf("lmdb://data/store", "user-17"):
    print(row.rank, row.item_id, row.title, row.price, row.reason)
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from serving import money
from serving.shelf.snapshot import Snapshot
from serving.snapshot.manifest import StoreError
from serving.snapshot.record import SOURCES, Shelf
from serving.stores import open_store


@dataclass(frozen=True, slots=True)
class ShelfRow:
    """One item of a shelf as the night left it; price and stock are the night's, not the live ones."""

    rank: int  # from 1
    item_id: str
    title: str  # empty for none
    category: str  # empty for none
    price: str  # a decimal, empty where unknown
    stock: int | None  # None where the shop does not count it
    score: float
    source: str
    reason: str


class UnknownUserError(LookupError):
    """A user for whom the snapshot holds no shelf, or one without items: then only the segment is known."""


@contextmanager
def open_snapshot(store_url: str, version: str | None = None) -> Iterator[Snapshot]:
    """The live snapshot of a store, or the named one. Raises StoreError where there is none."""
    with closing(open_store(store_url)) as store:
        wanted = version or store.pointer().live
        if wanted is None:
            raise StoreError(f"{store_url} has no live snapshot; run topshelf nightly, or topshelf promote VERSION")
        with closing(Snapshot(store.open(wanted))) as snapshot:
            yield snapshot


def read_shelf(store_url: str, user_id: str, version: str | None = None, variant: str = "base") -> list[ShelfRow]:
    """A user's whole shelf in the order of rank. Raises UnknownUserError, StoreError."""
    with open_snapshot(store_url, version) as snapshot:
        return shelf_of(snapshot, user_id, variant)


def shelf_of(snapshot: Snapshot, user_id: str, variant: str = "base") -> list[ShelfRow]:
    """A user's whole shelf in the order of rank. Raises UnknownUserError, RecordError."""
    shelf = snapshot.shelf(user_id, variant)
    if not shelf:
        raise UnknownUserError(
            f"{snapshot.version} holds no shelf of {user_id!r}; a user without one gets the fallback shelves"
        )
    return shelf_rows(snapshot, shelf)


def fallback_shelf(
    store_url: str, shelf: str = "global", key: str = "", version: str | None = None
) -> list[ShelfRow]:
    """A fallback shelf (what users without one of their own get). Raises LookupError, StoreError."""
    with open_snapshot(store_url, version) as snapshot:
        found = snapshot.fallback(shelf, key)
        if found is None:
            raise LookupError(f"{snapshot.version} has no fallback shelf {shelf} {key!r}")
        rows = zip(found[0].tolist(), found[1].tolist(), strict=True)
        named = "popular" if shelf not in {"trending", "new"} else shelf.replace("new", "new_item")
        return [_row(snapshot, rank, position, score, (named, "")) for rank, (position, score) in enumerate(rows, 1)]


def shelf_rows(snapshot: Snapshot, shelf: Shelf) -> list[ShelfRow]:
    """A decoded shelf with what the catalogue says of each item."""
    columns = (shelf.positions, shelf.scores, shelf.sources, shelf.reasons, shelf.reason_positions)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [
        _row(snapshot, rank, position, score, (SOURCES[source], snapshot.reason(reason, position, about)))
        for rank, (position, score, source, reason, about) in enumerate(rows, 1)
    ]


def _row(snapshot: Snapshot, rank: int, position: int, score: float, why: tuple[str, str]) -> ShelfRow:
    stock = int(snapshot.stock[position])
    return ShelfRow(
        rank,
        snapshot.item_id(position),
        str(snapshot.titles[position]),
        snapshot.category(position),
        money.to_text(int(snapshot.price_minor[position])),
        None if stock < 0 else stock,
        float(f"{score:.4g}"),
        *why,
    )
