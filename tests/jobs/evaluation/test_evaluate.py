"""The published evaluation: whose shelves are scored by what, the record, and the reference figures on real data."""

from datetime import date, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.config.parameters import Parameters
from jobs.evaluation.console import print_published
from jobs.evaluation.evaluate import published, split_baselines
from jobs.evaluation.time_split import EvaluationError, read_events, time_split
from jobs.lake.evaluations import DayRange, Published
from jobs.lake.lake import Lake
from jobs.lake.manifest import MANIFEST_NAME, Manifest
from jobs.landing.folders import UnmarkedDayError
from tests.jobs.commands import topshelf
from tests.jobs.evaluation.three_shoppers import BOUGHT, DAY, SHELVES, UNTIL, put, shelve, stage


def evaluated(lake: Lake, truth: str | None = None) -> Published:
    return published(lake, "no-landing-needed", DAY, UNTIL, Parameters(), truth=truth)


def test_the_record_says_what_a_hand_computes(shop):
    record = evaluated(shop)

    assert record.window == DayRange(date(2026, 2, 1), date(2026, 2, 14))
    assert record.truth == "purchase"
    assert record.n_users == {"all": 2, "new": 2}
    assert record.metrics["all"]["recall@20"] == 0.5  # Ann: both of two; Bob: none of one
    assert record.metrics["all"]["ndcg@20"] == 0.5
    assert record.metrics["new"]["recall@20"] == 0.5  # Ann's mug is not new, and leaves list and truth
    # Asked users' shelves hold jug, mug, lid and tea of jug, lid, mug, pan and tea.
    assert record.metrics["all"]["coverage@20"] == pytest.approx(4 / 5)
    # Five of their places are on five items: three have one, one has two (the mug), one has none.
    assert record.metrics["all"]["gini@20"] == pytest.approx(0.32)
    per_user = {"recall@20", "ndcg@20", "hit_rate@20"}
    assert set(record.metrics["new"]) == per_user | {"coverage@20", "gini@20", "novelty@20"}
    assert record.baselines["bought_before"]["all"]["recall@20"] == 1.0
    assert record.n_users_without_shelf == 0
    assert record.run_id == "r1"
    assert record.model_version is None
    assert Published.read(shop, DAY) == record


def test_evaluating_twice_gives_the_same_record(shop):
    assert evaluated(shop) == evaluated(shop)


def test_every_margin_is_the_shelf_minus_the_baseline_with_its_interval(shop):
    record = evaluated(shop)

    for name, margin in record.margins.items():
        difference, low, high = margin["all"]["recall@20"]
        expected = record.metrics["all"]["recall@20"] - record.baselines[name]["all"]["recall@20"]
        assert difference == pytest.approx(expected, abs=1e-6)
        assert low <= difference <= high


def test_the_version_of_the_ranker_that_made_the_shelf_is_named(shop):
    folder = Path(shop.root) / f"artifacts/ranker/ds={DAY}"
    folder.mkdir(parents=True)
    manifest = Manifest("artifacts/ranker", str(DAY), None, {}, parameters={"model_version": "lgbm-7"})
    (folder / MANIFEST_NAME).write_text(manifest.to_json())

    assert evaluated(shop).model_version == "lgbm-7"


def test_a_user_without_a_shelf_counts_as_without_a_hit_and_is_counted(lake):
    stage(lake, BOUGHT)
    shelve(lake, {"ann": ["jug", "mug"]})

    record = evaluated(lake)

    assert record.n_users_without_shelf == 1
    assert record.n_users["all"] == 2
    assert record.metrics["all"]["recall@20"] == 0.5


def test_only_the_base_variant_is_scored(shop, tmp_path):
    other = Lake(str(tmp_path / "other"))
    stage(other, BOUGHT)
    shelve(other, SHELVES)
    file = next((Path(other.root) / f"marts/top_n/ds={DAY}").glob("*.parquet"))
    rows = pq.ParquetFile(file).read()
    arm = pa.table({"variant": ["b"], "user_id": ["bob"], "rank": pa.array([1], pa.int32()), "item_id": ["pan"]})
    pq.write_table(pa.concat_tables([rows, arm]), file)

    assert evaluated(other).metrics == evaluated(shop).metrics


def test_items_that_nobody_met_before_the_window_are_no_truth(lake):
    stage(lake, [*BOUGHT, ("bob", "novelty", "purchase", 5)])
    shelve(lake, {"bob": ["novelty", "pan"]})

    record = evaluated(lake)

    assert record.n_users["all"] == 2
    assert record.metrics["all"]["recall@20"] == 0.5  # Bob's truth is the pan alone
    assert record.metrics["all"]["ndcg@20"] == pytest.approx(0.5 / np.log2(3), abs=1e-6)


def test_the_days_after_until_change_nothing(lake, tmp_path):
    stage(lake, BOUGHT)
    shelve(lake, {"ann": ["jug"], "bob": ["mug"]})
    longer = Lake(str(tmp_path / "longer"))
    stage(longer, [*BOUGHT, ("bob", "mug", "purchase", 15), ("ann", "pan", "purchase", 12, 15)], UNTIL + timedelta(5))
    shelve(longer, {"ann": ["jug"], "bob": ["mug"]})

    assert evaluated(longer) == evaluated(lake)


def test_in_a_shop_without_purchases_any_positive_event_is_truth(lake):
    seen = [(user, item, "view", day) for user, item, _, day in BOUGHT]
    stage(lake, [*seen, ("cat", "tea", "impression", 4)])
    shelve(lake, {"ann": ["jug", "mug", "lid"]})

    record = evaluated(lake)

    assert record.truth == "any"
    assert record.n_users == {"all": 3, "new": 2}  # Cat sees the mug again; an impression is nothing positive
    assert not any(name.endswith("_any") for name in record.baselines)


def test_a_shop_with_views_has_baselines_fitted_to_purchases_and_to_any_event(shop):
    record = evaluated(shop)
    by_any_event = evaluated(shop, truth="any")

    assert {"popular_30d", "popular_30d_any", "item_knn", "item_knn_any"} <= set(record.baselines)
    assert by_any_event.truth == "any"
    assert by_any_event.n_users["all"] == 3


def test_popularity_forgets_after_30_days(lake):
    old = [(user, "old", "purchase", -30) for user in ("u1", "u2", "u3")]
    edge = [(user, "edge", "purchase", -29) for user in ("u1", "u2")]
    stage(lake, [*old, *edge, ("u1", "edge", "purchase", 1)])
    split = time_split(read_events(lake, UNTIL), DAY, UNTIL)

    lists, _ = split_baselines(split)

    # With the 30th day before the day itself counted, the old item would be first.
    assert split.score(lists["popular_30d"]).metrics["all"]["ndcg@20"] == 1.0


def test_each_segment_stands_in_the_record_with_every_baseline_beside_it(shop):
    record = evaluated(shop)

    assert record.segments.users
    assert record.segments.items
    for segment in (*record.segments.users.values(), *record.segments.items.values()):
        assert set(segment.baselines) == set(record.baselines)
    assert record.segments.users["new"].metrics == record.metrics  # both are new


def test_a_window_that_ends_before_it_starts_is_refused(shop):
    with pytest.raises(EvaluationError, match="--until 2026-01-31 is not after --ds 2026-01-31"):
        published(shop, "", DAY, DAY, Parameters())


def test_a_day_without_shelves_is_refused_with_the_days_that_there_are(shop):
    with pytest.raises(EvaluationError, match=r"no ds=2026-02-01; run topshelf nightly --ds 2026-02-01.*2026-01-31"):
        published(shop, "", DAY + timedelta(days=1), UNTIL, Parameters())


def test_a_window_in_which_nobody_comes_back_is_refused_with_the_way_out(lake):
    stage(lake, [("ann", "mug", "purchase", -1), ("bob", "mug", "purchase", 1), ("ann", "mug", "view", 3)])
    shelve(lake, {"ann": ["mug"]})

    with pytest.raises(EvaluationError, match=r"no user has a purchase .* give --truth any"):
        evaluated(lake)
    assert evaluated(lake, truth="any").n_users["all"] == 1


def test_the_command_prints_shelf_and_baselines_and_where_the_report_is(shop, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    topshelf("evaluate", "--ds", DAY, "--until", UNTIL, "--lake", shop.root)

    printed = capsys.readouterr().out
    assert printed.index("shelf") < printed.index("popular_30d") < printed.index("bought_before")
    assert "all R@20" in printed
    assert "new NDCG@20" in printed
    assert f"marts/evaluation/ds={DAY}/published.json" in printed


def test_several_days_are_several_splits_with_a_line_each(shop, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    shelve(shop, {"ann": ["mug"]}, ds=DAY + timedelta(days=1))
    topshelf("evaluate", "--ds", str(DAY + timedelta(days=1)), "--ds", DAY, "--days", "13", "--lake", shop.root)

    printed = capsys.readouterr().out
    splits = printed[printed.index("Splits of time") :]
    assert splits.index("2026-01-31") < splits.index("2026-02-01") < splits.index("mean")
    assert Published.read(shop, DAY).window.until == date(2026, 2, 13)


def test_one_end_for_several_days_is_refused(shop):
    with pytest.raises(EvaluationError, match="with several --ds give --days"):
        topshelf("evaluate", "--ds", DAY, "--ds", "2026-02-01", "--until", UNTIL, "--lake", shop.root)


def test_the_command_ends_with_the_remedy_and_no_traceback(shop):
    with pytest.raises(EvaluationError, match="--until 2026-01-01 is not after"):
        topshelf("evaluate", "--ds", DAY, "--until", "2026-01-01", "--lake", shop.root)


def test_the_table_names_users_without_a_shelf_and_skipped_baselines(shop, capsys):
    record = msgspec.structs.replace(evaluated(shop), n_users_without_shelf=3, skipped={"ease": "too many items"})
    print_published(record)

    printed = capsys.readouterr().out
    assert "3 users had no shelf" in printed
    assert "ease was skipped: too many items" in printed


def land(landing: Path, first: date, until: date) -> None:
    """Land the same shop as csv, a marked folder for each day."""
    for ds in (first + timedelta(days=n) for n in range((until - first).days + 1)):
        folder = landing / "events" / f"ds={ds}"
        folder.mkdir(parents=True)
        bought = [event for event in BOUGHT if DAY + timedelta(days=event[3]) == ds]
        if bought:
            lines = [f"{user or ''},{item},{kind},{ds}T12:00:00Z,s1" for user, item, kind, _ in bought]
            (folder / "events.csv").write_text("\n".join(["user_id,item_id,event_type,ts,session_id", *lines]) + "\n")
        (folder / "_SUCCESS").touch()


def test_days_that_staging_lacks_are_ingested_first_and_give_the_same_record(shop, spark, landing, tmp_path):
    land(landing, DAY - timedelta(days=4), UNTIL)
    lake = Lake(str(tmp_path / "ingested"))
    shelve(lake, SHELVES)

    record = published(lake, str(landing), DAY, UNTIL, Parameters())

    assert max(lake.days("staging/interactions")) == UNTIL
    assert record == evaluated(shop)


def test_a_window_that_has_not_landed_whole_is_refused_with_the_missing_day(spark, lake, landing):
    land(landing, DAY - timedelta(days=4), UNTIL - timedelta(days=1))
    shelve(lake, {"ann": ["jug"]})

    with pytest.raises(UnmarkedDayError, match=r"events has no ds=2026-02-14"):
        topshelf("evaluate", "--ds", DAY, "--until", UNTIL, "--lake", lake.root, "--landing", landing)


REFERENCE = {
    "popular_30d": (0.1025, 0.1357, 0.0898, 0.0883),
    "bought_before": (0.2725, 0.3289, 0.0898, 0.0883),
    "item_knn": (0.1975, 0.2279, 0.0783, 0.0755),
    "ease": (0.1889, 0.2341, 0.1089, 0.1015),
}


@pytest.fixture(scope="module")
def online_retail(tmp_path_factory: pytest.TempPathFactory, shop_data: Path) -> Lake:
    """Every sale of Online Retail, staged by the day it was made, anonymous ones among them."""
    from jobs.landing.adapters.online_retail import read_lines, sale_lines

    lines, _ = sale_lines(read_lines(shop_data / "online_retail" / "by-day"))
    lines["event_date"] = lines["day"].dt.date
    lake = Lake(str(tmp_path_factory.mktemp("online-retail")))
    for day, rows in lines.groupby("event_date"):
        columns = rows[["user_id", "item_id", "event_type", "event_date"]].assign(value=np.nan)
        put(lake, "staging/interactions", day, pa.Table.from_pandas(columns, preserve_index=False))
    return lake


@pytest.mark.real_data
def test_the_baselines_reproduce_the_reference_figures_of_online_retail(online_retail):
    until = date(2011, 11, 23)
    split = time_split(read_events(online_retail, until), date(2011, 11, 9), until)
    lists, skipped = split_baselines(split)

    assert not skipped
    assert set(lists) == {*REFERENCE, "als", "tifu_knn"}
    for name, figures in REFERENCE.items():
        scores = split.score(lists[name])
        assert scores.n_users == {"all": 861, "new": 778}
        found = [scores.metrics[kind][metric] for kind in ("all", "new") for metric in ("recall@20", "ndcg@20")]
        assert found == pytest.approx(figures, abs=0.003), name
    als = split.score(lists["als"]).metrics["all"]
    assert als["recall@20"] >= 0.2214  # what implicit's ALS of 128 factors was measured to reach
    assert als["ndcg@20"] >= 0.2396
