"""Commands that make a shop: published data sets turned into landing, and a synthetic shop."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.commands.options import Landing, Source, on_this_host, places_of

if TYPE_CHECKING:
    pass

app = typer.Typer(rich_markup_mode=None)
land = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Turn a published data set into a landing folder. Repeating it changes nothing.",
    epilog="Example: topshelf land online-retail published/ --landing shop/landing",
)
app.add_typer(land, name="land")


@land.command("online-retail", epilog="Example: topshelf land online-retail published/online_retail")
def land_online_retail(src: Source, landing: Landing = None) -> None:
    """Land UCI Online Retail: invoice lines as purchases."""
    from jobs.landing.adapters.online_retail import online_retail

    _print_lines(online_retail(src, _landing_folder(landing)).lines())


@land.command("retailrocket-buyers", epilog="Example: topshelf land retailrocket-buyers published/buyers")
def land_retailrocket_buyers(src: Source, landing: Landing = None) -> None:
    """Land the buyers' extract of RetailRocket: views, carts and purchases."""
    from jobs.landing.adapters.retailrocket import retailrocket_buyers

    _print_lines(retailrocket_buyers(src, _landing_folder(landing)).lines())


@land.command("retailrocket", epilog="Example: topshelf land retailrocket published/retailrocket")
def land_retailrocket(src: Source, landing: Landing = None) -> None:
    """Land RetailRocket's raw files: events, and item properties and category tree if they are there."""
    from jobs.landing.adapters.retailrocket import retailrocket

    _print_lines(retailrocket(src, _landing_folder(landing)).lines())


def _landing_folder(flag: str | None) -> Path:
    """Return the landing folder that is made. Raises PlaceError where landing is on S3."""
    from serving.stores.places import folder_of

    return folder_of(places_of(flag).landing)


def _print_lines(lines: list[str]) -> None:
    for line in lines:
        typer.echo(line)


@app.command("synthetic-shop", epilog="Example: topshelf synthetic-shop --users 2000 --items 1000 --events 50000")
def synthetic_shop(
    first_day: Annotated[
        datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First day.", metavar="DAY")
    ] = datetime(2026, 1, 1),
    last_day: Annotated[
        datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day.", metavar="DAY")
    ] = datetime(2026, 2, 14),
    users: Annotated[int, typer.Option(min=1, help="Number of shoppers.")] = 2000,
    items: Annotated[int, typer.Option(min=1, help="Number of products.")] = 1000,
    events: Annotated[int, typer.Option(min=1, help="Roughly how many events to make.")] = 50_000,
    seed: Annotated[int, typer.Option(help="Another seed, another shop.")] = 7,
    embedding_noise: Annotated[
        float | None,
        typer.Option(
            min=0, help="Items land with an embedding: their style through noise of so many standard deviations."
        ),
    ] = None,
    groceries: Annotated[
        bool, typer.Option("--groceries", help="A grocer: weekly baskets, of which most is bought again.")
    ] = False,
    landing: Landing = None,
    truth: Annotated[
        Path | None,
        typer.Option(callback=on_this_host, help="Folder for the true utilities; beside landing by default."),
    ] = None,
) -> None:
    """Make a synthetic shop whose shoppers' true tastes are known."""
    from jobs.spark.session import session
    from jobs.synthetic.shop import synthetic_shop as make

    at = _landing_folder(landing)
    beside = truth or at.parent / "truth"
    days = (first_day.date(), last_day.date())
    typer.echo(str(make(session(), at, beside, users, items, events, *days, seed, embedding_noise, groceries)))
