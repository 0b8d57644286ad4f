"""The report of a night: it opens offline, shows what there is, and does without what there is not."""

import re
from dataclasses import replace
from datetime import date, timedelta
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest

from jobs.experiments.outcome import ArmVerdict, ExperimentOutcome, Look, MetricEffect
from jobs.lake.evaluations import (
    Reliability,
    ReliabilityBin,
    Segments,
)
from jobs.lake.lake import Lake
from jobs.reporting.console import print_facts
from jobs.reporting.facts import ReportFacts, worst_gap
from jobs.reporting.plots import (
    alone_plot,
    diversity_plot,
    experiment_plot,
    nights_plot,
    reliability_plot,
    sources_plot,
    wilson,
)
from jobs.reporting.report import nights_page, page, print_night
from jobs.reporting.standing import Standing
from tests.jobs.reporting.facts_of_a_night import DAY, FACTS, HOLDOUT, NIGHTS, OUTCOMES, PUBLISHED, PURCHASE, SNAPSHOT


def test_the_page_needs_nothing_beside_it_and_runs_no_script():
    html = page(FACTS)

    needed = re.findall(r'<(?!a |img )[^>]*(?:src|href)="(?!#)[^"]*"|url\((?!#)[^)]*\)|@import|<script|<link', html)
    assert not needed
    assert html.count("<svg") == html.count("</svg>") == 5


@pytest.mark.parametrize(
    "text",
    [
        *("landing of 2026-01-29 to 2026-01-31", "2 rows: &lt;negative_price&gt;", "<li>without users: region</li>"),
        *(
            "not live",
            "✗ failed",
            "A gate held this night back.",
            "<li>gate overlap: 1% of the first 10</li>",
            "82.0%",
        ),
        *("0.3100", "2026-02-14", "popular_30d", "tail"),
        *("71.0%", "a factor of 1.50", "als 60.0%", "A regular: ann", "4.50"),
        *("1 x purchase + 0.02 x purchase x spend", "0.0222 before", "left out: 0 positive examples", "5,000"),
    ],
)
def test_the_page_shows_gates_evaluation_segments_heads_and_shelves(text):
    assert text in page(FACTS)


def plain(facts: ReportFacts) -> str:
    """The page's text, without markup."""
    body = re.sub(r"<svg.*?</svg>", "", page(facts).split("</style>", 1)[1], flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


def test_shoppers_with_a_shelf_are_those_who_have_one_and_not_all_who_are_known():
    text = plain(FACTS)
    assert "2,640 shoppers with a shelf of their own" in text
    assert "360 known shoppers without one" in text
    old = msgspec.structs.replace(SNAPSHOT, metrics={})
    text = plain(replace(FACTS, standing=Standing(old, live=True)))
    assert "3,000 known shoppers; how many have a shelf of their own was not counted" in text


def test_the_headline_is_the_best_simple_list_with_intervals_and_the_number_of_shoppers():
    text = plain(FACTS)
    assert "0.3100 NDCG@20 of the shelf, held out; 95%: 0.2900 to 0.3300" in text
    assert "0.2700 by bought before alone, the best simple list" in text
    assert "700 shoppers it was measured on" in text
    assert "margin over it is +0.0400 (+0.0200 to +0.0600): better than chance explains" in text


def test_a_night_that_is_not_live_says_why_and_what_to_do():
    assert "topshelf promote 2026-01-31-abc" in plain(FACTS)
    beside = Standing(msgspec.structs.replace(SNAPSHOT, gates=[]), live=False, why=["2026-02-01-x is live instead"])
    text = plain(replace(FACTS, standing=beside))
    assert "2026-02-01-x is live instead" in text
    assert "topshelf promote" not in text


def test_a_merchant_reads_clicks_orders_revenue_and_most_shown_products():
    text = plain(FACTS)
    for told in (
        "240 clicks on shelves, 3.0% of 8,000 products shown",
        "18 orders that followed, of 90 in the shop",
        "€1,234.50 revenue that followed, 25.0% of the shop's",
        "2 orders have no price",
        "Mug home/mugs 77 6 1 €4.50",
        "homepage on_sale 2 40 3 7.5% 1 €4.50",
        "the day before 7,000 70 1.0% 9 €0.00",
    ):
        assert told in text, told
    assert "The shop has set no currency" not in text
    assert "The shop has set no currency" in plain(replace(FACTS, currency=""))


def test_what_shelves_brought_is_said_to_be_unknown_where_nothing_was_counted_or_shown():
    assert "Not known: the stage shelf_outcomes has not run" in plain(replace(FACTS, outcomes=None))
    nothing = msgspec.structs.replace(OUTCOMES, exposures=0)
    assert "Not known: no exposure landed for this day" in plain(replace(FACTS, outcomes=nothing))


def test_pictures_are_the_shop_s_lazy_and_told_in_words():
    pictures = re.findall(r"<img [^>]*>", page(FACTS))
    assert len(pictures) == 2
    assert all('loading="lazy"' in picture and "a=1&amp;b=2" in picture for picture in pictures)
    assert 'alt="Tea &lt;b&gt;pot&lt;/b&gt;"' in pictures[1]


def test_data_people_read_rows_against_the_day_before_checks_with_their_page_and_stage_times():
    text, html = plain(FACTS), page(FACTS)
    assert "events 100 200 -50% 95 5 0 5 wrong_type" in text
    assert "warning : features/item breaks not_null (title &lt;x&gt;): 3 rows" in text
    assert '<a href="../../marts/validation/ds=2026-01-31/abc.html">' in html
    assert "ingest 2026-02-01 00:10:00 88.2 80.0 60.3 1,530 1 of 31 days built" in text
    assert '<a href="../ds=2026-01-30/report.html">' in html


def test_the_list_of_nights_links_the_newest_first():
    html = nights_page([DAY, date(2026, 1, 30)])
    assert re.findall(r'href="([^"]*)"', html) == ["ds=2026-01-31/report.html", "ds=2026-01-30/report.html"]


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


@pytest.mark.parametrize(
    "part",
    [
        *("standing", "holdout", "published", "nights", "shelves", "source_share", "ranker", "landed"),
        *("outcomes", "shown", "rows", "checks", "stages", "earlier", "currency"),
    ],
)
def test_any_part_may_be_missing(part, capsys):
    without = replace(FACTS, **{part: getattr(ReportFacts(DAY), part)})

    page(without)
    print_facts(without)


def test_an_evaluation_without_segments_is_shown_without_them():
    assert "By segment" not in page(replace(FACTS, published=msgspec.structs.replace(PUBLISHED, segments=Segments())))


def test_an_evaluation_s_intervals_stand_beside_it_and_may_be_missing():
    margins = {"popular_30d": {"all": {"ndcg@20": [0.18, 0.16, 0.2]}}}
    with_bounds = msgspec.structs.replace(PUBLISHED, intervals={"all": {"ndcg@20": [0.27, 0.31]}}, margins=margins)
    text = plain(replace(FACTS, published=with_bounds))
    assert "0.2700 to 0.3100" in text
    assert "+0.1800 (+0.1600 to +0.2000): better than chance explains" in text
    without = msgspec.structs.replace(PUBLISHED, intervals={"all": {}}, margins={"popular_30d": {"all": {}}})
    assert "chance cannot be told from skill" in plain(replace(FACTS, published=without))


def test_the_terminal_shows_the_same_as_tables(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    print_facts(FACTS)

    printed = capsys.readouterr().out
    assert printed.index("2026-01-31-abc is not live") < printed.index("NDCG@20 over nights")
    for text in (
        "what landed: 2026-01-29 to 2026-01-31",
        "items: set aside 2 rows: <negative_price>",
        "1% of the first 10",
        "bought_before",
        "380 candidates a user hold 71.0%",
        "x1.50",
        "x3.00",
        "click, left out: 0 positive examples",
        "A regular: ann",
        "not live: gate overlap: 1% of the first 10",
        "€1,234.50",
        "held out: 700 shoppers",
        "+0.0400 (+0.0200 to +0.0600): better than chance explains",
        "0.2700 bought_before",
        "features/item breaks not_null (title <x>)",
        "-50%",
        "88.2",
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


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that are opened in a browser; the report is that of FACTS, wherever the lake is."""
    addresses: list[str] = []
    monkeypatch.setattr("jobs.reporting.report.build", lambda *_: ("runs/ds=2026-01-31/report.html", FACTS))
    monkeypatch.setattr("webbrowser.open", addresses.append)
    return addresses


def test_the_page_is_opened_where_it_lies_or_as_its_copy(tmp_path, opened, capsys):
    lake = Lake(f"{tmp_path}/lake")
    print_night(lake, DAY, "lmdb://none", currency="", copy=None, show=True)
    print_night(lake, DAY, "lmdb://none", currency="", copy=tmp_path / "www/night.html", show=True)
    here = tmp_path.resolve().as_uri()
    assert opened == [f"{here}/lake/runs/ds%3D2026-01-31/report.html", f"{here}/www/night.html"]
    assert (tmp_path / "www/night.html").read_text() == page(FACTS)
    assert capsys.readouterr().out.splitlines()[-1] == f"{lake.root}/runs/ds=2026-01-31/report.html"


def test_of_a_lake_elsewhere_a_copy_is_opened_and_without_being_asked_nothing(tmp_path, opened, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    print_night(Lake("s3://shop/lake"), DAY, "lmdb://none", currency="", copy=None, show=False)
    assert opened == []
    print_night(Lake("s3://shop/lake"), DAY, "lmdb://none", currency="", copy=None, show=True)
    (copy,) = tmp_path.glob("*/report.html")
    assert opened == [copy.as_uri()]
    assert copy.read_text() == page(FACTS)


def judged() -> ExperimentOutcome:
    looks = [
        Look(DAY - timedelta(days=2), 0.4, None, None),
        Look(DAY - timedelta(days=1), 0.05, -0.2, 0.4),
        Look(DAY, 0.03, -0.01, 0.07),
    ]
    effect = MetricEffect(
        metric="conversion",
        role="primary",
        arm="varied",
        value=0.0515,
        control_value=0.05,
        difference=0.0015,
        low=-0.0005,
        high=0.0035,
        lift=0.03,
        lift_low=-0.01,
        lift_high=0.07,
        p=0.21,
        says="conversion rose by 3.00%",
    )
    return ExperimentOutcome(
        kind="ab",
        unit="user",
        control="control",
        primary="conversion",
        since=DAY - timedelta(days=2),
        until=DAY,
        last_day=DAY + timedelta(days=11),
        units={"control": 5_001, "varied": 4_987},
        verdicts=[
            ArmVerdict("varied", "go on", ["conversion rose by 3.00% (-1.00% to +7.00%), not significant yet"])
        ],
        effects=[effect],
        looks={"varied": looks},
        notes=["Purchases before the start explain 12% of the variance of conversion."],
    )


def test_experiments_stand_on_the_page_with_their_verdict_and_a_plot_and_without_any_there_is_no_section(
    capsys: pytest.CaptureFixture[str],
) -> None:
    facts = replace(FACTS, experiments={"varied-head": judged()}, shelves_a_shopper=1.2)
    html, text = page(facts), plain(facts)
    assert html.count("<svg") == 6
    assert "varied: go on. conversion rose by 3.00% (-1.00% to +7.00%), not significant yet." in text
    assert "units (shoppers): control 5,001, varied 4,987" in text
    assert "This night made 1.20 shelves a shopper" in text
    assert "+3.00% -1.00% to +7.00% 0.21 primary" in text
    assert 'href="#experiments"' in html and 'id="experiments"' in html
    assert "experiments" not in page(FACTS)
    print_facts(facts)
    assert "varied-head" in capsys.readouterr().out


def test_a_plot_of_an_experiment_draws_each_arm_that_was_looked_at() -> None:
    two = msgspec.structs.replace(judged(), looks={"varied": judged().looks["varied"], "other": []})
    assert "varied: conversion against control" in experiment_plot(two)
    assert "other" not in experiment_plot(two)
