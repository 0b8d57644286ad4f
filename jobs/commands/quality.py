"""Commands that measure how good shelves are."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.commands.options import Ds, LakeAt, Landing, StoreAt, configuration_of, on_this_host, places_of

if TYPE_CHECKING:
    pass

app = typer.Typer(rich_markup_mode=None)


@app.command(epilog="Example: topshelf evaluate --ds 2011-11-09 --until 2011-11-23")
def evaluate(
    ds: Annotated[
        list[datetime],
        typer.Option("--ds", formats=["%Y-%m-%d"], help="A UTC day. May be repeated.", metavar="DAY"),
    ],
    until: Annotated[
        datetime | None,
        typer.Option(
            "--until",
            formats=["%Y-%m-%d"],
            help="Last day to score on, for one --ds.",
            metavar="DAY",
        ),
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="Days to score on, without --until.")] = 14,
    truth: Annotated[
        str | None, typer.Option(help="Events that count: purchase (default if there are any), or any.")
    ] = None,
    landing: Landing = None,
    lake: LakeAt = None,
) -> None:
    """Score a day's shelves on the events of the following days. Trains nothing."""
    from jobs.evaluation.evaluate import evaluate as run

    last = until.date() if until else None
    configuration = configuration_of(landing, lake)
    run(configuration.settings, [day.date() for day in ds], last, days, configuration.parameters, truth=truth)


@app.command(epilog="Example: topshelf ablation --ds 2026-01-31")
def ablation(
    ds: Ds,
    seeds: Annotated[int, typer.Option(min=1, help="Rankers trained for each line; the table shows means.")] = 2,
    lake: LakeAt = None,
) -> None:
    """Measure what each source, head and feature group is worth: train the ranker again without it."""
    from jobs.evaluation.ablation import run_ablation
    from jobs.lake.lake import Lake

    configuration = configuration_of(lake=lake)
    run_ablation(Lake(configuration.settings.lake), ds.date(), configuration.parameters, seeds)


@app.command("true-value", epilog="Example: topshelf true-value --ds 2026-02-14 --truth data/truth")
def true_value(
    ds: Ds,
    truth: Annotated[
        Path,
        typer.Option(callback=on_this_host, help="The folder of true utilities that topshelf synthetic-shop made."),
    ],
    lake: LakeAt = None,
) -> None:
    """Measure the true value of a day's shelves in a synthetic shop, as a share of the best possible."""
    from jobs.evaluation.true_value import run_true_value
    from jobs.lake.lake import Lake

    run_true_value(Lake(places_of(lake=lake).lake), ds.date(), truth)


@app.command(epilog="Example: topshelf ope --policy 2026-01-31-81d87c735912 --ds 2026-02-07")
def ope(
    policy: Annotated[str, typer.Option(help="A version in the store.", metavar="VERSION")],
    ds: Ds,
    days: Annotated[int, typer.Option(min=1, help="So many days of answers, up to that day.")] = 7,
    lake: LakeAt = None,
    store: StoreAt = None,
) -> None:
    """Estimate what a snapshot's shelves would have earned on logged answers: better, worse or cannot tell."""
    from jobs.evaluation.console import print_off_policy
    from jobs.evaluation.off_policy import estimate_version
    from jobs.lake.lake import Lake

    settings = places_of(lake=lake, store=store)
    print_off_policy(estimate_version(Lake(settings.lake), settings.store, policy, ds.date(), days))
