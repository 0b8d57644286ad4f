"""Commands of the endpoint, which stands alone: `python -m serving` does the same."""

import os
import sys
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    pass

app = typer.Typer(rich_markup_mode=None)


@app.command(
    epilog="Example: topshelf serve --store lmdb://data/store --port 8000",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def serve(context: typer.Context) -> None:
    """Start the endpoint: answer GET /recommendations from the live snapshot. See `topshelf serve --help`."""
    os.execv(sys.executable, [sys.executable, "-m", "serving", "serve", *context.args])  # noqa: S606


@app.command(
    epilog="Example: topshelf keys create --scope read --name web",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def keys(context: typer.Context) -> None:
    """Create, list and revoke the endpoint's API keys. See `topshelf keys --help`."""
    os.execv(sys.executable, [sys.executable, "-m", "serving", "keys", *context.args])  # noqa: S606


@app.command(
    epilog="Example: topshelf stream events --kafka 127.0.0.1:9092 --topic shop.events",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def stream(context: typer.Context) -> None:
    """Follow topics of Kafka, events and items, beside the endpoint. See `topshelf stream --help`."""
    os.execv(sys.executable, [sys.executable, "-m", "serving", "stream", *context.args])  # noqa: S606
