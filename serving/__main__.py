"""The endpoint's command line.

python -m serving serve --store lmdb://data/store --landing data/landing --port 8000
"""

import gc
import ipaddress
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import click

from serving.key_commands import keys
from serving.lasting_task import LastingTask
from serving.options import KEYS, LANDING, SHARED, STATE, STORE, keys_file_of, state_folder
from serving.settings import PERTURB_SHARE, EndpointSettings
from serving.stream_commands import stream

GRACE_S = 10  # for answers to be made and read when the endpoint ends

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
@STORE
@LANDING
@STATE
@KEYS
@SHARED
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
@click.option(
    "--perturb-share",
    type=click.FloatRange(0, 1),
    envvar="TOPSHELF_PERTURB_SHARE",
    default=PERTURB_SHARE,
    show_default=True,
    help="Share of answers whose ranked places are reordered, to learn what other rankings are worth.",
)
@click.option(
    "--cors-origins",
    metavar="ORIGINS",
    default="",
    envvar="TOPSHELF_CORS_ORIGINS",
    help="Sites whose pages may read shelves and send events from a browser, with commas between, such as "
    "https://shop.example.",
)
@click.option(
    "--messages",
    type=click.Path(path_type=Path),
    envvar="TOPSHELF_MESSAGES",
    help="Folder of texts for shoppers, such as de.toml: they change the built-in ones and add languages.",
)
@click.option(
    "--placements",
    envvar="TOPSHELF_PLACEMENTS",
    help="YAML file that says which shelves stand on which page.  [default: the pages that `placements` prints]",
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
    perturb_share: float,
    cors_origins: str,
    messages: Path | None,
    placements: str | None,
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

    _check_addresses(store, landing, shared)
    _check_messages(messages)
    origins = _origins(cors_origins)
    keys_file = keys_file_of(store, state, keys)
    settings = EndpointSettings(
        store=store,
        landing=landing,
        state=state_folder(store, state),
        keys=keys_file,
        shared=shared or None,
        open=_may_be_open(keys_file, host),
        max_state_age_s=max_state_age_s,
        explore_share=explore_share,
        perturb_share=perturb_share,
        cors_origins=origins,
        messages=messages,
        placements=_checked_placements(placements),
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


def _check_addresses(store: str, landing: str, shared: str | None) -> None:
    """Raises ClickException for a URL that no worker could use. Nothing connects yet."""
    from serving.snapshot.manifest import StoreError
    from serving.stores import open_store
    from serving.stores.places import PlaceError, place_of
    from serving.stores.redis_address import redis_address

    try:
        open_store(store).close()
    except (StoreError, ValueError) as error:
        raise click.ClickException(f"--store: {error}") from error
    try:
        place_of(landing)
    except PlaceError as error:
        raise click.ClickException(f"--landing: {error}") from error
    try:
        if shared:
            redis_address(shared)
    except ValueError as error:
        raise click.ClickException(f"--shared: {error}") from error


def _origins(text: str) -> tuple[str, ...]:
    """Return the origins that a text names. Raises ClickException."""
    from serving.api.cors import OriginError, origins_of

    try:
        return origins_of(text)
    except OriginError as error:
        raise click.ClickException(f"--cors-origins: {error}") from error


def _check_messages(folder: Path | None) -> None:
    """Raises ClickException for a folder of texts that no worker could use."""
    from serving.shelf.languages import MessagesError, read_languages

    try:
        read_languages(folder)
    except MessagesError as error:
        raise click.ClickException(f"--messages: {error}") from error


def _checked_placements(path: str | None) -> Path | None:
    """Return the file of placements. Raises ClickException where it cannot be meant."""
    from serving.shelf.placements import PlacementsError, read_placements

    if not path:
        return None
    try:
        read_placements(Path(path))
    except PlacementsError as error:
        raise click.ClickException(f"--placements: {error}") from error
    return Path(path).resolve()


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
@STORE
@LANDING
@STATE
@SHARED
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

    _check_addresses(store, landing, shared)
    folder, keys_file = state_folder(store, state), keys_file_of(store, state, None)
    settings = EndpointSettings(store, landing, folder, keys_file, shared or None, mark_events=mark_events)
    try:
        metrics = Metrics(folder / "metrics", "lander")
    except OSError as error:
        raise _not_written(folder, error) from error

    def tell(tasks: Iterable[LastingTask]) -> None:
        metrics.count_failures(tasks)
        metrics.tell_troubles(tasks)

    run(settings, tell, parent, once=once)


@main.command(epilog="Example: python -m serving placements > placements.yaml")
@click.argument("file", required=False, type=click.Path(path_type=Path))
def placements(file: Path | None) -> None:
    """Print the built-in pages as a file to begin with; with FILE, check that file and print its pages."""
    from serving.shelf.placements import BUILT_IN, PlacementsError, read_placements

    if file is None:
        click.echo(BUILT_IN.read_text(encoding="utf-8"), nl=False)
        return
    try:
        pages = read_placements(file)
    except PlacementsError as error:
        raise click.ClickException(str(error)) from error
    for name, page in pages.items():
        click.echo(f"{name}\t{page.order}\t{', '.join(shelf.called for shelf in page.shelves)}")


main.add_command(keys)
main.add_command(stream)


@main.command(epilog="Example: python -m serving show 17850")
@click.argument("user", metavar="USER")
@STORE
@LANDING
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
    _log_warnings()
    gc.set_threshold(20_000, 20, 50)  # answers leave no cycles, so collecting more often frees nothing
    sys.setswitchinterval(0.0005)  # a thread that appends to a log delays answers by less than the default 5 ms
    return build(EndpointSettings.from_environment())


def _log_warnings() -> None:
    """Log to standard error what operators should know, with its time."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)


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
    _log_warnings()
    main(prog_name="python -m serving")
