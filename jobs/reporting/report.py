"""Build a night's report, `runs/ds=<day>/report.html` in the lake: one page with plots that opens without a network.

    topshelf report --ds 2026-01-31 --lake data/lake --store lmdb://data/store

`runs/nights.html` links all of them. It computes nothing again. It shows what the night, and evaluations of it and of
earlier nights, have written. The command prints the same as tables.
"""

import tempfile
import webbrowser
from collections.abc import Sequence
from datetime import date
from itertools import islice
from pathlib import Path

import jinja2

from jobs.checks.report import page_path
from jobs.lake.lake import Lake
from jobs.numeric.list_metrics import DRAWS, K
from jobs.reporting.console import print_facts
from jobs.reporting.facts import (
    NIGHTS,
    ReportFacts,
    days_reported,
    night_page_path,
    report_facts,
    trained_on,
    worst_gap,
)
from jobs.reporting.headline import headline
from jobs.reporting.plots import (
    alone_plot,
    diversity_plot,
    experiment_plot,
    nights_plot,
    reliability_plot,
    sources_plot,
)
from jobs.reporting.products import money

TEMPLATE = "report.html.jinja"
NIGHTS_PATH = "runs/nights.html"
"""The list of nights, in the lake."""


def page(facts: ReportFacts) -> str:
    """Return the report as HTML that needs no other file; pictures of products are the shop's, where it has any."""
    environment = _environment()
    environment.filters["percent"] = lambda share: f"{share:.1%}"
    environment.globals["number"] = lambda count: f"{count:,}"
    environment.globals["amount"] = lambda minor: money(minor, facts.currency)
    heads = facts.holdout.heads if facts.holdout else {}
    return environment.get_template(TEMPLATE).render(
        facts=facts,
        holdout=facts.holdout,
        headline=headline(facts.holdout) if facts.holdout else None,
        published=facts.published,
        published_headline=headline(facts.published) if facts.published else None,
        draws=DRAWS,
        checks=facts.checks,
        checks_page=page_path(facts.ds, facts.checks.run) if facts.checks else "",
        trained_on=trained_on(facts.ranker) if facts.ranker else "",
        plots=_plots(facts),
        k=K,
        gaps={name: worst_gap(head) for name, head in heads.items()},
    )


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("jobs.reporting", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def _plots(facts: ReportFacts) -> dict[str, str | dict[str, str]]:
    """Return SVG text by the plot's name, of experiments by theirs; a plot without anything to show is left out."""
    judged = {name: outcome for name, outcome in facts.experiments.items() if any(outcome.looks.values())}
    plots: dict[str, str | dict[str, str]] = {
        "experiments": {name: experiment_plot(outcome) for name, outcome in judged.items()}
    }
    if any(night.holdout or night.published for night in facts.nights):
        plots["nights"] = nights_plot(facts.nights)
    holdout = facts.holdout
    if holdout is None:
        return plots
    plots["sources"] = sources_plot(holdout.sources.by_source)
    plots["alone"] = alone_plot(holdout.alone)
    if any(head.bins for head in holdout.heads.values()):
        plots["reliability"] = reliability_plot(holdout.heads)
    if holdout.diversity.curve:
        plots["diversity"] = diversity_plot(holdout.diversity.curve, holdout.diversity.mmr_lambda)
    return plots


def build(lake: Lake, ds: date, store_url: str, currency: str = "") -> tuple[str, ReportFacts]:
    """Write the report of one night, and the list of nights; return its path in the lake, and what it shows.

    Raises:
        MissingPartitionError: that day has no shelves.
    """
    facts = report_facts(lake, ds, store_url, currency)
    lake.put_text(night_page_path(ds), page(facts))
    lake.put_text(NIGHTS_PATH, nights_page(list(islice(days_reported(lake), NIGHTS))))
    return night_page_path(ds), facts


def nights_page(days: Sequence[date]) -> str:
    """Return a page that links the reports of nights, in their order: an address that stays the same."""
    return _environment().get_template("nights.html.jinja").render(days=days)


def print_night(lake: Lake, ds: date, store_url: str, *, currency: str, copy: Path | None, show: bool) -> None:
    """Build the report, print it as tables, and say where it is.

    `copy` is where a copy of the page goes on this machine. With `show`, the page is opened in the browser;
    of a lake elsewhere, a copy of it.
    """
    path, facts = build(lake, ds, store_url, currency)
    if copy is not None:
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(page(facts))
    print_facts(facts)
    if show:
        webbrowser.open(_on_this_machine(lake, path, facts, copy).resolve().as_uri())
    print(f"{lake.root}/{path}")


def _on_this_machine(lake: Lake, path: str, facts: ReportFacts, copy: Path | None) -> Path:
    if copy is not None:
        return copy
    if "://" not in lake.root:
        return Path(lake.root, path)
    folder = Path(tempfile.mkdtemp(prefix="topshelf-report-"))
    (folder / "report.html").write_text(page(facts))
    return folder / "report.html"
