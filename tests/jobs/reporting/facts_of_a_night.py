"""All that the report of one night may show, made by hand."""

from datetime import date

import msgspec

from jobs.checks.report import CheckResult, ValidationReport
from jobs.lake.evaluations import (
    DayRange,
    Holdout,
    ItemOutcome,
    ItemSegment,
    MmrCurve,
    MmrPoint,
    PageOutcome,
    Published,
    Reliability,
    ReliabilityBin,
    Segments,
    ShelfOutcomes,
    SourceShare,
    SourceShares,
    UserSegment,
)
from jobs.lake.stage_runs import StageRun
from jobs.landing.row_counts import RowCounts
from jobs.ranking.ranker_metrics import HeadFacts, RankerMetrics
from jobs.reporting.days import LandedRows, OutcomeSums
from jobs.reporting.facts import ExampleRow, ExampleShelf, NightNdcg, ReportFacts, StageTime
from jobs.reporting.products import Product
from jobs.reporting.standing import Standing
from jobs.staging.remarks import Remarks
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
    baselines={"popular": scores(0.12), "bought_before": scores(0.27)},
    intervals={"all": {"ndcg@20": [0.29, 0.33]}},
    margins={"bought_before": {"all": {"ndcg@20": [0.04, 0.02, 0.06]}}},
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
    NightNdcg(date(2026, 1, 30), holdout={"all": 0.30, "new": 0.14}, holdout_best={"all": 0.1, "new": 0.1}),
    NightNdcg(date(2026, 1, 31), published={"all": 0.29, "new": 0.13}, published_best={"all": 0.2, "new": 0.1}),
]
PICTURE = "https://shop.example/pot.jpg?a=1&b=2"
ROW = ExampleRow(1, "Tea <b>pot</b>", "home", "4.50", score=0.12, source="als", reason="bought", image_url=PICTURE)
SNAPSHOT = Snapshot(
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
    metrics={"coverage": 0.82, "users_with_shelf": 2_640},
)
OUTCOMES = ShelfOutcomes(
    places=20,
    follow_minutes=30,
    requests=410,
    users=300,
    exposures=8_000,
    clicks=240,
    orders=18,
    orders_without_price=2,
    revenue_minor=123_450,
    shop_orders=90,
    shop_revenue_minor=493_800,
    most_shown=[ItemOutcome(item_id="i1", exposures=77, clicks=6, orders=1, revenue_minor=450)],
    of_pages=[
        PageOutcome(page="homepage", shelf="on_sale", row=1, exposures=40, clicks=3, orders=1, revenue_minor=450)
    ],
)
SUMS = [OutcomeSums(str(DAY), 8_000, 240, 18, 123_450, 493_800), OutcomeSums("the day before", 7_000, 70, 9, 0, 0)]
CHECKS = ValidationReport(
    DAY,
    "abc",
    {"features/item": 900},
    [
        CheckResult("features/item", "row_count (min 1)", "fail", passed=True),
        CheckResult("features/item", "not_null (title <x>)", "warn", passed=False, bad_rows=3),
    ],
)
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
INGEST = StageRun("ingest", "2026-02-01T00:10:00+00:00", 88.2, 1_530, "1 of 31 days built", 4.1, 44.0, 12.2)
FACTS = ReportFacts(
    ds=DAY,
    currency="€",
    standing=Standing(SNAPSHOT, live=False, why=["gate overlap: 1% of the first 10"]),
    outcomes=OUTCOMES,
    sums=SUMS,
    shown={"i1": Product("Mug", "home/mugs", 450, PICTURE)},
    rows=[LandedRows("events", RowCounts(kept=95, set_aside={"wrong_type": 5}), RowCounts(kept=200))],
    checks=CHECKS,
    stages=[StageTime(INGEST, 80.0)],
    earlier=date(2026, 1, 30),
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
    landed=Remarks([date(2026, 1, 29), DAY], ["items: set aside 2 rows: <negative_price>", "without users: region"]),
    source_share={"als": 0.6, "popular": 0.4},
)
