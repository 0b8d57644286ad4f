"""Draw the plots of a night's report as SVG text to be put inside a page; lines and letters take the page's colour.

>>> reliability_plot(holdout.heads).startswith("<svg")
"""

import io
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, PercentFormatter

from jobs.experiments.outcome import ExperimentOutcome
from jobs.lake.evaluations import KINDS, KindMetrics, MmrPoint, Reliability, SourceShare
from jobs.numeric.arrays import Values
from jobs.numeric.list_metrics import K
from jobs.reporting.facts import NightNdcg
from jobs.reporting.headline import METRIC

INK, MUTED = "#010203", "#7f7f7f"
"""No plot uses INK for anything else, so the SVG can have `currentColor` in its place, for light and dark pages."""
BLUE, ORANGE, GREEN = "#3b78c3", "#d9822b", "#2f9e6e"
STYLE: Any = {  # matplotlib types the keys as one literal of all its settings
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


def _figure(width: float, height: float, columns: int = 1, *, share_y: bool = False) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure of these inches and its plots, side by side."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False, sharey=share_y)[0]


def nights_plot(nights: Sequence[NightNdcg]) -> str:
    """Return NDCG over nights: of the shelf and the best simple list, held out and on the days after."""
    lines = {
        "shelf, held out": ([night.holdout for night in nights], BLUE, "-"),
        "best baseline, held out": ([night.holdout_best for night in nights], MUTED, "--"),
        "shelf, days after": ([night.published for night in nights], GREEN, "-"),
        "best baseline, days after": ([night.published_best for night in nights], ORANGE, "--"),
    }
    days = [night.ds.toordinal() for night in nights]
    with mpl.rc_context(STYLE):
        figure, axes = _figure(9.4, 2.9, 2)
        for plot, kind in zip(axes, KINDS, strict=True):
            for name, (by_night, color, style) in lines.items():
                points = [(day, ndcg[kind]) for day, ndcg in zip(days, by_night, strict=True) if ndcg]
                if points:
                    plot.plot(*zip(*points, strict=True), style, color=color, marker="o", markersize=3.5, label=name)
            plot.set_title(f"NDCG@{K}, {NAMES[kind]}")
            plot.set_ylim(0, plot.get_ylim()[1] * 1.05)
            plot.set_xlim(days[0] - 1, days[-1] + 1)
            ticks = days[:: -(-len(days) // MOST_TICKS)]
            plot.set_xticks(ticks, [f"{date.fromordinal(day):%d %b}" for day in ticks])
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        return _svg(figure)


def sources_plot(by_source: Mapping[str, SourceShare]) -> str:
    """Return how much of what shoppers chose each source brought, how much no other did, and its shelf share."""
    names = sorted(by_source, key=lambda name: (by_source[name].recall, name))
    sources = [by_source[name] for name in names]
    rows = np.arange(len(names))
    with mpl.rc_context(STYLE):
        figure, axes = _figure(9.4, 1.1 + ROW_INCHES * len(names), 2, share_y=True)
        recall, places = axes
        recall.barh(rows, [source.recall for source in sources], color=BLUE, alpha=0.45, label="brought")
        recall.barh(rows, [source.unique_recall for source in sources], color=BLUE, height=0.45, label="only it")
        recall.set_title("Share of what shoppers chose")
        places.barh(rows + 0.2, [source.shelf_share for source in sources], color=GREEN, height=0.38, label="places")
        places.barh(rows - 0.2, [source.shelf_hits for source in sources], color=ORANGE, height=0.38, label="hits")
        places.set_title(f"Share of the first {K} places, and of their hits")
        for plot in axes:
            plot.set_yticks(rows, names)
            plot.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            plot.grid(axis="y", visible=False)
            plot.legend(loc="lower right")
        return _svg(figure)


def alone_plot(alone: Mapping[str, KindMetrics]) -> str:
    """Return NDCG of shelves ordered by one score each, beside the whole ranker's."""
    names = sorted(alone, key=lambda name: (alone[name]["all"][METRIC], name))
    with mpl.rc_context(STYLE):
        figure, axes = _figure(9.4, 0.9 + ROW_INCHES * 0.8 * len(names), 2, share_y=True)
        for plot, kind in zip(axes, KINDS, strict=True):
            values = [alone[name][kind][METRIC] for name in names]
            colors = [GREEN if name == "shelf" else BLUE for name in names]
            bars = plot.barh(names, values, color=colors, height=0.7)
            plot.bar_label(bars, fmt="%.3f", padding=3)
            plot.set_title(f"NDCG@{K}, {NAMES[kind]}")
            plot.set_xlim(right=max([*values, 1e-9]) * 1.15)
            plot.grid(axis="y", visible=False)
        return _svg(figure)


def reliability_plot(heads: Mapping[str, Reliability]) -> str:
    """Return predicted against actual shares of each head on log scales, with a 95% interval around each bin.

    Hollow points behind them are the head `before` its calibration. Heads without bins are left out.
    """
    drawn = {name: head for name, head in heads.items() if head.bins}
    with mpl.rc_context(STYLE):
        figure, axes = _figure(3.3 * max(len(drawn), 1), 3.2, max(len(drawn), 1))
        for plot, (name, head) in zip(axes, drawn.items(), strict=False):
            _draw_reliability(plot, head)
            plot.set_title(name)
        return _svg(figure)


def _draw_reliability(plot: Axes, head: Reliability) -> None:
    examples = np.array([row.examples for row in head.bins])
    predicted, happened = (np.array([getattr(row, name) for row in head.bins]) for name in ("predicted", "happened"))
    low, high = wilson(happened, examples)
    shown = happened > 0  # a log scale has no place for the others
    least, most = min(predicted.min(), happened[shown].min(initial=1)), max(predicted.max(), high.max())
    ends = (float(least) / 1.5, float(most) * 1.2)
    plot.plot(ends, ends, "--", color=MUTED, linewidth=1)
    for row in head.before.bins if head.before else []:
        plot.plot(row.predicted, row.happened, "o", color=MUTED, markersize=6, fillstyle="none")
    errors = np.maximum(np.stack([happened - low, high - happened]), 0)[:, shown]
    plot.errorbar(predicted[shown], happened[shown], errors, fmt="o", color=BLUE, markersize=4, linewidth=1)
    plot.set(xscale="log", yscale="log", xlim=ends, ylim=ends, xlabel="predicted", ylabel="happened")
    for axis in (plot.xaxis, plot.yaxis):
        axis.set_minor_formatter(NullFormatter())


def experiment_plot(outcome: ExperimentOutcome) -> str:
    """Return how the primary metric of each arm went against control, with its interval, day after day."""
    arms = {arm: looks for arm, looks in outcome.looks.items() if looks}
    with mpl.rc_context(STYLE):
        figure, axes = _figure(4.7 * max(len(arms), 1), 2.7, max(len(arms), 1), share_y=True)
        for plot, (arm, looks) in zip(axes, arms.items(), strict=False):
            days = np.array([look.day.toordinal() for look in looks])
            plot.axhline(0, color=MUTED, linewidth=1)
            sure = [look for look in looks if look.low is not None and look.high is not None]
            plot.fill_between(
                [look.day.toordinal() for look in sure],
                [look.low or 0.0 for look in sure],
                [look.high or 0.0 for look in sure],
                color=BLUE,
                alpha=0.2,
                linewidth=0,
            )
            plot.plot(days, [look.value for look in looks], "-o", color=BLUE, markersize=3.5)
            plot.set_title(f"{arm}: {outcome.primary} against {outcome.control}")
            most = max((abs(look.value) for look in looks), default=0.0)
            reach = max([most * 2, *(abs(end) for look in sure[-1:] for end in (look.low, look.high) if end), 1e-3])
            plot.set_ylim(-1.6 * reach, 1.6 * reach)  # early intervals go far beyond
            first, last = outcome.since.toordinal(), outcome.last_day.toordinal()
            plot.set_xlim(first - 0.5, last + 0.5)
            ticks = sorted({round(first + (last - first) * part / 4) for part in range(5)})
            plot.set_xticks(ticks, [f"{date.fromordinal(day):%d %b}" for day in ticks])
            plot.yaxis.set_major_formatter(PercentFormatter(1.0))
        return _svg(figure)


def wilson(share: Values, n: npt.NDArray[np.int64], z: float = 1.96) -> tuple[Values, Values]:
    """Return low and high of the 95% interval of shares of `n` draws (Wilson, JASA 22, 1927)."""
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return centre - half, centre + half


def diversity_plot(curve: Sequence[MmrPoint], chosen: float) -> str:
    """Return accuracy against diversity over MMR's lambda; the `chosen` lambda is bold."""
    points = sorted(curve, key=lambda point: point.mmr_lambda)
    with mpl.rc_context(STYLE):
        figure, (plot,) = _figure(5.2, 3.2)
        plot.plot(
            [point.diversity for point in points], [point.ndcg for point in points], "-o", color=BLUE, markersize=4
        )
        for point in points:
            plot.annotate(
                f"{point.mmr_lambda:g}",
                (point.diversity, point.ndcg),
                xytext=(4, 5),
                textcoords="offset points",
                weight="bold" if abs(point.mmr_lambda - chosen) < 1e-9 else "normal",
            )
        plot.set(xlabel=f"diversity of the first {K} (mean distance)", ylabel=f"NDCG@{K}")
        plot.set_title("Accuracy against diversity, by lambda")
        return _svg(figure)
