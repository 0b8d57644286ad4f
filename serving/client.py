"""A read-only client of a store: any user's stored shelf, without Spark and without the endpoint.

It gives no shelf of a user who was erased, so it needs the place where the endpoint lands its tombstones.

from serving.client import read_shelf
for row in read_shelf("lmdb://data/store", "user-17"):
    print(row.rank, row.item_id, row.title, row.price, row.reason)
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from serving import money
from serving.shelf.snapshot import Snapshot
from serving.snapshot.manifest import StoreError
from serving.snapshot.own_lists import LISTS, OWN_LISTS
from serving.snapshot.record import SOURCES, PackedShelf, Shelf, decode
from serving.snapshot.tombstones import Tombstones
from serving.stores import open_store
from serving.stores.landed_erasures import landed_tombstones
from serving.stores.protocols import StoredVersion

DEFAULT_LANDING = "data/landing"


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
    """A user without a stored shelf, with one of no items (the night knew only the segment), or who was erased."""


class _WithoutErased(Snapshot):
    """A snapshot without the shelves of erased users."""

    def __init__(self, stored: StoredVersion, tombstones: Tombstones) -> None:
        super().__init__(stored)
        self._tombstones = tombstones

    def _packed(self, user_id: str, variant: str = "base") -> PackedShelf | None:
        return None if self._tombstones.hide(user_id, self.manifest) else super()._packed(user_id, variant)


def open_snapshot(
    store_url: str, version: str | None = None, landing: str | Path | None = None
) -> AbstractContextManager[Snapshot]:
    """Open the live snapshot of a store, or the named version, without the shelves of erased users.

    `landing` is the folder or S3 address that the endpoint lands in: by default TOPSHELF_LANDING, or DEFAULT_LANDING.
    Raises StoreError where there is no such snapshot or landing.
    """
    landing = landing or os.environ.get("TOPSHELF_LANDING") or DEFAULT_LANDING
    return open_without_erased(store_url, landed_tombstones(landing), version)


@contextmanager
def open_without_erased(store_url: str, tombstones: Tombstones, version: str | None = None) -> Iterator[Snapshot]:
    """`open_snapshot` for a caller that has read the tombstones itself."""
    with closing(open_store(store_url)) as store:
        opened = version or store.pointer().live
        if opened is None:
            raise StoreError(f"{store_url} has no live snapshot; run topshelf nightly, or topshelf promote VERSION")
        with closing(_WithoutErased(store.open(opened), tombstones)) as snapshot:
            yield snapshot


def read_shelf(
    store_url: str,
    user_id: str,
    version: str | None = None,
    variant: str | None = None,
    landing: str | Path | None = None,
) -> list[ShelfRow]:
    """Return a user's whole shelf in the order of rank; `version` and `landing` are those of `open_snapshot`.

    Without a variant, it is the one that answers read.
    Raises UnknownUserError, StoreError, RecordError.
    """
    with open_snapshot(store_url, version, landing) as snapshot:
        return shelf_of(snapshot, user_id, variant)


def shelf_of(snapshot: Snapshot, user_id: str, variant: str | None = None) -> list[ShelfRow]:
    """Return a user's whole shelf in the order of rank. Raises UnknownUserError, StoreError, RecordError."""
    shelf = snapshot.shelf(user_id, variant)
    if not shelf:
        raise UnknownUserError(
            f"{snapshot.version} holds no shelf of {user_id!r}; a user without one gets the fallback shelves"
        )
    return _rows(snapshot, shelf)


def lists_of(snapshot: Snapshot, user_id: str) -> dict[str, list[ShelfRow]]:
    """Return a user's own lists, `buy_again` and `recently_viewed`, each in the order of rank, empty where none is.

    Raises StoreError, RecordError.
    """
    packed = snapshot.packed(user_id, OWN_LISTS)
    rows = [] if packed is None else _rows(snapshot, decode(packed.record))
    by_list = {name: [row for row in rows if row.source == source] for name, (source, _) in LISTS.items()}
    return {name: [replace(row, rank=rank) for rank, row in enumerate(of, 1)] for name, of in by_list.items()}


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
