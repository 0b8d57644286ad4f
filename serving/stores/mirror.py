"""Keep a host's own store up with the archive: what an LMDB store on every serving host is filled by.

    python -m serving.stores.mirror --archive s3://bucket/shop --store lmdb://data/store --every 30

Without `--every` it does so once: what a host does before it serves. With it, it goes on beside the endpoint.
"""

import time
from contextlib import closing, suppress

import click

from serving.snapshot.manifest import BusyVersionError, StoreError
from serving.snapshot.pointer import Pointer
from serving.stores import open_store
from serving.stores.archive import Archive
from serving.stores.protocols import Store


def fetch(archive: Archive, store: Store) -> Pointer:
    """Bring a store up to the archive's pointer: load what is live there, move the pointer, drop what is old.

    Raises StoreError; what was live in the store then still is.
    """
    wanted = archive.pointer()
    if wanted.live is None:
        raise StoreError(f"{archive.url} has no live version; publish a night with TOPSHELF_ARCHIVE set")
    present = {m.version for m in store.versions()}
    if wanted.live not in present:
        archive.restore(wanted.live, store)
    while (mine := store.pointer()) != wanted and not store.swap_pointer(mine, wanted):
        pass
    for version in [*sorted(present - {wanted.live, wanted.before, wanted.pinned}), *store.unfinished()]:
        with suppress(BusyVersionError), store.begin(version, 0):
            store.delete(version)
    return wanted


@click.command()
@click.option("--archive", "archive_url", envvar="TOPSHELF_ARCHIVE", required=True, help="s3://BUCKET/PREFIX")
@click.option("--store", "store_url", envvar="TOPSHELF_STORE", default="lmdb://data/store", show_default=True)
@click.option("--every", "every_s", type=float, help="Go on, looking again after so many seconds.")
def main(*, archive_url: str, store_url: str, every_s: float | None) -> None:
    """Make a store hold what is live in the archive."""
    with closing(Archive(archive_url)) as archive, closing(open_store(store_url)) as store:
        before = ""
        while True:
            try:
                live = str(fetch(archive, store).live)
                if live != before:
                    click.echo(f"{live} is live in {store.url}")
                before = live
            except StoreError as error:
                if every_s is None:
                    raise click.ClickException(str(error)) from error
                click.echo(f"{error}; what was live still is", err=True)
            if every_s is None:
                return
            time.sleep(every_s)


if __name__ == "__main__":
    main(prog_name="python -m serving.stores.mirror")
