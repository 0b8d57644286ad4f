"""The `topshelf` command.

    topshelf nightly --ds 2026-01-31 --landing shop/landing

Every command says what it does with an example under `--help`; an error says what, where and the remedy.
"""

import logging
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from jobs.config.configuration import Configuration
    from jobs.config.settings import Settings

REFUSED_STATUS = 3
"""Exit status of a command whose publish was held back by a gate: nothing broke, and nothing went live."""
NOT_YET_STATUS = 4
"""Exit status of `topshelf landed` for a day that has not landed."""

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Topshelf: recommendations thought out at night, looked up by day.",
    epilog="Example: topshelf nightly --ds 2026-01-31 --landing shop/landing",
)
land_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Turn a published data set into a landing folder. Repeating changes nothing.",
    epilog="Example: topshelf land online-retail published/ --landing shop/landing",
)
app.add_typer(land_app, name="land")

Ds = Annotated[datetime, typer.Option("--ds", formats=["%Y-%m-%d"], help="A UTC day.", metavar="DAY")]
Landing = Annotated[
    str | None, typer.Option("--landing", help="Landing folder: TOPSHELF_LANDING, or data/landing.", metavar="DIR")
]
LakeAt = Annotated[
    str | None, typer.Option("--lake", help="Lake, a folder or s3://: TOPSHELF_LAKE, or data/lake.", metavar="DIR")
]
StoreAt = Annotated[
    str | None,
    typer.Option("--store", help="lmdb://, redis:// or dynamodb://: TOPSHELF_STORE, or lmdb://data/store."),
]
ArchiveAt = Annotated[
    str | None, typer.Option("--archive", help="s3://BUCKET/PREFIX: TOPSHELF_ARCHIVE, or none.", metavar="URL")
]
Version = Annotated[str, typer.Argument(help="As `topshelf snapshots` lists it.", metavar="VERSION")]
TopN = Annotated[int | None, typer.Option("--top-n", min=1, max=2000, help="Length of a shelf (100).")]
Today = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Another day than today, in UTC.", metavar="DAY")
]
Source = Annotated[Path, typer.Argument(help="The files as published, .csv or .csv.gz.", metavar="SRC")]


def _configuration(
    landing: str | None = None,
    lake: str | None = None,
    store: str | None = None,
    archive: str | None = None,
    top_n: int | None = None,
) -> "Configuration":
    """Return what is in force for a command with these flags."""
    from jobs.config.configuration import read_configuration

    flags = {"--landing": landing, "--lake": lake, "--store": store, "--archive": archive, "--top-n": top_n}
    return read_configuration(flags)


def _settings(
    landing: str | None = None, lake: str | None = None, store: str | None = None, archive: str | None = None
) -> "Settings":
    return _configuration(landing, lake, store, archive).settings


@app.command(epilog="Example: topshelf nightly --ds 2026-01-31 --landing shop/landing --top-n 100")
def nightly(
    ds: Ds,
    landing: Landing = None,
    lake: LakeAt = None,
    store: StoreAt = None,
    top_n: TopN = None,
    stages: Annotated[
        str | None, typer.Option(help="Only these stages, separated by commas: see topshelf stage.", metavar="NAMES")
    ] = None,
) -> None:
    """Run one day's night: landing to a published snapshot."""
    names = [name.strip() for name in stages.split(",")] if stages else None
    _run(names, ds, _configuration(landing, lake, store, top_n=top_n))


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
    _run([name], ds, _configuration(landing, lake, store, top_n=top_n), force)


def _run(names: list[str] | None, ds: datetime, configuration: "Configuration", force: str = "") -> None:
    """Run stages; the last line of output says what came of it, and a refused snapshot ends with REFUSED_STATUS."""
    from jobs.night.console import run_and_print

    if not run_and_print(configuration.settings, configuration.parameters, ds.date(), names, force):
        raise typer.Exit(REFUSED_STATUS)


@app.command(epilog="Example: topshelf landed --ds 2026-01-31 --landing s3://shop/landing")
def landed(ds: Ds, landing: Landing = None) -> None:
    """Tell whether a day's events have landed whole: exit status 0 if so, 4 if not yet."""
    from jobs.landing.folders import has_landed

    at = _settings(landing).landing
    has = has_landed(at, ds.date())
    typer.echo(f"{at}/events/ds={ds.date()} {'has' if has else 'has not'} landed")
    if not has:
        raise typer.Exit(NOT_YET_STATUS)


@app.command(epilog="Example: topshelf trending --store lmdb://data/store")
def trending(
    landing: Landing = None,
    store: StoreAt = None,
    now: Annotated[
        str | None, typer.Option(help="Another end of the 24 hours, with its UTC offset.", metavar="TIME")
    ] = None,
) -> None:
    """Lay the popularity of the last 24 hours over the live snapshot. Airflow does so every 5 minutes."""
    from jobs.intraday.trending import refresh

    configuration = _configuration(landing, store=store)
    weights = configuration.parameters.features.event_weight_milli.by_event_type()
    typer.echo(refresh(configuration.settings, weights, _moment(now)))


@app.command("new-items", epilog="Example: topshelf new-items --store lmdb://data/store")
def new_items(landing: Landing = None, lake: LakeAt = None, store: StoreAt = None, today: Today = None) -> None:
    """Bring products that landed since the night into the live snapshot. Airflow does so every 15 minutes."""
    from jobs.intraday.new_items import bring_in

    typer.echo(bring_in(_settings(landing, lake, store), (today or datetime.now(UTC)).date()))


@app.command(epilog="Example: topshelf overlay --store lmdb://data/store")
def overlay(store: StoreAt = None) -> None:
    """Tell what is laid over the live snapshot: trends and new products."""
    from jobs.intraday.overlay import describe_live

    typer.echo(describe_live(_settings(store=store).store))


@app.command(epilog="Example: topshelf maintain --archive s3://bucket/shop")
def maintain(landing: Landing = None, lake: LakeAt = None, archive: ArchiveAt = None, today: Today = None) -> None:
    """Remove what is past its days, carry out erasures, prove the archive. Airflow does so every Sunday."""
    from jobs.upkeep.maintenance import maintain as run

    typer.echo(str(run(_settings(landing, lake, archive=archive), (today or datetime.now(UTC)).date())))


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


@land_app.command("online-retail", epilog="Example: topshelf land online-retail published/online_retail")
def land_online_retail(src: Source, landing: Landing = None) -> None:
    """Land UCI Online Retail: invoice lines as purchases."""
    from jobs.landing.adapters.online_retail import online_retail

    _print_lines(online_retail(src, Path(_settings(landing).landing)).lines())


@land_app.command("retailrocket-buyers", epilog="Example: topshelf land retailrocket-buyers published/buyers")
def land_retailrocket_buyers(src: Source, landing: Landing = None) -> None:
    """Land the buyers' extract of RetailRocket: views, carts and purchases."""
    from jobs.landing.adapters.retailrocket import retailrocket_buyers

    _print_lines(retailrocket_buyers(src, Path(_settings(landing).landing)).lines())


@land_app.command("retailrocket", epilog="Example: topshelf land retailrocket published/retailrocket")
def land_retailrocket(src: Source, landing: Landing = None) -> None:
    """Land RetailRocket's raw files: events, item properties and category tree; parts may be absent."""
    from jobs.landing.adapters.retailrocket import retailrocket

    _print_lines(retailrocket(src, Path(_settings(landing).landing)).lines())


def _print_lines(lines: list[str]) -> None:
    for line in lines:
        typer.echo(line)


@app.command("synthetic-shop", epilog="Example: topshelf synthetic-shop --users 2000 --items 1000 --events 50000")
def synthetic_shop(
    first_day: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"])] = datetime(2026, 1, 1),
    last_day: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"])] = datetime(2026, 2, 14),
    users: Annotated[int, typer.Option(min=1)] = 2000,
    items: Annotated[int, typer.Option(min=1)] = 1000,
    events: Annotated[int, typer.Option(min=1, help="About how many.")] = 50_000,
    seed: int = 7,
    landing: Landing = None,
    truth: Annotated[
        str | None, typer.Option(help="Where the true utilities go; beside landing if not said.")
    ] = None,
) -> None:
    """Make a shop whose shoppers' true tastes are known."""
    from jobs.spark.session import session
    from jobs.synthetic.shop import synthetic_shop as make

    at = Path(_settings(landing).landing)
    beside = Path(truth) if truth else at.parent / "truth"
    days = (first_day.date(), last_day.date())
    typer.echo(str(make(session(), at, beside, users, items, events, *days, seed)))


@app.command(epilog="Example: topshelf evaluate --ds 2011-11-09 --until 2011-11-23")
def evaluate(
    ds: Annotated[
        list[datetime], typer.Option("--ds", formats=["%Y-%m-%d"], help="A UTC day; once a split.", metavar="DAY")
    ],
    until: Annotated[
        datetime | None, typer.Option("--until", formats=["%Y-%m-%d"], help="Last day scored.", metavar="DAY")
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="How many days are scored where --until is not said.")] = 14,
    truth: Annotated[str | None, typer.Option(help="purchase, or any; purchase unless the shop has none.")] = None,
    landing: Landing = None,
    lake: LakeAt = None,
) -> None:
    """Score the published shelves of a day on the days after it; trains nothing."""
    from jobs.evaluation.evaluate import evaluate as run

    last = until.date() if until else None
    configuration = _configuration(landing, lake)
    run(configuration.settings, [day.date() for day in ds], last, days, configuration.parameters, truth=truth)


@app.command("true-value", epilog="Example: topshelf true-value --ds 2026-02-14 --truth data/truth")
def true_value(
    ds: Ds,
    truth: Annotated[Path, typer.Option(help="The truth folder of topshelf synthetic-shop.")],
    lake: LakeAt = None,
) -> None:
    """Tell what a day's shelves are truly worth in a synthetic shop, as shares of the best possible."""
    from jobs.evaluation.true_value import print_command

    print_command(_settings(lake=lake), ds.date(), truth)


@app.command(epilog="Example: topshelf ablation --ds 2026-01-31")
def ablation(
    ds: Ds,
    seeds: Annotated[int, typer.Option(min=1, help="Rankers trained for each line; their means are told.")] = 2,
    lake: LakeAt = None,
) -> None:
    """Tell what each source, head and group of features of a night is worth: all is trained again without it."""
    from jobs.evaluation.ablation import print_command

    configuration = _configuration(lake=lake)
    print_command(configuration.settings.lake, ds.date(), configuration.parameters, seeds)


@app.command(epilog="Example: topshelf report --ds 2026-01-31")
def report(ds: Ds, lake: LakeAt = None, store: StoreAt = None) -> None:
    """Write a night's report as one HTML page, and show it as tables."""
    from jobs.lake.lake import Lake
    from jobs.reporting.report import print_night

    settings = _settings(lake=lake, store=store)
    print_night(Lake(settings.lake), ds.date(), settings.store)


@app.command(
    epilog="Example: topshelf serve --store lmdb://data/store --port 8000",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def serve(context: typer.Context) -> None:
    """Answer GET /recommendations from the live snapshot; `topshelf serve --help` lists its options."""
    os.execv(sys.executable, [sys.executable, "-m", "serving", "serve", *context.args])  # noqa: S606


@app.command(
    epilog="Example: topshelf keys create --scope read --name web",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def keys(context: typer.Context) -> None:
    """Create, list and revoke the endpoint's API keys; `topshelf keys --help` lists the commands."""
    os.execv(sys.executable, [sys.executable, "-m", "serving", "keys", *context.args])  # noqa: S606


@app.command(epilog="Example: topshelf snapshots --store lmdb://data/store")
def snapshots(store: StoreAt = None) -> None:
    """List the versions in the store, and which is live."""
    from jobs.publishing.console import print_snapshots

    print_snapshots(_settings(store=store).store)


@app.command(epilog="Example: topshelf rollback")
def rollback(store: StoreAt = None, archive: ArchiveAt = None) -> None:
    """Make the version before the live one live again."""
    from jobs.publishing.console import rollback as run

    settings = _settings(store=store, archive=archive)
    typer.echo(run(settings.store, settings.archive))


@app.command(epilog="Example: topshelf promote 2026-01-31-1a2b3c4d5e6f")
def promote(version: Version, store: StoreAt = None, archive: ArchiveAt = None) -> None:
    """Make a version live, whatever its day."""
    from jobs.publishing.console import promote as run

    settings = _settings(store=store, archive=archive)
    typer.echo(run(settings.store, version, settings.archive))


@app.command(epilog="Example: topshelf pin 2026-01-31-1a2b3c4d5e6f")
def pin(version: Version, store: StoreAt = None, archive: ArchiveAt = None) -> None:
    """Make a version live and keep it so: nights go on, the pointer stays."""
    from jobs.publishing.console import pin as run

    settings = _settings(store=store, archive=archive)
    typer.echo(run(settings.store, version, settings.archive))


@app.command(epilog="Example: topshelf unpin")
def unpin(store: StoreAt = None, archive: ArchiveAt = None) -> None:
    """Let the next night go live again."""
    from jobs.publishing.console import unpin as run

    settings = _settings(store=store, archive=archive)
    typer.echo(run(settings.store, settings.archive))


@app.command(epilog="Example: topshelf diff 2026-01-30-1a2b3c4d5e6f 2026-01-31-6f5e4d3c2b1a")
def diff(before: Version, after: Version, store: StoreAt = None) -> None:
    """Compare two versions: users changed, overlap, items that came and went, score drift."""
    from jobs.publishing.console import print_diff

    print_diff(_settings(store=store).store, before, after)


@app.command(epilog="Example: topshelf archive --archive s3://bucket/shop")
def archive(
    version: Annotated[str | None, typer.Argument(help="The live one if not said.", metavar="VERSION")] = None,
    *,
    listed: Annotated[bool, typer.Option("--list", help="List what is in the archive instead.")] = False,
    store: StoreAt = None,
    archive: ArchiveAt = None,
) -> None:
    """Put a snapshot into the archive on S3; publishing does so by itself where TOPSHELF_ARCHIVE is set."""
    from jobs.publishing.archive import archive as run
    from jobs.publishing.archive import print_archived

    settings = _settings(store=store, archive=archive)
    if listed:
        print_archived(settings.archive)
    else:
        typer.echo(run(settings.store, settings.archive, version))


@app.command(epilog="Example: topshelf restore 2026-01-31-1a2b3c4d5e6f --store redis://host:6379/0")
def restore(version: Version, store: StoreAt = None, archive: ArchiveAt = None) -> None:
    """Load a snapshot of the archive into a store of any kind; `topshelf promote` makes it live."""
    from jobs.publishing.archive import restore as run

    settings = _settings(store=store, archive=archive)
    typer.echo(run(settings.store, settings.archive, version))


@app.command(epilog="Example: topshelf export shelves.parquet")
def export(
    path: Annotated[Path, typer.Argument(help="A .parquet or .jsonl file.", metavar="FILE")],
    version: Annotated[str | None, typer.Option(help="A version; the live one by default.")] = None,
    first: Annotated[int | None, typer.Option(min=1, help="Only this many first items of each shelf.")] = None,
    store: StoreAt = None,
) -> None:
    """Write a snapshot's shelves, with item ids, to a file for e-mail and push campaigns."""
    from jobs.publishing.console import export as run

    typer.echo(run(_settings(store=store).store, path, version, first))


@app.command(epilog="Example: topshelf show 17850")
def show(
    user: Annotated[str, typer.Argument(help="A user id.", metavar="USER")],
    limit: Annotated[int, typer.Option(min=1, help="How many places to show.")] = 20,
    store: StoreAt = None,
) -> None:
    """Show a shopper's stored shelf as a table."""
    from jobs.publishing.console import print_shelf

    print_shelf(_settings(store=store).store, user, limit)


@app.command(epilog="Example: topshelf config --top-n 50")
def config(
    *,
    toml: Annotated[bool, typer.Option("--toml", help="Print a complete topshelf.toml instead.")] = False,
    landing: Landing = None,
    lake: LakeAt = None,
    store: StoreAt = None,
    archive: ArchiveAt = None,
    top_n: TopN = None,
) -> None:
    """Print the configuration in force: each value, where it came from, and what it means."""
    from jobs.config.console import as_toml, print_table

    configuration = _configuration(landing, lake, store, archive, top_n)
    if toml:
        typer.echo(as_toml(configuration), nl=False)
    else:
        print_table(configuration)


@app.command(epilog="Example: topshelf demo")
def demo(folder: Annotated[Path, typer.Option(help="Where the demo's shop goes.")] = Path("data/demo")) -> None:
    """Make a synthetic shop, run its night, serve it, and show a few shelves."""
    from jobs.demo import demo as run

    run(folder)


def main() -> None:
    """Run the command; our own errors are told in one line, all others with their traceback."""
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
