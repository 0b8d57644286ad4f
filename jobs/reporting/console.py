"""Print a night's report in the terminal: what landed, gates, metrics over nights, sources, heads, shelves."""

from rich.table import Table

from jobs.config.terminal import Terminal
from jobs.numeric.list_metrics import K
from jobs.reporting.facts import ReportFacts, worst_gap
from jobs.reporting.headline import METRIC, headline
from jobs.reporting.products import money

LAST_NIGHTS = 10


def print_facts(facts: ReportFacts) -> None:
    """Print the tables of a night's report that have any rows."""
    console = Terminal()
    console.print(f"night of {facts.ds}")
    for reason in facts.standing.why:
        console.print(f"not live: {reason}")
    if facts.lacks:
        console.print(facts.lacks)
    tables = (
        *_brought(facts),
        _experiments(facts),
        _gates(facts),
        _rows(facts),
        _landed(facts),
        _checks(facts),
        _headline(facts),
        _nights(facts),
        _sources(facts),
        _alone(facts),
        _heads(facts),
        *_shelves(facts),
        _stages(facts),
    )
    for table in tables:
        if table.row_count:
            console.print(table)


def _table(title: str, *columns: str, left: int = 1) -> Table:
    """Return a table whose first `left` columns are text, and the others numbers."""
    table = Table(title=title, title_justify="left")
    for place, name in enumerate(columns):
        table.add_column(name, justify="left" if place < left else "right", overflow="fold")
    return table


def _brought(facts: ReportFacts) -> list[Table]:
    columns = ("shown", "clicks", "orders", "revenue")
    sums = _table("What shelves brought", "days", *columns, "of the shop's")
    for row in facts.sums:
        share = "" if row.revenue_share is None else f"{row.revenue_share:.1%}"
        counts = (f"{count:,}" for count in (row.exposures, row.clicks, row.orders))
        sums.add_row(row.days, *counts, money(row.revenue_minor, facts.currency), share)
    most = _table("Most shown products", "product", *columns)
    for item in facts.outcomes.most_shown if facts.outcomes else []:
        title = facts.shown[item.item_id].title if item.item_id in facts.shown else item.item_id
        counts = (f"{count:,}" for count in (item.exposures, item.clicks, item.orders))
        most.add_row(title, *counts, money(item.revenue_minor, facts.currency))
    return [sums, most]


def _experiments(facts: ReportFacts) -> Table:
    table = _table("Experiments", "experiment", "arm", "verdict", "why", left=4)
    for name, outcome in facts.experiments.items():
        for verdict in outcome.verdicts:
            table.add_row(name, verdict.arm, verdict.word, "; ".join(verdict.reasons))
    return table


def _rows(facts: ReportFacts) -> Table:
    columns = ("rows landed", "the day before", "change", "in quarantine", "the day before")
    table = _table("Rows of the day", "table", *columns)
    for row in facts.rows:
        landed = [f"{counts.landed:,}" if counts else "not read" for counts in (row.today, row.before)]
        aside = [f"{counts.set_aside_count:,}" if counts else "" for counts in (row.today, row.before)]
        table.add_row(row.table, *landed, row.change, *aside)
    return table


def _checks(facts: ReportFacts) -> Table:
    table = _table("", "checks", "", left=2)
    for outcome in ("failures", "warnings") if facts.checks else ():
        for result in getattr(facts.checks, outcome):
            table.add_row("failed" if outcome == "failures" else "warning", str(result))
    return table


def _headline(facts: ReportFacts) -> Table:
    table = _table(f"NDCG@{K}, all items, 95% intervals", "measured on", "shelf", "best simple list", "margin")
    for name, evaluation in (("held out", facts.holdout), ("days after", facts.published)):
        found = headline(evaluation) if evaluation else None
        if found:
            low_high = f" ({found.interval[0]:.4f} to {found.interval[1]:.4f})" if found.interval else ""
            margin = "{:+.4f} ({:+.4f} to {:+.4f}): ".format(*found.margin) if found.margin else ""
            table.add_row(
                f"{name}: {found.n_users:,} shoppers",
                f"{found.shelf:.4f}{low_high}",
                f"{found.rival_ndcg:.4f} {found.rival}",
                f"{margin}{found.verdict}",
            )
    return table


def _stages(facts: ReportFacts) -> Table:
    table = _table("Stage times", "stage", "seconds", "the night before", "processor, s", "peak MiB")
    for stage in facts.stages:
        before = "" if stage.before_s is None else f"{stage.before_s:,.1f}"
        used = (f"{stage.run.processor_s:,.1f}", f"{stage.run.peak_mib:,.0f}")
        table.add_row(stage.run.stage, f"{stage.run.wall_s:,.1f}", before, *used)
    return table


def _landed(facts: ReportFacts) -> Table:
    table = _table("", f"what landed: {facts.landed.span}")
    for line in facts.landed.lines:
        table.add_row(line)
    return table


def _gates(facts: ReportFacts) -> Table:
    snapshot = facts.standing.snapshot
    state = "" if snapshot is None else f"{snapshot.version} is {'live' if facts.standing.live else 'not live'}"
    table = _table(state, "gate", "outcome", "reason", left=3)
    for gate in snapshot.gates if snapshot else []:
        table.add_row(gate.name, gate.outcome, gate.reason, style="bold red" if gate.outcome == "failed" else None)
    return table


def _nights(facts: ReportFacts) -> Table:
    columns = ("shelf, held out", "best baseline", "shelf, days after", "best baseline")
    table = _table(f"NDCG@{K} over nights: all and new items", "night", *columns)
    for night in facts.nights[-LAST_NIGHTS:]:
        evaluations = (night.holdout, night.holdout_best, night.published, night.published_best)
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
