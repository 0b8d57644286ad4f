"""The endpoint's command line.

python -m serving serve --store lmdb://data/store --landing data/landing --port 8000
"""

import os
from pathlib import Path

import click


@click.group()
def main() -> None:
    """Serve what the night published."""


@main.command(epilog="Example: python -m serving serve --store lmdb://data/store --port 8000")
@click.option("--store", envvar="TOPSHELF_STORE", default="lmdb://data/store", show_default=True)
@click.option("--landing", envvar="TOPSHELF_LANDING", default="data/landing", show_default=True)
@click.option("--state", envvar="TOPSHELF_STATE", help="Folder of the live item state; beside the store by default.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True)
@click.option("--workers", default=1, show_default=True)
def serve(*, store: str, landing: str, state: str | None, host: str, port: int, workers: int) -> None:
    """Answer requests until stopped."""
    import uvicorn

    # Workers are new processes: what they are to serve reaches them as the environment.
    os.environ |= {"TOPSHELF_STORE": store, "TOPSHELF_LANDING": landing}
    os.environ["TOPSHELF_STATE"] = state or str(_beside(store))
    uvicorn.run(
        "serving.__main__:application",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        access_log=False,
        log_level="warning",
        server_header=False,
    )


@main.command(epilog="Example: python -m serving show 17850")
@click.argument("user", metavar="USER")
@click.option("--store", envvar="TOPSHELF_STORE", default="lmdb://data/store", show_default=True)
@click.option("--version", help="A version other than the live one.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
def show(*, user: str, store: str, version: str | None, as_json: bool) -> None:
    """Show a shopper's stored shelf."""
    import msgspec

    from serving.client import UnknownUserError, open_snapshot, shelf_of
    from serving.record import RecordError
    from serving.stores import StoreError

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


def _beside(store: str) -> Path:
    return Path(store.removeprefix("lmdb://")) / "live" if store.startswith("lmdb://") else Path("data/live")


def application() -> object:
    """The ASGI application that the environment describes; uvicorn calls this in every worker."""
    from serving.app import build

    where = {name: os.environ[f"TOPSHELF_{name}"] for name in ("STORE", "LANDING", "STATE")}
    return build(where["STORE"], Path(where["LANDING"]), Path(where["STATE"]))


if __name__ == "__main__":
    main(prog_name="python -m serving")
