"""Print a night's report in the terminal: gates, metrics over nights, sources, heads, example shelves."""

from rich.console import Console
from rich.table import Table

from jobs.numeric.list_metrics import K
from jobs.reporting.facts import METRIC, ReportFacts, worst_gap

LAST_NIGHTS = 10


def print_facts(facts: ReportFacts) -> None:
    """Print the tables of a night's report that have any rows."""
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
        evaluations = (night.holdout, night.holdout_popular, night.published, night.published_best)
        cells = (f"{ndcg['all']:.4f} {ndcg['new']:.4f}" if ndcg else "" for ndcg in evaluations)
        table.add_row(str(night.ds), *cells)
    return table


def _sources(facts: ReportFacts) -> Table:
    shares_of_chosen = ("of what was chosen", "only it", f"highest, of first {K}", "of hits there")
    columns = ("source", "of candidates", "only it", *shares_of_chosen)
    if facts.holdout is None:
        return _table("", *columns)
    sources = facts.holdout.sources
    totals = f"{sources.candidates_per_user:.0f} candidates a user hold {sources.recall:.1%}"
    table = _table(f"What each source brought, {totals}", *columns)
    for name, source in sorted(sources.by_source.items(), key=lambda entry: -entry[1].recall):
        shares = (source.share, source.only, source.recall, source.unique_recall)
        table.add_row(name, *(f"{share:.1%}" for share in (*shares, source.shelf_share, source.shelf_hits)))
    return table


def _alone(facts: ReportFacts) -> Table:
    alone = facts.holdout.alone if facts.holdout else {}
    table = _table("Shelves by one score alone", "ordered by", f"all NDCG@{K}", f"new NDCG@{K}")
    for name, metrics in sorted(alone.items(), key=lambda entry: -entry[1]["all"][METRIC]):
        cells = [f"{metrics[kind][METRIC]:.4f}" for kind in ("all", "new")]
        table.add_row(name, *cells, style="bold" if name == "shelf" else None)
    return table


def _heads(facts: ReportFacts) -> Table:
    columns = ("examples", "happened", "predicted / happened", "worst bin", "before calibration")
    formula = " + ".join(facts.ranker.value.values()) if facts.ranker else ""
    table = _table("Heads on the held-out window" + (f"; value: {formula}" if formula else ""), "head", *columns)
    for name, head in facts.holdout.heads.items() if facts.holdout else ():
        gaps = [f"x{worst_gap(each):.2f}" if each and each.bins else "" for each in (head, head.before)]
        table.add_row(name, f"{head.examples:,}", f"{head.positives:,}", f"{head.ratio:.2f}", *gaps)
    for name, reason in facts.ranker.left_out.items() if facts.ranker else ():
        table.add_row(f"{name}, left out: {reason}")
    return table


def _shelves(facts: ReportFacts) -> list[Table]:
    tables = []
    for shelf in facts.shelves:
        table = _table(shelf.heading, "#", "product", "source", "reason", "price", "value", left=4)
        for row in shelf.rows:
            table.add_row(str(row.rank), row.title, row.source, row.reason, row.price, f"{row.score:.4f}")
        tables.append(table)
    return tables
