"""The report of a night: it opens offline, shows what there is, and does without what there is not."""

import re
from dataclasses import replace
from datetime import date
from xml.etree import ElementTree

import pytest

from jobs.reporting.console import print_facts
from jobs.reporting.facts import ExampleShelf, ReportFacts
from jobs.reporting.plots import alone_plot, diversity_plot, nights_plot, reliability_plot, sources_plot
from jobs.reporting.report import page
from serving.snapshot.manifest import GateResult
from serving.snapshot.manifest import SnapshotManifest as Snapshot

DAY = date(2026, 1, 31)


def scores(value: float) -> dict[str, dict[str, float]]:
    names = ("recall@20", "ndcg@20", "coverage@20", "novelty@20", "gini@20")
    return {kind: dict.fromkeys(names, value) for kind in ("all", "new")}


BIN = {"examples": 900, "predicted": 0.02, "happened": 0.03}
HOLDOUT = {
    "window": {"from": "2026-01-12", "until": "2026-01-25"},
    "n_users": {"all": 700, "new": 650},
    "metrics": scores(0.31),
    "baselines": {"popular": scores(0.12)},
    "sources": {
        "candidates_per_user": 380.4,
        "recall": 0.71,
        "by_source": {
            name: dict.fromkeys(("share", "only", "recall", "unique_recall", "shelf_share", "shelf_hits"), share)
            for name, share in (("als", 0.2), ("bought_before", 0.5))
        },
    },
    "alone": {"shelf": scores(0.31), "als": scores(0.2)},
    "heads": {
        "purchase": {
            "examples": 900,
            "positives": 27,
            "ratio": 0.67,
            "calibration_error": 0.01,
            "bins": [BIN],
            "before": {"calibration_error": 0.0222, "bins": [BIN | {"predicted": 0.01}]},
        },
        "spend": {"examples": 27, "positives": 27, "ratio": 1.04, "bins": []},
    },
}
PUBLISHED = {
    "window": {"from": "2026-02-01", "until": "2026-02-14"},
    "truth": "purchase",
    "n_users": {"all": 701, "new": 639},
    "metrics": scores(0.29),
    "baselines": {"popular_30d": scores(0.11)},
    "segments": {
        "users": {"new": {"n_users": {"all": 80}, "metrics": scores(0.2), "baselines": {"ease": scores(0.15)}}},
        "items": {"tail": {"n_users": 90, "metrics": scores(0.1)["all"], "baselines": {"ease": scores(0.05)["all"]}}},
    },
}
NIGHTS = [
    {"ds": "2026-01-30", "holdout": {"all": 0.30, "new": 0.14}, "holdout_popular": {"all": 0.1, "new": 0.1}},
    {"ds": "2026-01-31", "published": {"all": 0.29, "new": 0.13}, "published_best": {"all": 0.2, "new": 0.1}},
]
ROW = {"rank": 1, "title": "Tea <b>pot</b>", "category": "home", "price": "4.50", "score": 0.12}
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
    ranker={
        "orders_by": "heads",
        "value": {"purchase": "1 x purchase", "revenue": "0.02 x purchase x spend"},
        "heads": {"purchase": {"label": "bought", "population": "candidates", "examples": 5_000, "positives": 90}},
        "left_out": {"click": "0 positive examples (clicked or viewed), 50 teach"},
        "calibrated_on": "2025-11-24 to 2025-12-07",
    },
    diversity={
        "curve": [{"mmr_lambda": x, "ndcg": 0.3 - x / 10, "diversity": x} for x in (0.0, 0.2)],
        "mmr_lambda": 0,
    },
    nights=NIGHTS,
    shelves=[ExampleShelf("A regular: ann", [ROW | {"source": "als", "reason": "bought"}])],
    source_share={"als": 0.6, "popular": 0.4},
)


def test_the_page_needs_nothing_beside_it_and_runs_no_script():
    html = page(FACTS)

    fetched = re.findall(r'(?:src|href)="(?!#)([^"]*)"|url\((?!#)([^)]*)\)|@import|<script|<link', html)
    assert not fetched
    assert html.count("<svg") == html.count("</svg>") == 5


def test_the_page_tells_gates_evaluation_segments_heads_and_shelves():
    html = page(FACTS)

    for told in (
        "not live",
        "✗ failed",
        "1% of the first 10",
        "82.0%",
        "0.3100",
        "2026-02-14",
        "popular_30d",
        "tail",
    ):
        assert told in html, told
    for told in ("71.0%", "a factor of 1.50", "als 60.0%", "A regular: ann", "4.50"):
        assert told in html, told
    for told in ("1 x purchase + 0.02 x purchase x spend", "0.0222 before", "left out: 0 positive examples", "5,000"):
        assert told in html, told


def test_what_the_shop_wrote_is_text_and_never_markup():
    html = page(FACTS)

    assert "Tea &lt;b&gt;pot&lt;/b&gt;" in html
    assert "<b>pot" not in html


def test_a_night_of_which_little_is_known_still_has_its_page():
    html = page(ReportFacts(DAY))

    assert "Night of 2026-01-31" in html
    assert "No snapshot of this night is in the store" in html
    assert "<svg" not in html


@pytest.mark.parametrize(
    "part", ["snapshot", "holdout", "published", "diversity", "nights", "shelves", "source_share", "ranker"]
)
def test_any_part_may_be_missing(part, capsys):
    without = replace(FACTS, **{part: getattr(ReportFacts(DAY), part)})

    page(without)
    print_facts(without)


def test_an_evaluation_of_before_there_were_segments_is_shown_without_them():
    older = {name: value for name, value in PUBLISHED.items() if name != "segments"}

    assert "By segment" not in page(replace(FACTS, published=older))


def test_the_terminal_shows_the_same_as_tables(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    print_facts(FACTS)

    printed = capsys.readouterr().out
    assert printed.index("2026-01-31-abc is not live") < printed.index("NDCG@20 over nights")
    for told in (
        "1% of the first 10",
        "bought_before",
        "380 candidates a user hold 71.0%",
        "x1.50",
        "x3.00",
        "click, left out: 0 positive examples",
        "A regular: ann",
    ):
        assert told in printed, told


@pytest.mark.parametrize(
    "draw",
    [
        lambda: nights_plot(NIGHTS),
        lambda: nights_plot(NIGHTS[:1]),
        lambda: sources_plot(HOLDOUT["sources"]["by_source"]),
        lambda: alone_plot(HOLDOUT["alone"]),
        lambda: reliability_plot(HOLDOUT["heads"]),
        lambda: diversity_plot(FACTS.diversity["curve"], 0.2),
    ],
    ids=["nights", "one night", "sources", "alone", "reliability", "diversity"],
)
def test_a_plot_is_well_formed_the_same_each_time_and_in_the_page_s_ink(draw):
    svg = draw()

    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert svg == draw()
    assert "currentColor" in svg
    assert "#010203" not in svg
