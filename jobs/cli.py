"""The `topshelf` command.

    topshelf nightly --ds 2026-01-31 --landing shop/landing

`--help` of every command says what it does, with an example. An error says what is wrong, where, and the remedy.
"""

import errno
import io
import logging
import sys

import typer

from jobs.commands import between_nights, data_sets, endpoint, experiments, landing, night, quality, snapshots
from jobs.config.outcome import is_lasting, write_outcome

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Topshelf: recommendations computed at night, looked up by day.",
    epilog="Example: topshelf nightly --ds 2026-01-31 --landing shop/landing",
)
for room in (night, snapshots, endpoint, between_nights, quality, data_sets):
    app.add_typer(room.app)
app.add_typer(landing.app, name="landing")
app.add_typer(experiments.app, name="experiments")


_REMEDIES = {
    errno.ENOSPC: "free disk space",
    errno.EDQUOT: "free disk space",
    errno.EROFS: "name a folder that can be written",
    errno.EACCES: "give this user access, or name another folder",
    errno.EPERM: "give this user access, or name another folder",
    errno.ENOTDIR: "name another folder",
    errno.EISDIR: "name a file",
}
"""What helps against the disk's errors, by their number."""


def main() -> None:
    """Run the command. Errors of ours and of the disk are printed in one line, all others with their traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a title that the terminal's encoding lacks stops nothing
    logging.basicConfig(format="%(message)s")
    logging.getLogger("jobs").setLevel(logging.INFO)
    try:
        app()
    except Exception as error:
        write_outcome(str(error) or type(error).__name__, lasting=is_lasting(error))
        remedy = _REMEDIES.get(error.errno or 0) if isinstance(error, OSError) else None
        if type(error).__module__.split(".")[0] in ("jobs", "serving"):
            typer.echo(f"topshelf: {error}", err=True)
        elif remedy is not None:
            typer.echo(f"topshelf: {error}; {remedy}", err=True)
        else:
            raise
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
