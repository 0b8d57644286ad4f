"""A read-only client of a store: any user's stored shelf, without Spark and without the endpoint.

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
    """One item of a stored shelf; price and stock are those of the night, not the live ones."""

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
    """A user without a stored shelf, or with one of no items, of whom the night knew only the segment."""


@contextmanager
def open_snapshot(store_url: str, version: str | None = None) -> Iterator[Snapshot]:
    """Open the live snapshot of a store, or the named version. Raises StoreError where there is none."""
    with closing(open_store(store_url)) as store:
        opened = version or store.pointer().live
        if opened is None:
            raise StoreError(f"{store_url} has no live snapshot; run topshelf nightly, or topshelf promote VERSION")
        with closing(Snapshot(store.open(opened))) as snapshot:
            yield snapshot


def read_shelf(store_url: str, user_id: str, version: str | None = None, variant: str = "base") -> list[ShelfRow]:
    """Return a user's whole shelf in the order of rank. Raises UnknownUserError, StoreError, RecordError."""
    with open_snapshot(store_url, version) as snapshot:
        return shelf_of(snapshot, user_id, variant)


def shelf_of(snapshot: Snapshot, user_id: str, variant: str = "base") -> list[ShelfRow]:
    """Return a user's whole shelf in the order of rank. Raises UnknownUserError, StoreError, RecordError."""
    shelf = snapshot.shelf(user_id, variant)
    if not shelf:
        raise UnknownUserError(
            f"{snapshot.version} holds no shelf of {user_id!r}; a user without one gets the fallback shelves"
        )
    return _rows(snapshot, shelf)


def _rows(snapshot: Snapshot, shelf: Shelf) -> list[ShelfRow]:
    """Return a decoded shelf with the catalogue's values of each item."""
    columns = (shelf.positions, shelf.scores, shelf.sources, shelf.reasons, shelf.reason_positions)
    rows = []
    for rank, (position, score, source, reason, reason_position) in enumerate(
        zip(*(column.tolist() for column in columns), strict=True), 1
    ):
        stock = int(snapshot.stock[position])
        rows.append(
            ShelfRow(
                rank,
                snapshot.item_id(position),
                str(snapshot.titles[position]),
                snapshot.category(position),
                money.to_text(int(snapshot.price_minor[position])),
                None if stock < 0 else stock,
                float(f"{score:.4g}"),
                SOURCES[source],
                snapshot.reason(reason, position, reason_position),
            )
        )
    return rows
