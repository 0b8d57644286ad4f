"""Build a night's report, `runs/ds=<day>/report.html` in the lake: one page with plots that opens without a network.

    topshelf report --ds 2026-01-31 --lake data/lake --store lmdb://data/store

Nothing is computed again: it shows what the night, and evaluations of it and of nights before, have written down. The
same stands as tables in the terminal.
"""

from datetime import date

import jinja2

from jobs.lake.lake import Lake
from jobs.numeric.list_metrics import K
from jobs.reporting.console import print_facts
from jobs.reporting.facts import ReportFacts, report_facts, worst_gap
from jobs.reporting.plots import alone_plot, diversity_plot, nights_plot, reliability_plot, sources_plot

TEMPLATE = "report.html.jinja"


def report_path(ds: date) -> str:
    """Return where the report of a night stands in the lake."""
    return f"runs/ds={ds}/report.html"


def page(facts: ReportFacts) -> str:
    """Return the report as HTML that needs nothing beside it."""
    loader = jinja2.PackageLoader("jobs", "")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["percent"] = lambda share: f"{share:.1%}"
    return environment.get_template(TEMPLATE).render(
        facts=facts,
        held=facts.holdout,
        said=facts.published,
        plots=_plots(facts),
        k=K,
        gaps={name: worst_gap(head) for name, head in facts.holdout.get("heads", {}).items()},
    )


def _plots(facts: ReportFacts) -> dict[str, str]:
    held = facts.holdout
    found: dict[str, str] = {}
    if any(set(night) > {"ds"} for night in facts.nights):
        found["nights"] = nights_plot(facts.nights)
    if held.get("sources"):
        found["sources"] = sources_plot(held["sources"]["by_source"])
    if held.get("alone"):
        found["alone"] = alone_plot(held["alone"])
    if any(head["bins"] for head in held.get("heads", {}).values()):
        found["reliability"] = reliability_plot(held["heads"])
    if facts.diversity.get("curve"):
        found["diversity"] = diversity_plot(facts.diversity["curve"], facts.diversity.get("mmr_lambda"))
    return found


def build(lake: Lake, ds: date, store_url: str) -> tuple[str, ReportFacts]:
    """Write the report of one night; return where in the lake, and what it tells.

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
