"""Commands of the landing folder: what would the night make of it?"""

from datetime import datetime
from typing import Annotated

import typer

from jobs.commands.options import Landing, configuration_of

app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Look at the landing folder before the night does."
)
STOPS_STATUS = 1
"""Exit status if the night would stop."""


@app.callback()
def _landing() -> None:
    """Look at the landing folder before the night does."""


@app.command(epilog="Example: topshelf landing check --landing shop/landing --day 2026-01-31")
def check(
    landing: Landing = None,
    day: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"], help="Only this day's folders; without it, all that landed.", metavar="DAY"
        ),
    ] = None,
) -> None:
    """Read landed files as the night would, and say what it would keep. Exit status 1 if the night would stop."""
    from jobs.landing.check import check_landing
    from jobs.landing.console import print_check

    configuration = configuration_of(landing)
    found = check_landing(
        str(configuration.settings.landing), day.date() if day else None, configuration.parameters.staging
    )
    print_check(found)
    if found.stops:
        raise typer.Exit(STOPS_STATUS)
