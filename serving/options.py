"""Options that several commands of the endpoint share, and the places of this host that they name."""

from pathlib import Path

import click

from serving.settings import default_state

STORE = click.option(
    "--store",
    envvar="TOPSHELF_STORE",
    default="lmdb://data/store",
    show_default=True,
    help="URL of the store that holds the snapshots: lmdb://, redis:// or dynamodb://.",
)
LANDING = click.option(
    "--landing",
    envvar="TOPSHELF_LANDING",
    default="data/landing",
    show_default=True,
    help="Folder of events, exposures and tombstones, or s3://BUCKET/PREFIX?endpoint=URL.",
)
STATE = click.option(
    "--state",
    envvar="TOPSHELF_STATE",
    help="Folder of logs, rates, metrics and keys. By default `live` in an LMDB store's folder, else data/live.",
)
KEYS = click.option(
    "--keys", envvar="TOPSHELF_KEYS", help="File of API keys. By default keys.json in the state folder."
)

SHARED = click.option(
    "--shared",
    envvar="TOPSHELF_SHARED",
    help="redis://…, through which several hosts share live state, last actions, erasures and rates.",
)


def state_folder(store: str, state: str | None) -> Path:
    """Return the state folder. Raises ClickException where an URL is given: state is files of this host."""
    return _on_this_host("--state", state) if state else default_state(store)


def keys_file_of(store: str, state: str | None, keys: str | None) -> Path:
    """Return the file of keys. Raises ClickException where an URL is given."""
    return _on_this_host("--keys", keys) if keys else state_folder(store, state) / "keys.json"


def _on_this_host(option: str, path: str) -> Path:
    from serving.stores.places import PlaceError, folder_of

    try:
        return folder_of(path)
    except PlaceError as error:
        raise click.ClickException(f"{option}: {error}") from error
