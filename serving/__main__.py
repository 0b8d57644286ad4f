"""The endpoint's command line.

python -m serving serve --store lmdb://data/store --landing data/landing --port 8000
"""

import gc
import ipaddress
import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path

import click

from serving.settings import EndpointSettings, default_state

GRACE_S = 10  # for answers to be made and read when the endpoint ends

_STORE = click.option(
    "--store",
    envvar="TOPSHELF_STORE",
    default="lmdb://data/store",
    show_default=True,
    help="URL of the store that holds the snapshots: lmdb://, redis:// or dynamodb://.",
)
_LANDING = click.option(
    "--landing",
    envvar="TOPSHELF_LANDING",
    default="data/landing",
    show_default=True,
    help="Folder of events, exposures and tombstones.",
)
_STATE = click.option(
    "--state",
    envvar="TOPSHELF_STATE",
    help="Folder of logs, rates, metrics and keys. By default `live` in an LMDB store's folder, else data/live.",
)
_KEYS = click.option(
    "--keys", envvar="TOPSHELF_KEYS", help="File of API keys. By default keys.json in the state folder."
)
_SHARED = click.option(
    "--shared",
    envvar="TOPSHELF_SHARED",
    help="redis://…, through which several hosts share live state, last actions, erasures and rates.",
)
_MARK = click.option(
    "--mark-events",
    is_flag=True,
    envvar="TOPSHELF_MARK_EVENTS",
    help="Mark each day of events as complete 15 minutes after it ends. For shops whose events come only this way.",
)


@click.group()
def main() -> None:
    """Answer requests from the snapshots that the night published."""


@main.command(epilog="Example: python -m serving serve --store lmdb://data/store --port 8000")
@_STORE
@_LANDING
@_STATE
@_KEYS
@_SHARED
@_MARK
@click.option(
    "--max-state-age-s",
    type=float,
    envvar="TOPSHELF_MAX_STATE_AGE_S",
    help="Mark answers `item_state_stale` when the live feed's newest row is older than this many seconds.",
)
@click.option(
    "--explore-share",
    type=float,
    envvar="TOPSHELF_EXPLORE_SHARE",
    help="Share of a shelf's places that explore, from 0 to 1.  [default: 0.1]",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, help="Port to listen on.")
@click.option("--workers", default=1, show_default=True, help="Number of worker processes.")
def serve(
    *,
    store: str,
    landing: str,
    state: str | None,
    keys: str | None,
    shared: str | None,
    mark_events: bool,
    max_state_age_s: float | None,
    explore_share: float | None,
    host: str,
    port: int,
    workers: int,
) -> None:
    """Answer requests until stopped.

    As long as no API key was ever created, it listens on a loopback address only, and callers of this machine need no
    key.
    """
    import uvicorn

    from serving.api.limited_http import LimitedHttp, raise_file_limit
    from serving.api.metrics import Metrics
    from serving.logs.lander_process import LanderProcess

    _check_addresses(store, shared)
    keys_file = _keys_file(store, state, keys)
    settings = EndpointSettings(
        store=store,
        landing=Path(landing),
        state=_state_folder(store, state),
        keys=keys_file,
        shared=shared or None,
        open=_may_be_open(keys_file, host),
        max_state_age_s=max_state_age_s,
        explore_share=explore_share,
        mark_events=mark_events,
    )
    _take_state(settings, workers)
    raise_file_limit()
    # The workers and the lander are new processes, which read their settings from the environment.
    os.environ |= settings.to_environment()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises it again when it is done
    lander = LanderProcess(Metrics(settings.state / "metrics", "serve").count_failures)
    try:
        uvicorn.run(
            "serving.__main__:application",
            factory=True,
            http=LimitedHttp,
            ws="none",
            host=host,
            port=port,
            workers=workers,
            access_log=False,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
            proxy_headers=False,  # nothing depends on the address that a caller claims
        )
    finally:
        lander.stop()


def _check_addresses(store: str, shared: str | None) -> None:
    """Raises ClickException for a URL that no worker could use. Nothing connects yet."""
    from serving.snapshot.manifest import StoreError
    from serving.stores import open_store
    from serving.stores.redis_address import redis_address

    try:
        open_store(store).close()
    except (StoreError, ValueError) as error:
        raise click.ClickException(f"--store: {error}") from error
    try:
        if shared:
            redis_address(shared)
    except ValueError as error:
        raise click.ClickException(f"--shared: {error}") from error


def _take_state(settings: EndpointSettings, workers: int) -> None:
    """Lock the state folder for the life of this process, and make the files that workers map into memory.

    Raises ClickException where another endpoint holds the folder, or the disk has no room.
    """
    from serving.api.metrics import reserve
    from serving.api.rates import Rates
    from serving.stores.files import take_lock

    try:
        if take_lock(settings.state / "serve.lock") is None:
            raise click.ClickException(
                f"another endpoint uses {settings.state}; stop it, or give this one a folder of its own: --state"
            )
        # One more than there are workers, for one that comes before its predecessor goes.
        reserve(settings.state / "metrics", workers + 1)
        if settings.shared is None:
            Rates(settings.state, None)
    except OSError as error:
        raise _not_written(settings.state, error) from error


def _not_written(state: Path, error: OSError) -> click.ClickException:
    reason = error.strerror or error
    return click.ClickException(
        f"{state} cannot be written: {reason}; free disk space, or name another folder: --state"
    )


def _state_folder(store: str, state: str | None) -> Path:
    return Path(state) if state else default_state(store)


def _keys_file(store: str, state: str | None, keys: str | None) -> Path:
    return Path(keys) if keys else _state_folder(store, state) / "keys.json"


def _may_be_open(keys: Path, host: str) -> bool:
    """Whether callers of this machine may go without a key.

    Raises ClickException: the keys cannot be read, or there are none, and the host is no loopback address.
    """
    from serving.api.keys import KeysError, valid_keys

    try:
        valid_keys(keys)
    except KeysError as error:
        raise click.ClickException(str(error)) from error
    if keys.exists():
        return False
    if not (host == "localhost" or ((host[:1].isdigit() or ":" in host) and ipaddress.ip_address(host).is_loopback)):
        raise click.ClickException(
            f"{keys} does not exist, and {host} is not a loopback address; "
            "create a key first: topshelf keys create --scope read"
        )
    click.echo(
        "no keys yet: everybody on this machine may call this endpoint; to end that, create a key: "
        "topshelf keys create --scope read",
        err=True,
    )
    return True


@main.command(epilog="Example: python -m serving land --landing data/landing --state data/store/live")
@_STORE
@_LANDING
@_STATE
@_SHARED
@_MARK
@click.option("--parent", type=int, help="Process id of the endpoint: when it ends, land what is left and end.")
@click.option("--once", is_flag=True, help="Land what is there and end.")
def land(
    *,
    store: str,
    landing: str,
    state: str | None,
    shared: str | None,
    mark_events: bool,
    parent: int | None,
    once: bool,
) -> None:
    """Land exposures and events until stopped. `serve` starts this by itself."""
    from serving.api.metrics import Metrics
    from serving.logs.lander_process import run

    folder, keys_file = _state_folder(store, state), _keys_file(store, state, None)
    settings = EndpointSettings(store, Path(landing), folder, keys_file, shared or None, mark_events=mark_events)
    try:
        metrics = Metrics(folder / "metrics", "lander")
    except OSError as error:
        raise _not_written(folder, error) from error
    run(settings, metrics.count_failures, parent, once=once)


@main.group()
def keys() -> None:
    """Create, list and revoke API keys."""


@keys.command("create", epilog="Example: topshelf keys create --scope read --name web --rate 2000/second")
@click.option(
    "--scope",
    multiple=True,
    required=True,
    type=click.Choice(["read", "feed", "admin"]),
    help="What the key may do: get shelves (read), send items and events (feed), erase and trace shoppers and get "
    "shelves (admin). Repeat it for several.",
)
@click.option("--name", default="", help="A note on who uses the key.")
@click.option("--rate", default="2000/second", show_default=True, help="One rate limit, such as 100000/minute.")
@_STORE
@_STATE
@_KEYS
def keys_create(
    *, scope: tuple[str, ...], name: str, rate: str, store: str, state: str | None, keys: str | None
) -> None:
    """Create a key and print it. It is shown only this once.

    Several keys can be valid at once. To rotate a key, create the next one, then revoke the old one.
    """
    from serving.api.keys import KeysError, create

    try:
        stored, secret = create(_keys_file(store, state, keys), tuple(dict.fromkeys(scope)), name, rate)
    except KeysError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{stored.id} ({', '.join(stored.scopes)}, {stored.rate}); the key is shown only this once:", err=True)
    click.echo(secret)


@keys.command("list", epilog="Example: topshelf keys list")
@_STORE
@_STATE
@_KEYS
def keys_list(*, store: str, state: str | None, keys: str | None) -> None:
    """List id, scopes, rate, creation, state and name of each key. The keys themselves are not stored."""
    from serving.api.keys import KeysError, read_keys

    try:
        for key in read_keys(_keys_file(store, state, keys)).keys:
            validity = f"revoked {key.revoked}" if key.revoked else "valid"
            click.echo(f"{key.id}\t{','.join(key.scopes)}\t{key.rate}\t{key.created}\t{validity}\t{key.name}")
    except KeysError as error:
        raise click.ClickException(str(error)) from error


@keys.command("revoke", epilog="Example: topshelf keys revoke k1a2b3c4d")
@click.argument("key_id", metavar="ID")
@_STORE
@_STATE
@_KEYS
def keys_revoke(*, key_id: str, store: str, state: str | None, keys: str | None) -> None:
    """Revoke the key with this id. Workers refuse it within a second."""
    from serving.api.keys import KeysError, revoke

    try:
        revoke(_keys_file(store, state, keys), key_id)
    except KeysError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{key_id} is revoked")


@main.command(epilog="Example: python -m serving show 17850")
@click.argument("user", metavar="USER")
@_STORE
@_LANDING
@click.option("--version", help="Version of the snapshot. By default the live one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tab-separated lines.")
def show(*, user: str, store: str, landing: str, version: str | None, as_json: bool) -> None:
    """Print the stored shelf of a shopper, by user id. Erased shoppers have none."""
    import msgspec

    from serving.client import UnknownUserError, open_snapshot, shelf_of
    from serving.snapshot.manifest import StoreError
    from serving.snapshot.record import RecordError

    try:
        with open_snapshot(store, version, landing) as snapshot:
            rows, snapshot_version = shelf_of(snapshot, user), snapshot.version
    except (StoreError, RecordError, UnknownUserError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(msgspec.json.encode({"snapshot": snapshot_version, "user_id": user, "rows": rows}))
        return
    for row in rows:
        stock = "" if row.stock is None else row.stock
        click.echo(
            f"{row.rank}\t{row.item_id}\t{row.title}\t{row.price}\t{stock}\t{row.score:.4g}\t{row.source}\t{row.reason}"
        )


def application() -> object:
    """The ASGI application with the environment's settings; uvicorn calls this in every worker."""
    from serving.api.app import build

    _end_with_parent()
    gc.set_threshold(20_000, 20, 50)  # answers leave no cycles, so collecting more often frees nothing
    sys.setswitchinterval(0.0005)  # a thread that appends to a log delays answers by less than the default 5 ms
    return build(EndpointSettings.from_environment())


def _end_with_parent() -> None:
    """End this worker when the process that started it ends, even if that was killed; its port is free then."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return  # the only worker, in the process of `serve`

    def follow() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)  # answer what was asked, and keep its exposures
        time.sleep(2 * GRACE_S)
        os._exit(1)

    threading.Thread(target=follow, name="parent", daemon=True).start()


if __name__ == "__main__":
    main(prog_name="python -m serving")
