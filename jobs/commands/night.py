"""Commands of the night: run it whole or a stage alone, see what it is configured with and what it came to."""

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.commands.options import (
    ArchiveAt,
    Ds,
    LakeAt,
    Landing,
    StoreAt,
    TopN,
    configuration_of,
    on_this_host,
    places_of,
)

if TYPE_CHECKING:
    from jobs.config.configuration import Configuration

app = typer.Typer(rich_markup_mode=None)
REFUSED_STATUS = 3
"""Exit status if a gate refused the snapshot. Nothing broke, and nothing went live."""
NOT_YET_STATUS = 4
"""Exit status of `topshelf landed` for a day that has not landed."""


@app.command(epilog="Example: topshelf nightly --ds 2026-01-31 --landing shop/landing --top-n 100")
def nightly(
    ds: Ds,
    landing: Landing = None,
    lake: LakeAt = None,
    store: StoreAt = None,
    top_n: TopN = None,
    stages: Annotated[
        str | None,
        typer.Option(help="Only these stages, separated by commas; see topshelf stage list.", metavar="NAMES"),
    ] = None,
) -> None:
    """Run one day's night: landing to a published snapshot."""
    names = [name.strip() for name in stages.split(",")] if stages else None
    _run(names, ds, configuration_of(landing, lake, store, top_n=top_n))


@app.command(epilog="Example: topshelf stage candidates --ds 2026-01-31")
def stage(
    name: Annotated[str, typer.Argument(help="A stage of the night; `list` shows them.", metavar="NAME")],
    ds: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="A UTC day.", metavar="DAY")] = None,
    landing: Landing = None,
    lake: LakeAt = None,
    store: StoreAt = None,
    top_n: TopN = None,
    force: Annotated[
        str, typer.Option(help="For publish: overrule a failed gate. The reason is kept.", metavar="REASON")
    ] = "",
) -> None:
    """Run one stage of a day's night. Repeating it changes nothing."""
    if name == "list":
        from jobs.night.console import print_stages

        print_stages()
        return
    if ds is None:
        raise typer.BadParameter("say which day, as --ds 2026-01-31", param_hint="--ds")
    if force and (name != "publish" or not force.strip()):
        raise typer.BadParameter("only the stage publish can be forced, and with a reason", param_hint="--force")
    _run([name], ds, configuration_of(landing, lake, store, top_n=top_n), force)


def _run(names: list[str] | None, ds: datetime, configuration: "Configuration", force: str = "") -> None:
    """Run stages; the last line of output is the outcome. Exit with REFUSED_STATUS if a gate refused the snapshot."""
    from jobs.night.console import run_and_print

    if not run_and_print(configuration.settings, configuration.parameters, ds.date(), names, force):
        raise typer.Exit(REFUSED_STATUS)


@app.command(epilog="Example: topshelf landed --ds 2026-01-31 --landing s3://shop/landing")
def landed(ds: Ds, landing: Landing = None) -> None:
    """Say whether a day's events have landed: exit status 0 if the day is marked as complete, 4 if not yet."""
    from jobs.landing.folders import has_landed

    at = places_of(landing).landing
    has = has_landed(at, ds.date())
    typer.echo(f"{at}/events/ds={ds.date()} {'has' if has else 'has not'} landed")
    if not has:
        raise typer.Exit(NOT_YET_STATUS)


@app.command(epilog="Example: topshelf report --ds 2026-01-31")
def report(
    ds: Ds,
    lake: LakeAt = None,
    store: StoreAt = None,
    to: Annotated[Path | None, typer.Option(help="Write a copy of the page there too.", metavar="FILE")] = None,
    *,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Write a night's report as one HTML page, and print it as tables."""
    from jobs.lake.lake import Lake
    from jobs.reporting.report import print_night

    configuration = configuration_of(None, lake, store)
    settings, currency = configuration.settings, configuration.parameters.report.currency
    print_night(Lake(settings.lake), ds.date(), settings.store, currency=currency, copy=to, show=show)


@app.command(epilog="Example: topshelf config --top-n 50")
def config(
    *,
    toml: Annotated[bool, typer.Option("--toml", help="Print a complete topshelf.toml instead.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/settings.md instead.")] = False,
    landing: Landing = None,
    lake: LakeAt = None,
    store: StoreAt = None,
    archive: ArchiveAt = None,
    top_n: TopN = None,
) -> None:
    """Print the configuration in force: each value, where it came from, and what it means."""
    from jobs.config.console import as_toml, print_table
    from jobs.config.reference import settings_as_markdown

    if markdown:
        typer.echo(settings_as_markdown(), nl=False)
        return
    configuration = configuration_of(landing, lake, store, archive, top_n)
    if toml:
        typer.echo(as_toml(configuration), nl=False)
    else:
        print_table(configuration)


@app.command(epilog="Example: topshelf demo")
def demo(
    folder: Annotated[Path, typer.Option(callback=on_this_host, help="Folder for the demo's shop.")] = Path(
        "data/demo"
    ),
    stay: Annotated[
        bool | None,
        typer.Option(help="Serve a page to click through until Ctrl-C; without either, where there is a terminal."),
    ] = None,
) -> None:
    """Make a synthetic shop, run its night, serve it, show a few shelves, and a page to click through."""
    from jobs.demo import demo as run
    from jobs.example_page import has_page

    run(folder, stay=sys.stdout.isatty() and has_page() if stay is None else stay)
