"""Commands of the landing folder: what would the night make of it, and topics that become part of it."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.options import LakeAt, Landing, configuration_of, places_of

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Look at the landing folder before the night does, and land topics of Kafka.",
)
STOPS_STATUS = 1
"""Exit status if the night would stop."""


@app.callback()
def _landing() -> None:
    """Look at the landing folder before the night does, and land topics of Kafka."""


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


@app.command(epilog="Example: topshelf landing topic events --kafka 127.0.0.1:9092 --topic shop.events")
def topic(
    table: Annotated[str, typer.Argument(help="Where its rows belong: events or items.", metavar="TABLE")],
    kafka: Annotated[str, typer.Option(envvar="TOPSHELF_KAFKA", help="Brokers to ask first.", metavar="HOST:PORT,…")],
    topic: Annotated[str, typer.Option(help="The topic: JSON, a row a message, with the columns of the table.")],
    properties: Annotated[
        Path | None,
        typer.Option(
            envvar="TOPSHELF_KAFKA_LANDING_PROPERTIES",
            help="File of properties of Kafka's Java client, NAME=VALUE a line, such as security.protocol.",
        ),
    ] = None,
    landing: Landing = None,
    lake: LakeAt = None,
) -> None:
    """Land what came into a topic since the last time, each message once, and mark the days that are complete.

    Airflow runs this every 15 minutes where TOPSHELF_KAFKA_TOPICS names topics. It may be killed at any time.
    """
    from jobs.lake.lake import Lake
    from jobs.landing.topics import Topic, land_topic, read_properties
    from jobs.spark.session import session

    places = places_of(landing, lake)
    source = Topic(kafka, topic, read_properties(properties))
    typer.echo(str(land_topic(session(here=True), table, source, str(places.landing), Lake(str(places.lake)))))
