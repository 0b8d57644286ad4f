"""Print evaluations as tables: the shelf beside the baselines, by segment, and over several splits of time."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from jobs.numeric.list_metrics import K

HEADLINE = [(kind, metric) for kind in ("all", "new") for metric in (f"recall@{K}", f"ndcg@{K}")]
HEADINGS = (f"all R@{K}", f"all NDCG@{K}", f"new R@{K}", f"new NDCG@{K}")
SPREAD = (("novelty, bits", f"novelty@{K}"), ("coverage", f"coverage@{K}"), ("Gini", f"gini@{K}"))


def print_report(said: dict[str, Any]) -> None:
    """Print one evaluation: the shelf and the baselines, then both by segment."""
    window, n_users = said["window"], said["n_users"]
    table = _table(f"{window['from']} to {window['until']}, truth: {said['truth']}", "list", *HEADINGS)
    for heading, _ in SPREAD:
        table.add_column(heading, justify="right")
    for name, metrics in {"shelf": said["metrics"], **said["baselines"]}.items():
        cells = [f"{metrics[kind][metric]:.4f}" for kind, metric in HEADLINE]
        cells += [f"{metrics['all'][metric]:.3g}" for _, metric in SPREAD]
        table.add_row(name, *cells, style="bold" if name == "shelf" else None, end_section=name == "shelf")
    console = Console()
    console.print(table)
    console.print(
        f"{n_users['all']:,} users, {n_users['new']:,} of them with something new; 95% of the shelf: ", end=""
    )
    bounds = [said["intervals"][kind].get(metric, [0.0, 0.0]) for kind, metric in HEADLINE]
    console.print(", ".join(f"{low:.4f} to {high:.4f}" for low, high in bounds), highlight=False)
    if said.get("n_users_without_shelf"):
        console.print(f"{said['n_users_without_shelf']:,} users had no shelf and count with nothing found")
    for name, reason in said.get("skipped", {}).items():
        console.print(f"{name} was skipped: {reason}")
    console.print(segments_table(said["segments"]))


def segments_table(segments: Mapping[str, Any]) -> Table:
    """Return recall and NDCG of the shelf by segment, each beside the best baseline of the segment."""
    columns = ("users", f"R@{K}", "best baseline", f"NDCG@{K}", "best baseline", "places")
    table = _table("By segment", "segment", *columns)
    for dimension, told in segments.items():
        for place, (name, of) in enumerate(told.items(), start=1):
            n_users = of["n_users"]["all"] if dimension == "users" else of["n_users"]
            shelf, others = (of["metrics"], of["baselines"])
            if dimension == "users":
                shelf, others = shelf["all"], {which: metrics["all"] for which, metrics in others.items()}
            cells = [f"{n_users:,}"]
            for metric in (f"recall@{K}", f"ndcg@{K}"):
                best = max(others, key=lambda which: others[which][metric], default="")
                cells += [f"{shelf[metric]:.4f}", f"{others[best][metric]:.4f} {best}" if best else ""]
            share = shelf.get(f"share_of_places@{K}")
            cells.append("" if share is None else f"{share:.0%}")
            table.add_row(f"{name} {dimension}", *cells, end_section=place == len(told))
    return table


def print_splits(said: Mapping[date, dict[str, Any]]) -> None:
    """Print one line a split: the shelf, and its margin over the best baseline of each column; then the means."""
    table = _table("Splits of time", "shelves of", "users", *(cell for name in HEADINGS for cell in (name, "margin")))
    rows = []
    for ds, of in said.items():
        row = []
        for kind, metric in HEADLINE:
            value = of["metrics"][kind][metric]
            row += [value, value - max(baseline[kind][metric] for baseline in of["baselines"].values())]
        rows.append(row)
        table.add_row(str(ds), f"{of['n_users']['all']:,}", *_signed(row), end_section=ds == list(said)[-1])
    table.add_row("mean", "", *_signed(list(np.mean(rows, axis=0))), style="bold")
    Console().print(table)
    Console().print("margin: over the best baseline of that column and split")


def _signed(row: list[float]) -> list[str]:
    return [f"{value:+.4f}" if place % 2 else f"{value:.4f}" for place, value in enumerate(row)]


def _table(title: str, first: str, *rest: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first, no_wrap=True)
    for heading in rest:
        table.add_column(heading, justify="right")
    return table
