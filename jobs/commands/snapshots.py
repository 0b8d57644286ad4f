"""Commands on the snapshots of a store."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.options import ArchiveAt, Landing, StoreAt, Version, on_this_host, places_of

app = typer.Typer(rich_markup_mode=None)


@app.command(epilog="Example: topshelf snapshots --store lmdb://data/store")
def snapshots(store: StoreAt = None) -> None:
    """List the versions in the store, and which one is live."""
    from jobs.publishing.console import print_snapshots

    print_snapshots(places_of(store=store).store)


@app.command(epilog="Example: topshelf show 17850")
def show(
    user: Annotated[str, typer.Argument(help="A user id.", metavar="USER")],
    limit: Annotated[int, typer.Option(min=1, help="How many items to show.")] = 20,
    store: StoreAt = None,
    landing: Landing = None,
) -> None:
    """Show a shopper's stored shelf and own lists. A shopper whom landing's tombstones name as erased has none."""
    from jobs.publishing.console import print_shelf

    settings = places_of(landing, store=store)
    print_shelf(settings.store, settings.landing, user, limit)


def _say_moved(sentence: str, store_url: str) -> None:
    """Print what became of the pointer, and tell the monitoring."""
    from jobs.night.gauges import write_refused

    write_refused(store_url)
    typer.echo(sentence)


@app.command(epilog="Example: topshelf rollback")
def rollback(store: StoreAt = None, archive: ArchiveAt = None) -> None:
    """Make the version before the live one live again."""
    from jobs.publishing.console import rollback as run

    settings = places_of(store=store, archive=archive)
    _say_moved(run(settings.store, settings.archive), settings.store)


@app.command(epilog="Example: topshelf promote 2026-01-31-1a2b3c4d5e6f")
def promote(version: Version, store: StoreAt = None, archive: ArchiveAt = None) -> None:
    """Make a version live, whatever its day."""
    from jobs.publishing.console import promote as run

    settings = places_of(store=store, archive=archive)
    _say_moved(run(settings.store, version, settings.archive), settings.store)


@app.command(epilog="Example: topshelf pin 2026-01-31-1a2b3c4d5e6f")
def pin(version: Version, store: StoreAt = None, archive: ArchiveAt = None) -> None:
    """Make a version live and keep it live until `topshelf unpin`. Nights still publish, but the pointer stays."""
    from jobs.publishing.console import pin as run

    settings = places_of(store=store, archive=archive)
    _say_moved(run(settings.store, version, settings.archive), settings.store)


@app.command(epilog="Example: topshelf unpin")
def unpin(store: StoreAt = None, archive: ArchiveAt = None) -> None:
    """Let the next night go live again."""
    from jobs.publishing.console import unpin as run

    settings = places_of(store=store, archive=archive)
    _say_moved(run(settings.store, settings.archive), settings.store)


@app.command(epilog="Example: topshelf diff 2026-01-30-1a2b3c4d5e6f 2026-01-31-6f5e4d3c2b1a")
def diff(before: Version, after: Version, store: StoreAt = None) -> None:
    """Compare two versions: changed users, overlap of shelves, added and removed items, score drift."""
    from jobs.publishing.console import print_diff

    print_diff(places_of(store=store).store, before, after)


@app.command(epilog="Example: topshelf export shelves.parquet")
def export(
    path: Annotated[Path, typer.Argument(callback=on_this_host, help="A .parquet or .jsonl file.", metavar="FILE")],
    version: Annotated[str | None, typer.Option(help="A version; the live one by default.")] = None,
    first: Annotated[int | None, typer.Option(min=1, help="Only this many first items of each shelf.")] = None,
    store: StoreAt = None,
    landing: Landing = None,
) -> None:
    """Write a snapshot's shelves, with item ids, to a file for e-mail and push campaigns.

    Shoppers whom landing's tombstones name as erased are left out.
    """
    from jobs.publishing.console import export as run

    settings = places_of(landing, store=store)
    typer.echo(run(settings.store, settings.landing, path, version, first))


@app.command(epilog="Example: topshelf archive --archive s3://bucket/shop")
def archive(
    version: Annotated[str | None, typer.Argument(help="The live one by default.", metavar="VERSION")] = None,
    *,
    listed: Annotated[bool, typer.Option("--list", help="List what is in the archive instead.")] = False,
    store: StoreAt = None,
    archive: ArchiveAt = None,
) -> None:
    """Copy a snapshot to the archive on S3. With an archive configured, every publish does so by itself."""
    from jobs.publishing.archive import archive as run
    from jobs.publishing.archive import print_archived

    settings = places_of(store=store, archive=archive)
    if listed:
        print_archived(settings.archive)
    else:
        typer.echo(run(settings.store, settings.archive, version))


@app.command(epilog="Example: topshelf restore 2026-01-31-1a2b3c4d5e6f --store redis://host:6379/0")
def restore(version: Version, store: StoreAt = None, archive: ArchiveAt = None) -> None:
    """Load a snapshot from the archive into a store of any kind. `topshelf promote` then makes it live."""
    from jobs.publishing.archive import restore as run

    settings = places_of(store=store, archive=archive)
    typer.echo(run(settings.store, settings.archive, version))
