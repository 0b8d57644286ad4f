"""What a report is made of: pictures, prices, rows and outcomes against the day before, verdicts, why not live."""

from datetime import date, timedelta

import msgspec
import pyarrow as pa
import pytest

from jobs.lake.evaluations import Bounds, ItemOutcome, ShelfOutcomes
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest
from jobs.landing.row_counts import RowCounts
from jobs.reporting.days import landed_rows, outcome_sums
from jobs.reporting.facts import days_reported
from jobs.reporting.headline import Headline, headline
from jobs.reporting.products import image_urls, money, products
from jobs.reporting.standing import why_not_live
from serving.snapshot.manifest import GateResult
from serving.snapshot.pointer import Pointer
from tests.jobs.reporting.facts_of_a_night import HOLDOUT, OUTCOMES, SNAPSHOT
from tests.jobs.small_shop import lay

DAY = date(2026, 1, 31)
SCHEMA = pa.schema([("item_id", pa.string()), ("image_url", pa.string()), ("absent", pa.list_(pa.string()))])


def lay_items(lake: Lake, ds: date, *rows: tuple[str, str | None, list[str] | None]) -> None:
    names = ("item_id", "image_url", "absent")
    lay(lake, "staging/items", ds, pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], SCHEMA))


def test_a_picture_is_that_of_the_newest_row_that_has_the_column_and_only_an_address_of_the_web(lake: Lake) -> None:
    lay_items(lake, DAY - timedelta(days=1), ("a", "https://x/old", None), ("b", "https://x/b", None))
    lay_items(
        lake,
        DAY,
        *[("a", "https://x/new", None), ("b", None, ["image_url"])],
        *[("c", "javascript:alert(1)", None), ("d", None, None), ("other", "https://x/other", None)],
    )
    lay_items(lake, DAY + timedelta(days=1), ("a", "https://x/tomorrow", None))
    assert image_urls(lake, DAY, ["a", "b", "c", "d", "unknown"]) == {"a": "https://x/new", "b": "https://x/b"}


def test_a_picture_that_was_taken_away_stays_away(lake: Lake) -> None:
    lay_items(lake, DAY - timedelta(days=1), ("a", "https://x/a", None))
    lay_items(lake, DAY, ("a", None, None))
    assert image_urls(lake, DAY, ["a"]) == {}


def test_a_product_that_left_the_catalogue_has_its_id_alone(lake: Lake) -> None:
    row = {"item_id": ["a", "b"], "title": ["Mug", None], "category": [None, "home"], "price_minor": [450, None]}
    lay(lake, "features/item", DAY, pa.table(row))
    found = products(lake, DAY, ["a", "b", "gone"])
    assert {item_id: (product.title, product.price_minor) for item_id, product in found.items()} == {
        "a": ("Mug", 450),
        "b": ("b", None),
        "gone": ("gone", None),
    }


@pytest.mark.parametrize(
    ("minor", "currency", "shown"),
    [
        (123_450, "", "1,234.50"),
        (123_450, "€", "€1,234.50"),
        (5, "EUR", "EUR\N{NO-BREAK SPACE}0.05"),
        (None, "€", ""),
    ],
)
def test_an_amount_has_the_shop_s_sign_or_none(minor: int | None, currency: str, shown: str) -> None:
    assert money(minor, currency) == shown


def test_rows_stand_beside_those_of_the_day_before(lake: Lake) -> None:
    for ds, counts in ((DAY, RowCounts(90, 0, {"wrong_type": 10})), (DAY - timedelta(days=1), RowCounts(200))):
        lake.write_artifact("staging/interactions", ds, {}, inputs={}, metrics=counts.to_metrics())
    events, items, *_ = landed_rows(lake, DAY)
    assert (events.table, events.change, events.reasons) == ("events", "-50%", "10 wrong_type")
    assert (items.today, items.before, items.change, items.reasons) == (None, None, "", "")


def test_shelves_bring_as_much_as_the_days_that_are_known(lake: Lake) -> None:
    assert [row.days for row in outcome_sums(lake, DAY, OUTCOMES)] == ["2026-01-31"]
    other = msgspec.structs.replace(OUTCOMES, exposures=2_000, clicks=10, shop_revenue_minor=0)
    other.write(lake, DAY - timedelta(days=1))
    other.write(lake, DAY - timedelta(days=7))
    today, before, week = outcome_sums(lake, DAY, OUTCOMES)
    assert (today.click_rate, before.days, before.click_rate) == (0.03, "the day before", 0.005)
    assert (before.revenue_share, week.days, week.exposures) == (None, "2 days of the week", 10_000)
    for back in range(2, 7):
        other.write(lake, DAY - timedelta(days=back))
    assert outcome_sums(lake, DAY, OUTCOMES)[-1].days == "the week"


def test_outcomes_are_kept_as_a_record(lake: Lake) -> None:
    OUTCOMES.write(lake, DAY)
    record = ShelfOutcomes.read(lake, DAY)
    assert record == OUTCOMES
    assert record is not None
    assert record.most_shown == [ItemOutcome(item_id="i1", exposures=77, clicks=6, orders=1, revenue_minor=450)]


@pytest.mark.parametrize(
    ("margin", "verdict"),
    [
        ([0.04, 0.01, 0.07], "better than chance explains"),
        ([0.01, -0.02, 0.04], "no difference that chance could not explain"),
        ([-0.05, -0.09, -0.01], "worse than chance explains"),
        ([], "without an interval, chance cannot be told from skill"),
    ],
)
def test_a_margin_says_what_its_interval_lets_one_say(margin: Bounds, verdict: str) -> None:
    assert Headline(700, 0.3, [], "popular", 0.2, margin).verdict == verdict


def test_the_rival_is_the_best_baseline_and_an_older_record_has_no_intervals() -> None:
    found = headline(HOLDOUT)
    assert found is not None
    assert (found.rival, found.n_users, found.margin) == ("bought_before", 700, [0.04, 0.02, 0.06])
    older = headline(msgspec.structs.replace(HOLDOUT, intervals={}, margins={}))
    assert older is not None
    assert (older.interval, older.margin) == ([], [])
    assert headline(msgspec.structs.replace(HOLDOUT, n_users={"all": 0, "new": 0})) is None


def test_why_a_snapshot_is_not_live_is_its_gates_a_pin_or_what_is_live_instead() -> None:
    good = msgspec.structs.replace(SNAPSHOT, gates=[GateResult("users", "passed", "3,000 now")])
    pointer = Pointer(live="2026-02-01-x", highest_day="2026-02-01")
    assert why_not_live(SNAPSHOT, pointer) == ["gate overlap: 1% of the first 10"]
    assert why_not_live(good, pointer) == ["2026-02-01-x is live instead"]
    pinned = msgspec.structs.replace(pointer, pinned="2026-01-02-p", live="2026-01-02-p")
    assert why_not_live(good, pinned) == ["2026-01-02-p is pinned"]
    forced = msgspec.structs.replace(SNAPSHOT, forced="a campaign")
    assert why_not_live(forced, Pointer()) == ["nothing is live"]


def test_days_with_a_report_are_those_that_have_the_page(lake: Lake) -> None:
    assert list(days_reported(lake)) == []
    lake.put_text(f"runs/ds={DAY}/report.html", "x")
    lake.put_text("runs/ds=2026-01-30/label_windows.json", "{}")
    lake.put_text("runs/ds=2026-01-02/report.html", "x")
    assert list(days_reported(lake)) == [DAY, date(2026, 1, 2)]


def test_a_day_counted_by_an_earlier_version_is_not_read_rather_than_wrong(lake: Lake) -> None:
    manifest = Manifest("staging/users", str(DAY), 0, {}, metrics={"kept": "many"})
    lake.put_text(f"staging/users/ds={DAY}/_manifest.json", manifest.to_json())
    assert {row.table: row.today for row in landed_rows(lake, DAY)}["users"] is None
