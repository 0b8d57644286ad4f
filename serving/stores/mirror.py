"""Keep a host's own store at the archive's live version: this fills the LMDB store of every serving host.

    python -m serving.stores.mirror --archive s3://bucket/shop --store lmdb://data/store --every 30

Without `--every` it runs once, as a host does before it serves. With it, it keeps running beside the endpoint.
"""

import time
from contextlib import closing, suppress

import click

from serving.snapshot.manifest import BusyVersionError, StoreError
from serving.snapshot.pointer import Pointer
from serving.stores import open_store
from serving.stores.archive import Archive
from serving.stores.protocols import Store


def mirror(archive: Archive, store: Store) -> Pointer:
    """Load the archive's live version, take over its pointer, and remove old versions. Return the pointer.

    The version before the live one and a pinned one stay, if they are there. Raises StoreError; until the pointer
    has moved, the store's live version stays live.
    """
    pointer = archive.pointer()
    if pointer.live is None:
        raise StoreError(f"{archive.url} has no live version; publish a night with TOPSHELF_ARCHIVE set")
    present = {manifest.version for manifest in store.versions()}
    if pointer.live not in present:
        archive.restore(pointer.live, store)
    while (current := store.pointer()) != pointer and not store.swap_pointer(current, pointer):
        pass
    for version in [*sorted(present - {pointer.live, pointer.before, pointer.pinned}), *store.unfinished()]:
        with suppress(BusyVersionError), store.begin(version, 0):
            store.delete(version)
    return pointer


@click.command()
@click.option("--archive", "archive_url", envvar="TOPSHELF_ARCHIVE", required=True, help="s3://BUCKET/PREFIX")
@click.option("--store", "store_url", envvar="TOPSHELF_STORE", default="lmdb://data/store", show_default=True)
@click.option("--every", "every_s", type=float, metavar="SECONDS", help="Repeat after this many seconds.")
def main(*, archive_url: str, store_url: str, every_s: float | None) -> None:
    """Make a store hold what is live in the archive."""
    with closing(Archive(archive_url)) as archive, closing(open_store(store_url)) as store:
        announced = ""
        while True:
            try:
                live = str(mirror(archive, store).live)
                if live != announced:
                    click.echo(f"{live} is live in {store.url}")
                announced = live
            except StoreError as error:
                if every_s is None:
                    raise click.ClickException(str(error)) from error
                click.echo(f"{error}; what was live is still live", err=True)
            if every_s is None:
                return
            time.sleep(every_s)


if __name__ == "__main__":
    main(prog_name="python -m serving.stores.mirror")
