"""Commands of experiments: what is declared and runs, who is in which arm, what came of it, and its end."""

from datetime import UTC, date, datetime
from typing import Annotated

import typer

from jobs.commands.options import Ds, LakeAt, configuration_of

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Experiments: plan, watch and end them.")
Name = Annotated[str, typer.Argument(help="An experiment of the file.", metavar="NAME")]
On = Annotated[
    datetime | None,
    typer.Option("--on", formats=["%Y-%m-%d"], help="A UTC day of answers, today unless given.", metavar="DAY"),
]


@app.command("list", epilog="Example: topshelf experiments list --on 2026-02-01")
def list_all(on: On = None, lake: LakeAt = None) -> None:
    """List the declared experiments, and the shares of their arms on a day."""
    from jobs.experiments.console import print_experiments
    from jobs.lake.lake import Lake

    configuration = configuration_of(lake=lake)
    print_experiments(Lake(configuration.settings.lake), configuration.parameters.experiments, _day(on))


@app.command(epilog="Example: topshelf experiments plan varied-head --ds 2026-01-31")
def plan(
    name: Name,
    ds: Ds,
    lake: LakeAt = None,
) -> None:
    """Say how many shoppers and days an experiment needs, by the shop's last weeks up to a day."""
    from jobs.experiments.console import print_plan
    from jobs.lake.lake import Lake

    configuration = configuration_of(lake=lake)
    print_plan(Lake(configuration.settings.lake), configuration.parameters.experiments, name, ds.date())


@app.command(epilog="Example: topshelf experiments arms-of user-17 --on 2026-02-01")
def arms_of(
    user_id: Annotated[str, typer.Argument(help="The shop's own id of a shopper.", metavar="USER")],
    on: On = None,
    lake: LakeAt = None,
) -> None:
    """Print the arms that a shopper has on a day."""
    from jobs.experiments.console import print_arms_of
    from jobs.lake.lake import Lake

    configuration = configuration_of(lake=lake)
    print_arms_of(Lake(configuration.settings.lake), configuration.parameters.experiments, user_id, _day(on))


@app.command(epilog="Example: topshelf experiments show varied-head")
def show(
    name: Name,
    ds: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="As of the newest night up to this UTC day.", metavar="DAY"),
    ] = None,
    lake: LakeAt = None,
) -> None:
    """Print what came of an experiment so far, or how it ended."""
    from jobs.experiments.console import print_outcome
    from jobs.lake.lake import Lake

    print_outcome(Lake(configuration_of(lake=lake).settings.lake), name, _day(ds))


@app.command(epilog="Example: topshelf experiments end varied-head --ds 2026-02-14")
def end(
    name: Name,
    ds: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Its last UTC day, whose night has judged it.", metavar="DAY"),
    ] = None,
    because: Annotated[str, typer.Option(help="A reason to keep with it.", metavar="TEXT")] = "",
    lake: LakeAt = None,
    *,
    undo: Annotated[bool, typer.Option("--undo", help="Take an end back instead.")] = False,
) -> None:
    """End an experiment before its last day, and keep the decision with its data."""
    from jobs.experiments.console import end_and_print, undo_and_print
    from jobs.lake.lake import Lake

    configuration = configuration_of(lake=lake)
    at = Lake(configuration.settings.lake)
    if undo:
        undo_and_print(at, name)
        return
    if ds is None:
        raise typer.BadParameter("say which day is its last, as --ds 2026-02-14", param_hint="--ds")
    end_and_print(at, configuration.parameters.experiments, name, ds.date(), because)


def _day(on: datetime | None) -> date:
    return (on or datetime.now(UTC)).date()
