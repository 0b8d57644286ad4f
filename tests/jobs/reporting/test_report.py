"""The report of a night: it opens offline, shows what there is, and does without what there is not."""

import re
from dataclasses import replace
from datetime import date
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest

from jobs.lake.evaluations import (
    DayRange,
    Holdout,
    ItemSegment,
    MmrCurve,
    MmrPoint,
    Published,
    Reliability,
    ReliabilityBin,
    Segments,
    SourceShare,
    SourceShares,
    UserSegment,
)
from jobs.ranking.ranker_metrics import HeadFacts, RankerMetrics
from jobs.reporting.console import print_facts
from jobs.reporting.facts import ExampleRow, ExampleShelf, NightNdcg, ReportFacts, worst_gap
from jobs.reporting.plots import alone_plot, diversity_plot, nights_plot, reliability_plot, sources_plot, wilson
from jobs.reporting.report import page
from serving.snapshot.manifest import GateResult
from serving.snapshot.manifest import SnapshotManifest as Snapshot

DAY = date(2026, 1, 31)


def scores(value: float) -> dict[str, dict[str, float]]:
    names = ("recall@20", "ndcg@20", "coverage@20", "novelty@20", "gini@20")
    return {kind: dict.fromkeys(names, value) for kind in ("all", "new")}


BIN = ReliabilityBin(examples=900, predicted=0.02, happened=0.03)
HOLDOUT = Holdout(
    window=DayRange(date(2026, 1, 12), date(2026, 1, 25)),
    held_out="the newest window",
    users_of_shadow=0,
    truth="purchase",
    n_users={"all": 700, "new": 650},
    metrics=scores(0.31),
    baselines={"popular": scores(0.12)},
    sources=SourceShares(
        candidates_per_user=380.4,
        recall=0.71,
        by_source={"als": SourceShare(*[0.2] * 6), "bought_before": SourceShare(*[0.5] * 6)},
    ),
    alone={"shelf": scores(0.31), "als": scores(0.2)},
    diversity=MmrCurve(0.0, [MmrPoint(x, ndcg=0.3 - x / 10, recall=0.2, diversity=x) for x in (0.0, 0.2)]),
    heads={
        "purchase": Reliability(
            examples=900,
            positives=27,
            ratio=0.67,
            bins=[BIN],
            calibration_error=0.01,
            log_loss=0.1,
            before=Reliability(
                examples=900,
                positives=27,
                ratio=0.3,
                bins=[msgspec.structs.replace(BIN, predicted=0.01)],
                calibration_error=0.0222,
            ),
        ),
        "spend": Reliability(examples=27, positives=27, ratio=1.04, bins=[]),
    },
)
SEGMENTS = Segments(
    users={"new": UserSegment({"all": 80, "new": 70}, scores(0.2), {"ease": scores(0.15), "als": scores(0.1)})},
    items={"tail": ItemSegment(60, 90, scores(0.1)["all"], {"ease": scores(0.05)["all"]})},
)
PUBLISHED = Published(
    window=DayRange(date(2026, 2, 1), date(2026, 2, 14)),
    truth="purchase",
    k=20,
    n_users={"all": 701, "new": 639},
    n_items=900,
    metrics=scores(0.29),
    intervals={},
    bootstrap_draws=1_000,
    baselines={"popular_30d": scores(0.11)},
    margins={},
    segments=SEGMENTS,
)
NIGHTS = [
    NightNdcg(date(2026, 1, 30), holdout={"all": 0.30, "new": 0.14}, holdout_popular={"all": 0.1, "new": 0.1}),
    NightNdcg(date(2026, 1, 31), published={"all": 0.29, "new": 0.13}, published_best={"all": 0.2, "new": 0.1}),
]
ROW = ExampleRow(1, "Tea <b>pot</b>", "home", "4.50", score=0.12, source="als", reason="bought")
WINDOW_DAYS = [date(2026, 1, 11), date(2025, 12, 28), date(2025, 12, 14)]
PURCHASE = HeadFacts(
    population="candidates",
    label="bought",
    horizon_days=14,
    as_of=WINDOW_DAYS,
    examples=5_000,
    positives=90,
    negative_share=0.15,
    curve=None,
    places=[],
    strongest_features=["als"],
)
FACTS = ReportFacts(
    ds=DAY,
    snapshot=Snapshot(
        version="2026-01-31-abc",
        day=str(DAY),
        run_id="r1",
        model_version="m1",
        users=3_000,
        items=900,
        top_n=100,
        n_shards=8,
        shards=[],
        gates=[GateResult("users", "passed", "3,000 now"), GateResult("overlap", "failed", "1% of the first 10")],
        metrics={"coverage": 0.82},
    ),
    live=False,
    holdout=HOLDOUT,
    published=PUBLISHED,
    ranker=RankerMetrics(
        model_version="m1",
        orders_by="heads",
        value={"purchase": "1 x purchase", "revenue": "0.02 x purchase x spend"},
        heads={"purchase": PURCHASE},
        left_out={"click": "0 positive examples (clicked or viewed)"},
        calibrated_on="2025-11-24 to 2025-12-07",
    ),
    nights=NIGHTS,
    shelves=[ExampleShelf("A regular: ann", [ROW])],
    source_share={"als": 0.6, "popular": 0.4},
)


def test_the_page_needs_nothing_beside_it_and_runs_no_script():
    html = page(FACTS)

    fetched = re.findall(r'(?:src|href)="(?!#)([^"]*)"|url\((?!#)([^)]*)\)|@import|<script|<link', html)
    assert not fetched
    assert html.count("<svg") == html.count("</svg>") == 5


@pytest.mark.parametrize(
    "text",
    [
        *("not live", "✗ failed", "1% of the first 10", "82.0%"),
        *("0.3100", "2026-02-14", "popular_30d", "tail"),
        *("71.0%", "a factor of 1.50", "als 60.0%", "A regular: ann", "4.50"),
        *("1 x purchase + 0.02 x purchase x spend", "0.0222 before", "left out: 0 positive examples", "5,000"),
    ],
)
def test_the_page_shows_gates_evaluation_segments_heads_and_shelves(text):
    assert text in page(FACTS)


def test_the_page_names_the_days_of_the_held_out_labels_and_of_the_training_windows():
    html = " ".join(page(FACTS).split())
    ranker = msgspec.structs.replace(FACTS.ranker, heads={"purchase": msgspec.structs.replace(PURCHASE, as_of=[DAY])})

    assert "of what shoppers chose from 2026-01-12 to 2026-01-25" in html
    assert "Trained on 3 windows, as of 2026-01-11 (newest) back to 2025-12-14." in html
    assert "Trained on one window, as of 2026-01-31." in " ".join(page(replace(FACTS, ranker=ranker)).split())


def test_a_segment_stands_beside_its_best_baseline():
    rows = [re.sub(r"\s|<[^>]*>", " ", row).split()[:6] for row in page(FACTS).split("<tr>")]

    assert ["new", "80", "0.2000", "0.1500", "0.2000", "0.1500"] in rows
    assert ["tail", "90", "0.1000", "0.0500", "0.1000", "0.0500"] in rows


def test_what_the_shop_wrote_is_text_and_never_markup():
    html = page(FACTS)

    assert "Tea &lt;b&gt;pot&lt;/b&gt;" in html
    assert "<b>pot" not in html


def test_a_night_without_any_evaluation_has_a_page_without_plots():
    html = page(ReportFacts(DAY))

    assert "Night of 2026-01-31" in html
    assert "No snapshot of this night is in the store" in html
    assert "<svg" not in html


@pytest.mark.parametrize("part", ["snapshot", "holdout", "published", "nights", "shelves", "source_share", "ranker"])
def test_any_part_may_be_missing(part, capsys):
    without = replace(FACTS, **{part: getattr(ReportFacts(DAY), part)})

    page(without)
    print_facts(without)


def test_an_evaluation_without_segments_is_shown_without_them():
    assert "By segment" not in page(replace(FACTS, published=msgspec.structs.replace(PUBLISHED, segments=Segments())))


def test_the_terminal_shows_the_same_as_tables(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    print_facts(FACTS)

    printed = capsys.readouterr().out
    assert printed.index("2026-01-31-abc is not live") < printed.index("NDCG@20 over nights")
    for text in (
        "1% of the first 10",
        "bought_before",
        "380 candidates a user hold 71.0%",
        "x1.50",
        "x3.00",
        "click, left out: 0 positive examples",
        "A regular: ann",
    ):
        assert text in printed, text


@pytest.mark.parametrize(
    "draw",
    [
        lambda: nights_plot(NIGHTS),
        lambda: nights_plot(NIGHTS[:1]),
        lambda: sources_plot(HOLDOUT.sources.by_source),
        lambda: alone_plot(HOLDOUT.alone),
        lambda: reliability_plot(HOLDOUT.heads),
        lambda: diversity_plot(HOLDOUT.diversity.curve, 0.2),
    ],
    ids=["nights", "one night", "sources", "alone", "reliability", "diversity"],
)
def test_a_plot_is_well_formed_the_same_each_time_and_in_the_page_s_ink(draw):
    svg = draw()

    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert svg == draw()
    assert "currentColor" in svg
    assert "#010203" not in svg


def test_the_worst_gap_is_the_largest_factor_either_way_over_bins_with_enough_events():
    def head(*bins):
        return Reliability(examples=0, positives=0, ratio=1.0, bins=[ReliabilityBin(*row) for row in bins])

    assert worst_gap(head((1_000, 0.02, 0.03), (1_000, 0.2, 0.1))) == pytest.approx(2)
    assert worst_gap(head((1_000, 0.02, 0.06), (1_000, 0.2, 0.1))) == pytest.approx(3)
    assert worst_gap(head((100, 0.02, 0.19), (1_000, 0.2, 0.1))) == pytest.approx(2)  # 19 events are too few
    assert worst_gap(head((1_000, 0.0, 0.1))) == worst_gap(head()) == 1


def test_the_interval_of_a_share_is_wilson_s():
    low, high = wilson(np.array([0.5, 0.0]), np.array([10, 10]))

    np.testing.assert_allclose(low, [0.2366, 0.0], atol=1e-4)
    np.testing.assert_allclose(high, [0.7634, 0.2775], atol=1e-4)
