"""The `topshelf` command.

    topshelf nightly --ds 2026-01-31 --landing shop/landing

Every command says what it does with an example under `--help`; an error says what, where and the remedy.
"""

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Topshelf: recommendations thought out at night, looked up by day.",
    epilog="Example: topshelf nightly --ds 2026-01-31 --landing shop/landing",
)
ingest_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Turn published data into a landing folder. Repeating changes nothing.",
    epilog="Example: topshelf ingest online-retail published/ --landing shop/landing",
)
app.add_typer(ingest_app, name="ingest")

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
Source = Annotated[Path, typer.Argument(help="The files as published, .csv or .csv.gz.", metavar="SRC")]


def _settings(
    landing: str | None = None, lake: str | None = None, store: str | None = None, archive: str | None = None
) -> Any:
    from jobs.settings import Settings

    return Settings.from_environment(landing, lake, store, archive)


@app.command(epilog="Example: topshelf nightly --ds 2026-01-31 --landing shop/landing --top-n 100")
def nightly(
    ds: Ds,
    landing: Landing = None,
    lake: LakeAt = None,
    store: StoreAt = None,
    top_n: Annotated[int | None, typer.Option("--top-n", min=1, max=2000, help="Length of a shelf (100).")] = None,
) -> None:
    """Run one day's night: landing to a published snapshot."""
    from rich.console import Console

    from jobs.nightly import nightly as run
    from jobs.settings import parameters_from_environment

    night = run(_settings(landing, lake, store), parameters_from_environment(top_n), ds.date())
    total = sum(timing.wall_s for timing in night.timings)
    peak = max(timing.peak_mib for timing in night.timings)
    state = "live" if night.live else "not live"
    Console().print(
        f"{night.version} is {state}: {night.reason}. {total:.0f} s, peak {peak:,.0f} MiB.", highlight=False
    )


@ingest_app.command("online-retail", epilog="Example: topshelf ingest online-retail published/online_retail")
def ingest_online_retail(src: Source, landing: Landing = None) -> None:
    """Land UCI Online Retail: invoice lines as purchases."""
    from jobs.landing_online_retail import online_retail

    _print_lines(online_retail(src, Path(_settings(landing).landing)).lines())


@ingest_app.command("retailrocket-buyers", epilog="Example: topshelf ingest retailrocket-buyers published/buyers")
def ingest_retailrocket_buyers(src: Source, landing: Landing = None) -> None:
    """Land the buyers' extract of RetailRocket: views, carts and purchases."""
    from jobs.landing_retailrocket import retailrocket_buyers

    _print_lines(retailrocket_buyers(src, Path(_settings(landing).landing)).lines())


@ingest_app.command("retailrocket", epilog="Example: topshelf ingest retailrocket published/retailrocket")
def ingest_retailrocket(src: Source, landing: Landing = None) -> None:
    """Land RetailRocket's raw files: events, item properties and category tree; parts may be absent."""
    from jobs.landing_retailrocket import retailrocket

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
    from jobs.spark import session
    from jobs.synthetic_shop import synthetic_shop as make

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
    from jobs.evaluate import evaluate as run
    from jobs.settings import parameters_from_environment

    last = until.date() if until else None
    chosen = parameters_from_environment()
    run(_settings(landing, lake), [day.date() for day in ds], last, days, chosen, truth=truth)


@app.command("true-value", epilog="Example: topshelf true-value --ds 2026-02-14 --truth data/truth")
def true_value(
    ds: Ds,
    truth: Annotated[Path, typer.Option(help="The truth folder of topshelf synthetic-shop.")],
    lake: LakeAt = None,
) -> None:
    """Tell what a day's shelves are truly worth in a synthetic shop, as shares of the best possible."""
    from jobs.true_value import print_command

    print_command(_settings(lake=lake), ds.date(), truth)


@app.command(epilog="Example: topshelf ablation --ds 2026-01-31")
def ablation(
    ds: Ds,
    seeds: Annotated[int, typer.Option(min=1, help="Rankers trained for each line; their means are told.")] = 2,
    lake: LakeAt = None,
) -> None:
    """Tell what each source, head and group of features of a night is worth: all is trained again without it."""
    from jobs.ablation import print_command
    from jobs.settings import parameters_from_environment

    print_command(_settings(lake=lake).lake, ds.date(), parameters_from_environment(), seeds)


@app.command(epilog="Example: topshelf report --ds 2026-01-31")
def report(ds: Ds, lake: LakeAt = None, store: StoreAt = None) -> None:
    """Write a night's report as one HTML page, and show it as tables."""
    from jobs.lake import Lake
    from jobs.report import print_night

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
    from jobs.snapshots import print_snapshots

    print_snapshots(_settings(store=store).store)


@app.command(epilog="Example: topshelf rollback")
def rollback(store: StoreAt = None, archive: ArchiveAt = None) -> None:
    """Make the version before the live one live again."""
    from jobs.snapshots import rollback as run

    settings = _settings(store=store, archive=archive)
    typer.echo(run(settings.store, settings.archive))


@app.command(epilog="Example: topshelf promote 2026-01-31-1a2b3c4d5e6f")
def promote(version: Version, store: StoreAt = None, archive: ArchiveAt = None) -> None:
    """Make a version live, whatever its day."""
    from jobs.snapshots import promote as run

    settings = _settings(store=store, archive=archive)
    typer.echo(run(settings.store, version, settings.archive))


@app.command(epilog="Example: topshelf pin 2026-01-31-1a2b3c4d5e6f")
def pin(version: Version, store: StoreAt = None, archive: ArchiveAt = None) -> None:
    """Make a version live and keep it so: nights go on, the pointer stays."""
    from jobs.snapshots import pin as run

    settings = _settings(store=store, archive=archive)
    typer.echo(run(settings.store, version, settings.archive))


@app.command(epilog="Example: topshelf unpin")
def unpin(store: StoreAt = None, archive: ArchiveAt = None) -> None:
    """Let the next night go live again."""
    from jobs.snapshots import unpin as run

    settings = _settings(store=store, archive=archive)
    typer.echo(run(settings.store, settings.archive))


@app.command(epilog="Example: topshelf diff 2026-01-30-1a2b3c4d5e6f 2026-01-31-6f5e4d3c2b1a")
def diff(before: Version, after: Version, store: StoreAt = None) -> None:
    """Compare two versions: users changed, overlap, items that came and went, score drift."""
    from jobs.snapshots import print_diff

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
    from jobs.archive import archive as run
    from jobs.archive import print_archived

    settings = _settings(store=store, archive=archive)
    if listed:
        print_archived(settings.archive)
    else:
        typer.echo(run(settings.store, settings.archive, version))


@app.command(epilog="Example: topshelf restore 2026-01-31-1a2b3c4d5e6f --store redis://host:6379/0")
def restore(version: Version, store: StoreAt = None, archive: ArchiveAt = None) -> None:
    """Load a snapshot of the archive into a store of any kind; `topshelf promote` makes it live."""
    from jobs.archive import restore as run

    settings = _settings(store=store, archive=archive)
    typer.echo(run(settings.store, settings.archive, version))


@app.command(epilog="Example: topshelf export shelves.parquet")
def export(
    path: Annotated[Path, typer.Argument(help="A .parquet or .jsonl file.", metavar="FILE")],
    version: Annotated[str | None, typer.Option(help="A version; the live one if not said.")] = None,
    store: StoreAt = None,
) -> None:
    """Write a snapshot's shelves, item ids and not positions, for e-mail and push campaigns."""
    from jobs.snapshots import export as run

    typer.echo(run(_settings(store=store).store, path, version))


@app.command(epilog="Example: topshelf show 17850")
def show(
    user: Annotated[str, typer.Argument(help="A user id.", metavar="USER")],
    limit: Annotated[int, typer.Option(min=1, help="How many places to show.")] = 20,
    store: StoreAt = None,
) -> None:
    """Show a shopper's stored shelf as a table."""
    from jobs.snapshots import print_shelf

    print_shelf(_settings(store=store).store, user, limit)


@app.command(epilog="Example: topshelf demo")
def demo(folder: Annotated[Path, typer.Option(help="Where the demo's shop goes.")] = Path("data/demo")) -> None:
    """Make a synthetic shop, run its night, serve it, and show a few shelves."""
    from jobs.demo import demo as run

    run(folder)


def main() -> None:
    """Run the command; our own errors are told in one line, all others with their traceback."""
    try:
        app()
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("jobs", "serving"):
            raise
        typer.echo(f"topshelf: {error}", err=True)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
