"""The `topshelf` command.

    topshelf nightly --ds 2026-01-31 --landing shop/landing

`--help` of every command says what it does, with an example. An error says what is wrong, where, and the remedy.
"""

import logging

import typer

from jobs.commands import between_nights, data_sets, endpoint, night, quality, snapshots

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Topshelf: recommendations computed at night, looked up by day.",
    epilog="Example: topshelf nightly --ds 2026-01-31 --landing shop/landing",
)
for room in (night, snapshots, endpoint, between_nights, quality, data_sets):
    app.add_typer(room.app)


def main() -> None:
    """Run the command. Errors of ours are printed in one line, all others with their traceback."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("jobs").setLevel(logging.INFO)
    try:
        app()
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("jobs", "serving"):
            raise
        typer.echo(f"topshelf: {error}", err=True)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
