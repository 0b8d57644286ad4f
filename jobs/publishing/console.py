"""The snapshots of a store, for people: list, show, promote, roll back, pin, compare and export them.

topshelf snapshots --store lmdb://data/store
"""

from contextlib import closing
from pathlib import Path

from rich.table import Table

from jobs.config.terminal import Terminal
from jobs.landing.tombstones import known_erasures
from jobs.publishing import versions
from jobs.publishing.diff import difference
from jobs.publishing.export import export as write_export
from serving.client import ShelfRow, UnknownUserError, lists_of, open_without_erased, shelf_of
from serving.snapshot.manifest import SnapshotManifest
from serving.snapshot.pointer import Pointer
from serving.stores import open_store
from serving.stores.archive import Archive


def snapshots_table(store_url: str) -> Table:
    """Return every sealed version, the oldest day first: size, model, metrics, gates, and which one is live."""
    with closing(open_store(store_url)) as store:
        pointer, manifests = store.pointer(), store.versions()
    table = Table(title=f"snapshots in {store_url}", title_justify="left")
    for name in ("version (day-run)", "state", "users", "items", "size"):
        table.add_column(name, no_wrap=True, justify="right" if name in {"users", "items", "size"} else "left")
    table.add_column("model, metrics, gates", overflow="fold")
    for m in manifests:
        names = {pointer.before: "before", pointer.live: "live", pointer.pinned: "pinned"}
        row = (m.version, names.get(m.version, "stored"), f"{m.users:,}", f"{m.items:,}", size_of(m))
        table.add_row(*row, _description(m))
    return table


def size_of(m: SnapshotManifest) -> str:
    """Return the size of a snapshot's records and blobs, for people."""
    size = m.record_bytes + m.blob_bytes
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} kB"


def _description(m: SnapshotManifest) -> str:
    metrics = m.metrics.get("holdout", {}).get("all", {})
    failed = [f"{gate.name}: {gate.reason}" for gate in m.failed_gates]
    words = [m.model_version or "no ranker", *(f"{name} {value:.4f}" for name, value in sorted(metrics.items()))]
    words.append("gates failed (" + "; ".join(failed) + ")" if failed else "gates passed")
    if m.forced:
        words.append(f"forced: {m.forced}")
    return ", ".join(words)


def print_snapshots(store_url: str) -> None:
    """Print `snapshots_table`, or how to make a first one."""
    table = snapshots_table(store_url)
    console = Terminal()
    console.print(table if table.row_count else f"{store_url} holds no snapshot; run topshelf nightly --ds DAY")


def _follow(pointer: Pointer, archive_url: str) -> None:
    """Copy a moved pointer to the archive, for the hosts that follow it."""
    if archive_url:
        with closing(Archive(archive_url)) as archive:
            archive.follow(pointer)


def rollback(store_url: str, archive_url: str = "") -> str:
    """Make the version before the live one live again, and return a sentence about it. Raises StoreError."""
    with closing(open_store(store_url)) as store:
        before = store.pointer().live
        after = versions.rollback(store)
        _follow(after, archive_url)
    return f"{after.live} is live again in place of {before}; a retry of that night will not undo this"


def promote(store_url: str, version: str, archive_url: str = "") -> str:
    """Make a stored version live, whatever its day and gates. Raises StoreError."""
    with closing(open_store(store_url)) as store:
        _follow(versions.promote(store, version), archive_url)
    return f"{version} is live"


def pin(store_url: str, version: str, archive_url: str = "") -> str:
    """Make a version live and hold it there. Raises StoreError."""
    with closing(open_store(store_url)) as store:
        _follow(versions.pin(store, version), archive_url)
    return f"{version} is live and pinned: nights still publish, but it stays live until topshelf unpin"


def unpin(store_url: str, archive_url: str = "") -> str:
    """Let the next night go live again."""
    with closing(open_store(store_url)) as store:
        after = versions.unpin(store)
        _follow(after, archive_url)
    return f"nothing is pinned; {after.live} is live until the next night"


def print_shelf(store_url: str, landing: str, user_id: str, limit: int = 20) -> None:
    """Print the first `limit` items of a user's stored shelf, and of each of their own lists, as tables.

    Raises StoreError, RecordError, and UnknownUserError where the live snapshot holds nothing of the user, or the
    user was erased (`landing` has the tombstones).
    """
    with open_without_erased(store_url, known_erasures(landing)) as snapshot:
        version, lists = snapshot.version, lists_of(snapshot, user_id)
        try:
            rows = shelf_of(snapshot, user_id)
        except UnknownUserError:
            if not any(lists.values()):
                raise
            rows = []
    console = Terminal()
    console.print(_table_of(f"{user_id}, {version}: {len(rows)} items", rows[:limit]))
    for name, title in (("buy_again", "to buy again"), ("recently_viewed", "recently viewed")):
        if lists[name]:
            console.print(_table_of(f"{user_id}, {title}: {len(lists[name])} items", lists[name][:limit]))


def _table_of(title: str, rows: list[ShelfRow]) -> Table:
    table = Table(title=title, title_justify="left")
    right = {"#", "price", "stock", "score"}
    for name in ("#", "item", "title", "price", "stock", "score", "source", "reason"):
        wraps = name in {"title", "reason"}
        table.add_column(name, justify="right" if name in right else "left", no_wrap=not wraps, overflow="fold")
    for row in rows:
        stock = "" if row.stock is None else str(row.stock)
        item = (str(row.rank), row.item_id, row.title, row.price, stock)
        table.add_row(*item, f"{row.score:.4g}", row.source, row.reason)
    return table


def print_diff(store_url: str, before: str, after: str) -> None:
    """Print what changed from one version to another. Raises StoreError."""
    with closing(open_store(store_url)) as store:
        d = difference(store, before, after)
    table = Table(title=f"{d.before} → {d.after}", title_justify="left", show_header=False)
    changed = d.users_changed / d.users_of_both if d.users_of_both else 0.0
    table.add_row(
        "users", f"{d.users_before:,} → {d.users_after:,}: {d.users_added:,} added, {d.users_removed:,} removed"
    )
    table.add_row("users whose shelf changed", f"{d.users_changed:,} of {d.users_of_both:,} in both ({changed:.1%})")
    table.add_row("overlap of the first 10, of all", f"{d.overlap_at_10:.1%}, {d.overlap_at_n:.1%}")
    table.add_row(
        "items", f"{d.items_before:,} → {d.items_after:,}: {d.items_added:,} added, {d.items_removed:,} removed"
    )
    scores = f"{d.mean_score_before:.4g} → {d.mean_score_after:.4g}, an item's moved by {d.mean_score_drift:.4g}"
    table.add_row("mean score", scores)
    Terminal().print(table)


def export(store_url: str, landing: str, path: Path, version: str | None = None, first: int | None = None) -> str:
    """Write a snapshot without erased users to a .parquet or .jsonl file, and return a sentence about it.

    `landing` has the tombstones. Raises StoreError.
    """
    tombstones = known_erasures(landing)
    with closing(open_store(store_url)) as store:
        users = write_export(store, path, tombstones, version, first)
    return f"{path}: the shelves of {users:,} users"
