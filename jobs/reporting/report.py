"""Build a night's report, `runs/ds=<day>/report.html` in the lake: one page with plots that opens without a network.

    topshelf report --ds 2026-01-31 --lake data/lake --store lmdb://data/store

It computes nothing again. It shows what the night, and evaluations of it and of earlier nights, have written. The
command prints the same as tables.
"""

from datetime import date

import jinja2

from jobs.lake.lake import Lake
from jobs.numeric.list_metrics import K
from jobs.reporting.console import print_facts
from jobs.reporting.facts import ReportFacts, report_facts, trained_on, worst_gap
from jobs.reporting.plots import alone_plot, diversity_plot, nights_plot, reliability_plot, sources_plot

TEMPLATE = "report.html.jinja"


def report_path(ds: date) -> str:
    """Return where the report of a night stands in the lake."""
    return f"runs/ds={ds}/report.html"


def page(facts: ReportFacts) -> str:
    """Return the report as HTML that needs no other file."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jobs.reporting", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["percent"] = lambda share: f"{share:.1%}"
    heads = facts.holdout.heads if facts.holdout else {}
    return environment.get_template(TEMPLATE).render(
        facts=facts,
        holdout=facts.holdout,
        published=facts.published,
        trained_on=trained_on(facts.ranker) if facts.ranker else "",
        plots=_plots(facts),
        k=K,
        gaps={name: worst_gap(head) for name, head in heads.items()},
    )


def _plots(facts: ReportFacts) -> dict[str, str]:
    """Return SVG text by the plot's name; a plot without anything to show is left out."""
    plots: dict[str, str] = {}
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


def build(lake: Lake, ds: date, store_url: str) -> tuple[str, ReportFacts]:
    """Write the report of one night; return its path in the lake, and what it shows.

    Raises:
        MissingPartitionError: that day has no shelves.
    """
    facts = report_facts(lake, ds, store_url)
    lake.put_text(report_path(ds), page(facts))
    return report_path(ds), facts


def print_night(lake: Lake, ds: date, store_url: str) -> None:
    """Build the report, print it as tables, and say where it is."""
    path, facts = build(lake, ds, store_url)
    print_facts(facts)
    print(f"{lake.root}/{path}")
