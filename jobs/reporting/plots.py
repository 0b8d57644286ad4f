"""Draw the plots of a night's report as SVG text that stands inside a page: its ink follows the page's own colour.

>>> reliability_plot({"purchase": {"bins": [...]}}).startswith("<svg")
"""

import io
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, PercentFormatter

from jobs.numeric.list_metrics import K

INK, MUTED = "#010203", "#7f7f7f"
"""INK is no colour that a plot has otherwise: in the SVG it becomes `currentColor`, on light and dark pages alike."""
BLUE, ORANGE, GREEN = "#3b78c3", "#d9822b", "#2f9e6e"
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "topshelf",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.grid": True,
    "grid.color": MUTED,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": False,
}
ROW_INCHES = 0.34
MOST_TICKS = 8
NAMES = {"all": "every item", "new": "items new to the shopper"}


def _svg(figure: Figure) -> str:
    """Return the figure as SVG text without a prolog, the same for the same plot."""
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    return text.replace("'DejaVu Sans'", "system-ui, 'DejaVu Sans'")


def _figure(width: float, height: float, columns: int = 1, **more: Any) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False, **more)[0]


def nights_plot(nights: Sequence[Mapping[str, Any]]) -> str:
    """Return NDCG over nights: the holdout's shelf and popularity, and what later days said of the published shelf.

    A night has `ds`, and where they are known `holdout` and `published` as `jobs.reporting.facts` gives them.
    """
    with mpl.rc_context(STYLE):
        figure, axes = _figure(9.4, 2.9, 2)
        days = [date.fromisoformat(night["ds"]).toordinal() for night in nights]
        for place, kind in zip(axes, ("all", "new"), strict=True):
            for name, of, color, line in (
                ("shelf, holdout", "holdout", BLUE, "-"),
                ("popular, holdout", "holdout_popular", MUTED, "--"),
                ("shelf, days after", "published", GREEN, "-"),
                ("best baseline, days after", "published_best", ORANGE, "--"),
            ):
                known = [(day, night[of][kind]) for day, night in zip(days, nights, strict=True) if night.get(of)]
                if known:
                    place.plot(*zip(*known, strict=True), line, color=color, marker="o", markersize=3.5, label=name)
            place.set_title(f"NDCG@{K}, {NAMES[kind]}")
            place.set_ylim(0, place.get_ylim()[1] * 1.05)
            place.set_xlim(days[0] - 1, days[-1] + 1)
            shown = days[:: -(-len(days) // MOST_TICKS)]
            place.set_xticks(shown, [f"{date.fromordinal(day):%d %b}" for day in shown])
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        return _svg(figure)


def sources_plot(by_source: Mapping[str, Mapping[str, float]]) -> str:
    """Return how much of what shoppers chose each source brought, how much no other did, and its shelf share."""
    ordered = sorted(by_source, key=lambda name: (by_source[name]["recall"], name))
    with mpl.rc_context(STYLE):
        figure, axes = _figure(9.4, 1.1 + ROW_INCHES * len(ordered), 2, sharey=True)
        at = np.arange(len(ordered))
        found, places = axes
        found.barh(at, [by_source[name]["recall"] for name in ordered], color=BLUE, alpha=0.45, label="brought")
        found.barh(
            at, [by_source[name]["unique_recall"] for name in ordered], color=BLUE, height=0.45, label="only it"
        )
        found.set_title("Share of what shoppers chose")
        places.barh(
            at + 0.2, [by_source[name]["shelf_share"] for name in ordered], color=GREEN, height=0.38, label="places"
        )
        places.barh(
            at - 0.2, [by_source[name]["shelf_hits"] for name in ordered], color=ORANGE, height=0.38, label="hits"
        )
        places.set_title(f"Share of the first {K} places, and of their hits")
        for place in axes:
            place.set_yticks(at, ordered)
            place.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            place.grid(axis="y", visible=False)
            place.legend(loc="lower right")
        return _svg(figure)


def alone_plot(alone: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Return NDCG of shelves ordered by one score each, beside the whole ranker's."""
    metric = f"ndcg@{K}"
    ordered = sorted(alone, key=lambda name: (alone[name]["all"][metric], name))
    with mpl.rc_context(STYLE):
        figure, axes = _figure(9.4, 0.9 + ROW_INCHES * 0.8 * len(ordered), 2, sharey=True)
        for place, kind in zip(axes, ("all", "new"), strict=True):
            values = [alone[name][kind][metric] for name in ordered]
            colors = [GREEN if name == "shelf" else BLUE for name in ordered]
            bars = place.barh(ordered, values, color=colors, height=0.7)
            place.bar_label(bars, fmt="%.3f", padding=3)
            place.set_title(f"NDCG@{K}, {NAMES[kind]}")
            place.set_xlim(right=max([*values, 1e-9]) * 1.15)
            place.grid(axis="y", visible=False)
        return _svg(figure)


def reliability_plot(heads: Mapping[str, Mapping[str, Any]]) -> str:
    """Return predicted against actual shares of each head on log scales, with 95% of chance around each bin.

    Where a head tells what it was `before` it was calibrated, that is drawn behind it, hollow.
    """
    drawn = {name: of for name, of in heads.items() if of["bins"]}
    with mpl.rc_context(STYLE):
        figure, axes = _figure(3.3 * max(len(drawn), 1), 3.2, max(len(drawn), 1))
        for place, (name, of) in zip(axes, drawn.items(), strict=False):
            n, said, was = (
                np.array([row[key] for row in of["bins"]]) for key in ("examples", "predicted", "happened")
            )
            low, high = wilson(was, n)
            shown = was > 0
            ends = [float(min(said.min(), was[shown].min(initial=1))) / 1.5, float(max(said.max(), high.max())) * 1.2]
            place.plot(ends, ends, "--", color=MUTED, linewidth=1)
            for row in of.get("before", {}).get("bins", []):
                place.plot(row["predicted"], row["happened"], "o", color=MUTED, markersize=6, fillstyle="none")
            errors = np.maximum(np.stack([was - low, high - was]), 0)[:, shown]
            place.errorbar(said[shown], was[shown], errors, fmt="o", color=BLUE, markersize=4, linewidth=1)
            place.set(xscale="log", yscale="log", xlim=ends, ylim=ends, xlabel="predicted", ylabel="happened")
            place.set_title(name)
            for axis in (place.xaxis, place.yaxis):
                axis.set_minor_formatter(NullFormatter())
        return _svg(figure)


def wilson(share: Any, n: Any, z: float = 1.96) -> tuple[Any, Any]:
    """Return the 95% interval of shares of `n` draws (Wilson, JASA 22, 1927)."""
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return centre - half, centre + half


def diversity_plot(curve: Sequence[Mapping[str, float]], chosen: float | None = None) -> str:
    """Return accuracy against diversity over MMR's lambda; a point has `mmr_lambda`, `ndcg` and `diversity`."""
    with mpl.rc_context(STYLE):
        figure, (place,) = _figure(5.2, 3.2)
        ordered = sorted(curve, key=lambda point: point["mmr_lambda"])
        x, y = ([point[key] for point in ordered] for key in ("diversity", "ndcg"))
        place.plot(x, y, "-o", color=BLUE, markersize=4)
        for point in ordered:
            bold = chosen is not None and abs(point["mmr_lambda"] - chosen) < 1e-9
            place.annotate(
                f"{point['mmr_lambda']:g}",
                (point["diversity"], point["ndcg"]),
                xytext=(4, 5),
                textcoords="offset points",
                weight="bold" if bold else "normal",
            )
        place.set(xlabel=f"diversity of the first {K} (mean distance)", ylabel=f"NDCG@{K}")
        place.set_title("Accuracy against diversity, by lambda")
        return _svg(figure)
