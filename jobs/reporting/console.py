"""Print a night's report in the terminal: gates, metrics over nights, sources, heads, example shelves."""

from rich.console import Console
from rich.table import Table

from jobs.numeric.list_metrics import K
from jobs.reporting.facts import ReportFacts, worst_gap

LAST_NIGHTS = 10


def print_facts(facts: ReportFacts) -> None:
    """Print the tables of a night's report, those that have anything to tell."""
    console = Console(highlight=False)
    tables = (_gates(facts), _nights(facts), _sources(facts), _alone(facts), _heads(facts), *_shelves(facts))
    for table in tables:
        if table.row_count:
            console.print(table)


def _table(title: str, *columns: str, left: int = 1) -> Table:
    """Return a table whose first `left` columns are text, and the others numbers."""
    table = Table(title=title, title_justify="left")
    for place, name in enumerate(columns):
        table.add_column(name, justify="left" if place < left else "right", overflow="fold")
    return table


def _gates(facts: ReportFacts) -> Table:
    snapshot = facts.snapshot
    state = "" if snapshot is None else f"{snapshot.version} is {'live' if facts.live else 'not live'}"
    table = _table(state, "gate", "outcome", "reason", left=3)
    for gate in snapshot.gates if snapshot else []:
        table.add_row(gate.name, gate.outcome, gate.reason, style="bold red" if gate.outcome == "failed" else None)
    return table


def _nights(facts: ReportFacts) -> Table:
    columns = ("shelf, held out", "popular", "shelf, days after", "best baseline")
    table = _table(f"NDCG@{K} over nights: all and new items", "night", *columns)
    for night in facts.nights[-LAST_NIGHTS:]:
        told = [night.get(name) for name in ("holdout", "holdout_popular", "published", "published_best")]
        table.add_row(night["ds"], *(f"{of['all']:.4f} {of['new']:.4f}" if of else "" for of in told))
    return table


def _sources(facts: ReportFacts) -> Table:
    sources = facts.holdout.get("sources", {})
    told = f", {sources['candidates_per_user']:.0f} candidates a user hold {sources['recall']:.1%}" if sources else ""
    names = ("share", "only", "recall", "unique_recall", "shelf_share", "shelf_hits")
    chosen = ("of what was chosen", "only it", f"highest, of first {K}", "of hits there")
    columns = ("of candidates", "only it", *chosen)
    table = _table(f"What each source brought{told}", "source", *columns)
    by_source = sources.get("by_source", {})
    for name in sorted(by_source, key=lambda name: -by_source[name]["recall"]):
        table.add_row(name, *(f"{by_source[name][column]:.1%}" for column in names))
    return table


def _alone(facts: ReportFacts) -> Table:
    alone = facts.holdout.get("alone", {})
    table = _table("Shelves by one score alone", "ordered by", f"all NDCG@{K}", f"new NDCG@{K}")
    for name in sorted(alone, key=lambda name: -alone[name]["all"][f"ndcg@{K}"]):
        cells = [f"{alone[name][kind][f'ndcg@{K}']:.4f}" for kind in ("all", "new")]
        table.add_row(name, *cells, style="bold" if name == "shelf" else None)
    return table


def _heads(facts: ReportFacts) -> Table:
    columns = ("examples", "happened", "predicted / happened", "worst bin", "before calibration")
    value = " + ".join(facts.ranker.get("value", {}).values())
    table = _table("Heads on the held-out window" + (f"; value: {value}" if value else ""), "head", *columns)
    for name, head in facts.holdout.get("heads", {}).items():
        counts = (f"{head['examples']:,}", f"{head['positives']:,}")
        gaps = [f"x{worst_gap(of):.2f}" if of and of["bins"] else "" for of in (head, head.get("before"))]
        table.add_row(name, *counts, f"{head['ratio']:.2f}", *gaps)
    for name, reason in facts.ranker.get("left_out", {}).items():
        table.add_row(f"{name}, left out: {reason}")
    return table


def _shelves(facts: ReportFacts) -> list[Table]:
    found = []
    for shelf in facts.shelves:
        table = _table(shelf.heading, "#", "product", "source", "reason", "price", "value", left=4)
        for row in shelf.rows:
            cells = (str(row["rank"]), row["title"], row["source"], row["reason"], row["price"])
            table.add_row(*cells, f"{row['score']:.4f}")
        found.append(table)
    return found
