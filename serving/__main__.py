"""The endpoint's command line.

python -m serving serve --store lmdb://data/store --landing data/landing --port 8000
"""

import gc
import ipaddress
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import click

from serving.settings import EndpointSettings, beside

_STORE = click.option("--store", envvar="TOPSHELF_STORE", default="lmdb://data/store", show_default=True)
_LANDING = click.option("--landing", envvar="TOPSHELF_LANDING", default="data/landing", show_default=True)
_STATE = click.option(
    "--state", envvar="TOPSHELF_STATE", help="Folder of logs and keys; beside the store by default."
)
_KEYS = click.option("--keys", envvar="TOPSHELF_KEYS", help="File of API keys; keys.json in the state by default.")
_SHARED = click.option(
    "--shared", envvar="TOPSHELF_SHARED", help="redis://… through which several hosts share the present."
)
_MARK = click.option(
    "--mark-events", is_flag=True, envvar="TOPSHELF_MARK_EVENTS", help="Mark days of events as complete."
)
STOP_S = 20.0


@click.group()
def main() -> None:
    """Serve what the night published."""


@main.command(epilog="Example: python -m serving serve --store lmdb://data/store --port 8000")
@_STORE
@_LANDING
@_STATE
@_KEYS
@_SHARED
@_MARK
@click.option("--max-state-age-s", type=float, envvar="TOPSHELF_MAX_STATE_AGE_S", help="Older live state is told.")
@click.option("--explore-share", type=float, envvar="TOPSHELF_EXPLORE_SHARE", help="Of the places of a shelf (0.1).")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True)
@click.option("--workers", default=1, show_default=True)
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
    """Answer requests until stopped. Without any key it answers on a loopback address alone, and says so."""
    import uvicorn

    settings = EndpointSettings(
        store=store,
        landing=Path(landing),
        state=Path(state) if state else beside(store),
        keys=_keys_at(store, state, keys),
        shared=shared or None,
        open=_may_be_open(_keys_at(store, state, keys), host),
        max_state_age_s=max_state_age_s,
        explore_share=explore_share,
        mark_events=mark_events,
    )
    for left in (settings.state / "metrics").glob("*.cells"):
        left.unlink(missing_ok=True)
    # Workers are new processes: what they are to serve reaches them as the environment.
    os.environ |= settings.to_environment()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises it again when it is done
    lander = _Lander()
    try:
        uvicorn.run(
            "serving.__main__:application",
            factory=True,
            host=host,
            port=port,
            workers=workers,
            access_log=False,
            log_level="warning",
            server_header=False,
            proxy_headers=False,  # nothing is decided by where a caller says it comes from
        )
    finally:
        lander.stop()


class _Lander:
    """The lander beside the workers; when it ends it is started again."""

    def __init__(self) -> None:
        self._stopping = False
        self._process = self._start()
        threading.Thread(target=self._watch, daemon=True).start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "serving", "land", "--parent", str(os.getpid())])

    def _watch(self) -> None:
        while not self._stopping:
            self._process.wait()
            time.sleep(1)
            if not self._stopping:
                self._process = self._start()

    def stop(self) -> None:
        """Let it land what is left, and end it."""
        self._stopping = True
        self._process.terminate()
        try:
            if self._process.wait(STOP_S) != 0:  # it had died, or had not yet begun
                subprocess.run([sys.executable, "-m", "serving", "land", "--once"], timeout=STOP_S, check=False)
        except subprocess.TimeoutExpired:
            self._process.kill()  # the next start lands the rest


def _keys_at(store: str, state: str | None, keys: str | None) -> Path:
    return Path(keys) if keys else (Path(state) if state else beside(store)) / "keys.json"


def _may_be_open(keys: Path, host: str) -> bool:
    if keys.exists():
        return False
    if not (host == "localhost" or ((host[:1].isdigit() or ":" in host) and ipaddress.ip_address(host).is_loopback)):
        raise click.ClickException(
            f"{keys} does not exist, and {host} is no loopback address; "
            "make a key first: topshelf keys create --scope read"
        )
    click.echo(
        "no keys yet: open to everybody on this machine; topshelf keys create --scope read ends that", err=True
    )
    return True


@main.command(epilog="Example: python -m serving land --landing data/landing --state data/store/live")
@_STORE
@_LANDING
@_STATE
@_SHARED
@_MARK
@click.option("--parent", type=int, help="End, with everything landed, when this process is gone.")
@click.option("--once", is_flag=True, help="Land what is there, then end.")
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
    """Bring exposures and events to landing until stopped; `serve` starts this by itself."""
    from serving.logs.lander import run

    at = Path(state) if state else beside(store)
    settings = EndpointSettings(store, Path(landing), at, at / "keys.json", shared or None, mark_events=mark_events)
    run(settings, parent, once=once)


@main.group()
def keys() -> None:
    """API keys: create, list, revoke."""


@keys.command("create", epilog="Example: topshelf keys create --scope read --name web --rate 2000/second")
@click.option("--scope", multiple=True, required=True, type=click.Choice(["read", "feed", "admin"]))
@click.option("--name", default="", help="Whose it is.")
@click.option("--rate", default="2000/second", show_default=True, help="As 2000/second or 100000/minute.")
@_STORE
@_STATE
@_KEYS
def keys_create(
    *, scope: tuple[str, ...], name: str, rate: str, store: str, state: str | None, keys: str | None
) -> None:
    """Make a key and show it, this once. Several are valid at a time: rotate by making the next, then revoking."""
    from serving.api.keys import KeysError, create

    try:
        stored, secret = create(_keys_at(store, state, keys), tuple(dict.fromkeys(scope)), name, rate)
    except KeysError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{stored.id} ({', '.join(stored.scopes)}, {stored.rate}); the key is shown this once:", err=True)
    click.echo(secret)


@keys.command("list", epilog="Example: topshelf keys list")
@_STORE
@_STATE
@_KEYS
def keys_list(*, store: str, state: str | None, keys: str | None) -> None:
    """List keys; the keys themselves are nowhere."""
    from serving.api.keys import KeysError, read_keys

    try:
        for key in read_keys(_keys_at(store, state, keys)).keys:
            told = f"revoked {key.revoked}" if key.revoked else "valid"
            click.echo(f"{key.id}\t{','.join(key.scopes)}\t{key.rate}\t{key.created}\t{told}\t{key.name}")
    except KeysError as error:
        raise click.ClickException(str(error)) from error


@keys.command("revoke", epilog="Example: topshelf keys revoke k1a2b3c4d")
@click.argument("key_id", metavar="ID")
@_STORE
@_STATE
@_KEYS
def keys_revoke(*, key_id: str, store: str, state: str | None, keys: str | None) -> None:
    """Make a key invalid; workers know within a second."""
    from serving.api.keys import KeysError, revoke

    try:
        revoke(_keys_at(store, state, keys), key_id)
    except KeysError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{key_id} is revoked")


@main.command(epilog="Example: python -m serving show 17850")
@click.argument("user", metavar="USER")
@_STORE
@click.option("--version", help="A version other than the live one.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
def show(*, user: str, store: str, version: str | None, as_json: bool) -> None:
    """Show a shopper's stored shelf."""
    import msgspec

    from serving.client import UnknownUserError, open_snapshot, shelf_of
    from serving.snapshot.manifest import StoreError
    from serving.snapshot.record import RecordError

    try:
        with open_snapshot(store, version) as snapshot:
            rows, name = shelf_of(snapshot, user), snapshot.version
    except (StoreError, RecordError, UnknownUserError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(msgspec.json.encode({"snapshot": name, "user_id": user, "rows": rows}))
        return
    for row in rows:
        stock = "" if row.stock is None else row.stock
        click.echo(
            f"{row.rank}\t{row.item_id}\t{row.title}\t{row.price}\t{stock}\t{row.score:.4g}\t{row.source}\t{row.reason}"
        )


def application() -> object:
    """The ASGI application that the environment describes; uvicorn calls this in every worker."""
    from serving.api.app import build

    gc.set_threshold(20_000, 20, 50)  # answers leave no cycles; looking for some costs more than it frees
    sys.setswitchinterval(0.0005)  # a thread that appends to a log must not keep answers waiting for 5 ms
    return build(EndpointSettings.from_environment())


if __name__ == "__main__":
    main(prog_name="python -m serving")
