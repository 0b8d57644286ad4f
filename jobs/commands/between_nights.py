"""Commands that run between nights: trends, new products, the weekly maintenance."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.commands.options import ArchiveAt, LakeAt, Landing, StoreAt, Today, configuration_of, places_of

if TYPE_CHECKING:
    pass

app = typer.Typer(rich_markup_mode=None)


@app.command(epilog="Example: topshelf trending --store lmdb://data/store")
def trending(
    landing: Landing = None,
    store: StoreAt = None,
    now: Annotated[
        str | None, typer.Option(help="End of the 24 hours, with its UTC offset; now by default.", metavar="TIME")
    ] = None,
    every: Annotated[
        float | None,
        typer.Option(min=1, help="Do it again every so many seconds, until it is ended.", metavar="SECONDS"),
    ] = None,
) -> None:
    """Update the trending shelf of the live snapshot from the last 24 hours. Airflow runs this every 5 minutes.

    With --every 60 it runs by itself, every minute; then Airflow need not.
    """
    from jobs.intraday.repeated import repeat
    from jobs.intraday.trending import refresh

    configuration = configuration_of(landing, store=store)
    weights = configuration.parameters.features.event_weight_milli.by_event_type()
    if every is None:
        typer.echo(refresh(configuration.settings, weights, _moment(now)))
        return
    if now is not None:
        raise typer.BadParameter("--every is for now; leave --now out")
    repeat(lambda: refresh(configuration.settings, weights, datetime.now(UTC)), every)


@app.command("new-items", epilog="Example: topshelf new-items --store lmdb://data/store")
def new_items(landing: Landing = None, lake: LakeAt = None, store: StoreAt = None, today: Today = None) -> None:
    """Add products that landed since the night to the live snapshot. Airflow runs this every 15 minutes."""
    from jobs.intraday.new_items import bring_in

    typer.echo(bring_in(places_of(landing, lake, store), (today or datetime.now(UTC)).date()))


@app.command(epilog="Example: topshelf overlay --store lmdb://data/store")
def overlay(store: StoreAt = None) -> None:
    """Show the overlay of the live snapshot: how many trending items and new products."""
    from jobs.intraday.overlay import describe_live

    typer.echo(describe_live(places_of(store=store).store))


@app.command(epilog="Example: topshelf maintain --archive s3://bucket/shop")
def maintain(landing: Landing = None, lake: LakeAt = None, archive: ArchiveAt = None, today: Today = None) -> None:
    """Remove old partitions, carry out erasures, test the archive. Airflow runs this every Sunday."""
    from jobs.upkeep.maintenance import maintain as run

    configuration = configuration_of(landing, lake, archive=archive)
    day = (today or datetime.now(UTC)).date()
    typer.echo(str(run(configuration.settings, day, configuration.retention)))


def _moment(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no time; write it as 2026-01-31T12:00:00+00:00") from error
    if moment.tzinfo is None:
        raise typer.BadParameter(f"{text!r} has no UTC offset; write it as {text}+00:00")
    return moment
