"""Print evaluations as tables: the shelf beside the baselines, by segment, and over several splits of time."""

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
from rich.table import Table

from jobs.config.terminal import Terminal
from jobs.lake.evaluations import KINDS, Metrics, OffPolicy, Published, Segments
from jobs.numeric.list_metrics import K

HEADLINE = [(kind, metric) for kind in KINDS for metric in (f"recall@{K}", f"ndcg@{K}")]
HEADINGS = (f"all R@{K}", f"all NDCG@{K}", f"new R@{K}", f"new NDCG@{K}")
SPREAD = (("novelty, bits", f"novelty@{K}"), ("coverage", f"coverage@{K}"), ("Gini", f"gini@{K}"))


def print_published(record: Published) -> None:
    """Print one evaluation: the shelf and the baselines, then both by segment."""
    window = record.window
    table = _table(f"{window.first} to {window.until}, truth: {record.truth}", "list", *HEADINGS)
    for heading, _ in SPREAD:
        table.add_column(heading, justify="right")
    for name, metrics in {"shelf": record.metrics, **record.baselines}.items():
        cells = [f"{metrics[kind][metric]:.4f}" for kind, metric in HEADLINE]
        cells += [f"{metrics['all'][metric]:.3g}" for _, metric in SPREAD]
        table.add_row(name, *cells, style="bold" if name == "shelf" else None, end_section=name == "shelf")
    console = Terminal()
    console.print(table)
    n_users = record.n_users
    console.print(
        f"{n_users['all']:,} users, {n_users['new']:,} of them with something new; 95% intervals of the shelf: ",
        end="",
    )
    bounds = [record.intervals[kind].get(metric, [0.0, 0.0]) for kind, metric in HEADLINE]
    console.print(", ".join(f"{low:.4f} to {high:.4f}" for low, high in bounds))
    if record.n_users_without_shelf:
        console.print(f"{record.n_users_without_shelf:,} users had no shelf and count as without a hit")
    for name, reason in record.skipped.items():
        console.print(f"{name} was skipped: {reason}")
    console.print(segments_table(record.segments))


def segments_table(segments: Segments) -> Table:
    """Return recall and NDCG of the shelf by segment, each beside the best baseline of the segment."""
    columns = ("users", f"R@{K}", "best baseline", f"NDCG@{K}", "best baseline", "places")
    table = _table("By segment", "segment", *columns)
    for name, users in segments.users.items():
        others = {which: metrics["all"] for which, metrics in users.baselines.items()}
        table.add_row(f"{name} users", *_segment_cells(users.n_users["all"], users.metrics["all"], others))
    table.add_section()
    for name, items in segments.items.items():
        table.add_row(f"{name} items", *_segment_cells(items.n_users, items.metrics, items.baselines))
    return table


def _segment_cells(n_users: int, shelf: Metrics, baselines: Mapping[str, Metrics]) -> list[str]:
    cells = [f"{n_users:,}"]
    for metric in (f"recall@{K}", f"ndcg@{K}"):
        best = max(baselines, key=lambda which: baselines[which][metric], default="")
        cells += [f"{shelf[metric]:.4f}", f"{baselines[best][metric]:.4f} {best}" if best else ""]
    share = shelf.get(f"share_of_places@{K}")
    return [*cells, "" if share is None else f"{share:.0%}"]


def print_off_policy(found: OffPolicy) -> None:
    """Print what shelves would have earned on logged answers."""
    print(
        f"{found.policy} on {found.answers:,} answers to {found.users:,} shoppers, {found.window.first} to "
        f"{found.window.until}, their first {found.places} ranked places"
    )
    print(
        f"earned {found.clicks_an_answer:.4f} clicks an answer; would have earned {found.would_be:.4f} "
        f"({found.low:+.4f} to {found.high:+.4f})"
    )
    print(f"effective sample {found.effective_sample:,.0f}, mean weight {found.mean_weight:.3f}")
    print(found.line())


def print_splits(records: Mapping[date, Published]) -> None:
    """Print one line a split: the shelf, and its margin over the best baseline of each column; then the means."""
    table = _table("Splits of time", "shelves of", "users", *(cell for name in HEADINGS for cell in (name, "margin")))
    rows = []
    for ds, record in records.items():
        row = []
        for kind, metric in HEADLINE:
            value = record.metrics[kind][metric]
            row += [value, value - max(baseline[kind][metric] for baseline in record.baselines.values())]
        rows.append(row)
        table.add_row(str(ds), f"{record.n_users['all']:,}", *_with_signs(row), end_section=ds == list(records)[-1])
    table.add_row("mean", "", *_with_signs(list(np.mean(rows, axis=0))), style="bold")
    Terminal().print(table)
    Terminal().print("margin: over the best baseline of that column and split")


def _with_signs(row: Sequence[float]) -> list[str]:
    """Return value and margin in turns, with a sign on each margin."""
    return [f"{value:+.4f}" if place % 2 else f"{value:.4f}" for place, value in enumerate(row)]


def _table(title: str, first: str, *rest: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first, no_wrap=True)
    for heading in rest:
        table.add_column(heading, justify="right")
    return table
