"""The published evaluation: what is asked of whom, what the report says, and the reference figures on real data."""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.config.parameters import Parameters
from jobs.evaluation.console import print_report
from jobs.evaluation.evaluate import published, split_baselines
from jobs.evaluation.segments import ITEM_SEGMENTS, by_segment, item_segments, user_segments
from jobs.evaluation.time_split import EvaluationError, read_events, time_split
from jobs.lake.lake import Lake
from jobs.lake.manifest import MANIFEST_NAME, Manifest
from jobs.lake.partitions import MissingPartitionError
from jobs.landing.folders import UnmarkedDayError
from tests.jobs.commands import topshelf

DAY = date(2026, 1, 31)
UNTIL = DAY + timedelta(days=14)


def put(lake: Lake, table: str, ds: date, rows: pa.Table, parameters: Mapping[str, object] | None = None) -> None:
    """Write one partition as the lake holds it, without Spark; no file where there are no rows."""
    folder = Path(lake.root) / table / f"ds={ds}"
    folder.mkdir(parents=True)
    files = {}
    if len(rows):
        pq.write_table(rows, folder / "part-00000.parquet")
        files = {"part-00000.parquet": hashlib.sha256((folder / "part-00000.parquet").read_bytes()).hexdigest()}
    manifest = Manifest(table, str(ds), len(rows), files, parameters=dict(parameters or {}))
    (folder / MANIFEST_NAME).write_text(manifest.to_json())


def stage(lake: Lake, events: Iterable[tuple], until: date = UNTIL, first: date = DAY - timedelta(days=60)) -> None:
    """Stage events (user, item, kind, days after DAY it happened[, and it landed]) on every day up to `until`."""
    columns = ("user_id", "item_id", "event_type", "event_date")
    types = (pa.string(), pa.string(), pa.string(), pa.date32())
    events = list(events)
    for ds in (first + timedelta(days=n) for n in range((until - first).days + 1)):
        landed = [e for e in events if DAY + timedelta(days=e[-1]) == ds]
        values = [[e[0] for e in landed], [e[1] for e in landed], [e[2] for e in landed]]
        values.append([DAY + timedelta(days=e[3]) for e in landed])
        arrays = [pa.array(value, kind) for value, kind in zip(values, types, strict=True)]
        put(lake, "staging/interactions", ds, pa.table(arrays, names=list(columns)))


def shelve(lake: Lake, shelves: Mapping[str, list[str]], ds: date = DAY, variant: str = "base") -> None:
    rows = [
        (variant, user, rank, item) for user, items in shelves.items() for rank, item in enumerate(items, start=1)
    ]
    arrays = [pa.array([row[at] for row in rows]) for at in range(3)]
    arrays[2] = arrays[2].cast(pa.int32())
    arrays.append(pa.array([row[3] for row in rows]))
    put(lake, "marts/top_n", ds, pa.table(arrays, names=["variant", "user_id", "rank", "item_id"]), {"run_id": "r1"})


BOUGHT = [
    ("ann", "mug", "purchase", -3),
    ("ann", "tea", "purchase", -3),
    ("bob", "jug", "purchase", -4),
    ("cat", "mug", "view", -2),
    ("cat", "pan", "view", -2),
    (None, "lid", "purchase", -1),
    ("ann", "mug", "purchase", 2),
    ("ann", "jug", "purchase", 2),
    ("ann", "jug", "purchase", 9),
    ("bob", "pan", "purchase", 14),
    ("cat", "mug", "purchase", 3),
]


@pytest.fixture
def shop(lake: Lake) -> Lake:
    """Ann buys mug and jug again, Bob the pan that Cat viewed; Cat had only views before, so is not asked."""
    stage(lake, BOUGHT)
    shelve(lake, {"ann": ["jug", "mug", "lid"], "bob": ["mug", "tea"], "cat": ["mug"]})
    return lake


def said(lake: Lake, **more: object) -> dict:
    return published(lake, "no-landing-needed", DAY, UNTIL, Parameters(), **more)


def test_the_report_says_what_a_hand_computes(shop):
    report = said(shop)

    assert report["window"] == {"from": "2026-02-01", "until": "2026-02-14"}
    assert report["truth"] == "purchase"
    assert report["n_users"] == {"all": 2, "new": 2}
    assert report["metrics"]["all"]["recall@20"] == 0.5  # Ann: both of two; Bob: none of one
    assert report["metrics"]["all"]["ndcg@20"] == 0.5
    assert report["metrics"]["new"]["recall@20"] == 0.5  # Ann's mug is not new, and leaves list and truth
    # Asked users' shelves hold jug, mug, lid and tea of jug, lid, mug, pan and tea.
    assert report["metrics"]["all"]["coverage@20"] == pytest.approx(4 / 5)
    # Five of their places are on five items: three have one, one has two (the mug), one has none.
    assert report["metrics"]["all"]["gini@20"] == pytest.approx(0.32)
    per_user = {"recall@20", "ndcg@20", "hit_rate@20"}
    assert set(report["metrics"]["new"]) == per_user | {"coverage@20", "gini@20", "novelty@20"}
    assert report["baselines"]["bought_before"]["all"]["recall@20"] == 1.0
    assert report["n_users_without_shelf"] == 0
    assert report["run_id"] == "r1"
    assert report["model_version"] is None
    assert shop.get_json(f"marts/evaluation/ds={DAY}/published.json") == report


def test_the_same_evaluation_twice_says_the_same(shop):
    assert said(shop) == said(shop)


def test_every_margin_is_the_shelf_minus_the_baseline_with_its_interval(shop):
    report = said(shop)

    for name, margin in report["margins"].items():
        difference, low, high = margin["all"]["recall@20"]
        expected = report["metrics"]["all"]["recall@20"] - report["baselines"][name]["all"]["recall@20"]
        assert difference == pytest.approx(expected, abs=1e-6)
        assert low <= difference <= high


def test_the_ranker_s_version_is_named_where_one_made_the_shelf(shop):
    folder = Path(shop.root) / f"artifacts/ranker/ds={DAY}"
    folder.mkdir(parents=True)
    manifest = Manifest("artifacts/ranker", str(DAY), None, {}, parameters={"model_version": "lgbm-7"})
    (folder / MANIFEST_NAME).write_text(manifest.to_json())

    assert said(shop)["model_version"] == "lgbm-7"


def test_a_user_without_a_shelf_counts_with_nothing_found_and_is_counted(lake):
    stage(lake, BOUGHT)
    shelve(lake, {"ann": ["jug", "mug"]})

    report = said(lake)

    assert report["n_users_without_shelf"] == 1
    assert report["n_users"]["all"] == 2
    assert report["metrics"]["all"]["recall@20"] == 0.5


def test_only_the_base_variant_is_scored(shop, tmp_path):
    other = Lake(str(tmp_path / "other"))
    stage(other, BOUGHT)
    shelve(other, {"ann": ["jug", "mug", "lid"], "bob": ["mug", "tea"], "cat": ["mug"]})
    file = next((Path(other.root) / f"marts/top_n/ds={DAY}").glob("*.parquet"))
    rows = pq.ParquetFile(file).read()
    arm = pa.table({"variant": ["b"], "user_id": ["bob"], "rank": pa.array([1], pa.int32()), "item_id": ["pan"]})
    pq.write_table(pa.concat_tables([rows, arm]), file)

    assert said(other)["metrics"] == said(shop)["metrics"]


def test_items_that_nobody_met_before_the_window_are_no_truth(lake):
    stage(lake, [*BOUGHT, ("bob", "novelty", "purchase", 5)])
    shelve(lake, {"bob": ["novelty", "pan"]})

    report = said(lake)

    assert report["n_users"]["all"] == 2
    assert report["metrics"]["all"]["recall@20"] == 0.5  # Bob's truth is the pan alone
    assert report["metrics"]["all"]["ndcg@20"] == pytest.approx(0.5 / np.log2(3), abs=1e-6)


def test_rows_that_land_after_the_day_are_not_visible_on_it(lake):
    late = ("bob", "mug", "purchase", -2, 1)
    stage(lake, [*BOUGHT, late])
    events = read_events(lake, UNTIL)
    split = time_split(events, DAY, UNTIL)

    assert split.user_ids.to_pylist() == ["ann", "bob"]
    assert split.seen.sum(axis=1).ravel().tolist() == [[2.0, 1.0]]
    assert split.truth.sum(axis=1).ravel().tolist() == [[2.0, 1.0]]


def test_rows_of_the_window_that_land_after_it_are_left_out_whatever_was_read(lake):
    stage(lake, [*BOUGHT, ("bob", "mug", "purchase", 12, 15)], UNTIL + timedelta(days=5))
    read_further = time_split(read_events(lake, UNTIL + timedelta(days=5)), DAY, UNTIL)

    assert read_further.truth.sum(axis=1).ravel().tolist() == [[2.0, 1.0]]


def test_an_item_that_was_only_viewed_before_is_new_to_its_buyer(lake):
    stage(lake, [*BOUGHT, ("ann", "jug", "view", -1)])
    split = time_split(read_events(lake, UNTIL), DAY, UNTIL)
    asked_for_any = time_split(read_events(lake, UNTIL), DAY, UNTIL, truth="any")

    assert split.item_ids.take(pa.array(split.seen[0].indices)).to_pylist() == ["mug", "tea"]
    assert asked_for_any.item_ids.take(pa.array(asked_for_any.seen[0].indices)).to_pylist() == ["jug", "mug", "tea"]


def test_the_days_after_until_change_nothing(lake, tmp_path):
    stage(lake, BOUGHT)
    shelve(lake, {"ann": ["jug"], "bob": ["mug"]})
    longer = Lake(str(tmp_path / "longer"))
    stage(longer, [*BOUGHT, ("bob", "mug", "purchase", 15), ("ann", "pan", "purchase", 12, 15)], UNTIL + timedelta(5))
    shelve(longer, {"ann": ["jug"], "bob": ["mug"]})

    assert said(longer) == said(lake)


def test_a_shop_without_purchases_is_asked_for_any_positive_event(lake):
    seen = [(user, item, "view", day) for user, item, _, day in BOUGHT]
    stage(lake, [*seen, ("cat", "tea", "impression", 4)])
    shelve(lake, {"ann": ["jug", "mug", "lid"]})

    report = said(lake)

    assert report["truth"] == "any"
    assert report["n_users"] == {"all": 3, "new": 2}  # Cat sees the mug again; an impression is nothing positive
    assert not any(name.endswith("_any") for name in report["baselines"])


def test_a_shop_with_views_is_held_against_baselines_of_both_kinds_of_history(shop):
    report = said(shop)
    asked_for_any = said(shop, truth="any")

    assert {"popular_30d", "popular_30d_any", "item_knn", "item_knn_any"} <= set(report["baselines"])
    assert asked_for_any["truth"] == "any"
    assert asked_for_any["n_users"]["all"] == 3


def test_popularity_forgets_after_30_days(lake):
    old = [(user, "old", "purchase", -30) for user in ("u1", "u2", "u3")]
    edge = [(user, "edge", "purchase", -29) for user in ("u1", "u2")]
    stage(lake, [*old, *edge, ("u1", "edge", "purchase", 1)])
    split = time_split(read_events(lake, UNTIL), DAY, UNTIL)

    lists, _ = split_baselines(split)

    # With the 30th day before the day itself counted, the old item would be first.
    assert split.score(lists["popular_30d"]).metrics["all"]["ndcg@20"] == 1.0


def test_users_are_new_light_or_heavy_by_the_days_on_which_they_bought(lake):
    once = [("new", "mug", "purchase", -5), ("new", "tea", "purchase", -5), ("new", "mug", "view", -1)]
    light = [("light", "mug", "purchase", -day) for day in range(1, 6)]
    heavy = [("heavy", "mug", "purchase", -day) for day in range(1, 7)]
    back = [(user, "mug", "purchase", 3) for user in ("new", "light", "heavy")]
    stage(lake, [*once, *light, *heavy, *back])
    split = time_split(read_events(lake, UNTIL), DAY, UNTIL)

    assert split.user_ids.to_pylist() == ["heavy", "light", "new"]
    assert user_segments(split).tolist() == [2, 1, 0]


def test_the_head_holds_half_of_all_pairs_and_the_tail_the_last_fifth():
    audience = np.array([1, 50, 20, 0, 10, 10, 9])

    assert [ITEM_SEGMENTS[code] for code in item_segments(audience)] == [
        *("tail", "head", "middle", "tail", "middle", "tail", "tail")
    ]


def test_a_segment_s_figures_are_those_of_its_users_and_its_truth_alone(shop):
    split = time_split(read_events(shop, UNTIL), DAY, UNTIL)
    jug, mug = 0, 1
    lists = np.array([[jug, mug], [mug, -1]])  # Ann chooses jug and mug, Bob the pan

    told = by_segment(split, lists)

    assert told["users"]["new"]["n_users"] == {"all": 2, "new": 2}
    assert told["users"]["new"]["metrics"]["all"]["recall@20"] == 0.5
    assert set(told["users"]) == {"new"}
    assert split.item_ids.to_pylist() == ["jug", "mug", "pan", "tea"]
    assert split.audience.tolist() == [1, 2, 1, 1]
    # Mug and jug hold three of five pairs; the pan begins at three fifths, the tea at four.
    assert told["items"]["head"]["metrics"] == {
        **dict.fromkeys(("recall@20", "ndcg@20", "hit_rate@20"), 1.0),
        "share_of_places@20": 1.0,
    }
    assert (told["items"]["middle"]["n_users"], told["items"]["middle"]["metrics"]["recall@20"]) == (1, 0.0)
    assert (told["items"]["tail"]["n_items"], told["items"]["tail"]["n_users"]) == (1, 0)


def test_each_segment_stands_in_the_report_with_every_baseline_beside_it(shop):
    report = said(shop)

    assert set(report["segments"]) == {"users", "items"}
    for segment in (*report["segments"]["users"].values(), *report["segments"]["items"].values()):
        assert set(segment["baselines"]) == set(report["baselines"])
    assert report["segments"]["users"]["new"]["metrics"] == report["metrics"]  # both are new


def test_lists_of_another_catalogue_are_aligned_by_id(shop):
    split = time_split(read_events(shop, UNTIL), DAY, UNTIL, catalogue=pa.array(["extra"]))
    assert split.item_ids.to_pylist() == ["extra", "jug", "mug", "pan", "tea"]

    lists, missing = split.align(
        pa.array(["bob", "zoe"]), pa.array(["tea", "extra"]), np.array([[1, 0, -1], [0, 1, -1]])
    )

    assert lists.tolist() == [[-1, -1, -1], [0, 4, -1]]
    assert missing == 1


def test_a_list_with_items_that_the_split_does_not_know_is_refused(shop):
    split = time_split(read_events(shop, UNTIL), DAY, UNTIL)

    with pytest.raises(EvaluationError, match="give time_split the same catalogue"):
        split.align(pa.array(["bob"]), pa.array(["unheard of"]), np.array([[0]]))


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
        said(lake)
    assert said(lake, truth="any")["n_users"]["all"] == 1


def test_a_lake_without_events_names_the_job_that_brings_them(lake):
    with pytest.raises(MissingPartitionError, match=r"run topshelf stage ingest --ds 2026-02-14"):
        read_events(lake, UNTIL)


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
    assert shop.get_json(f"marts/evaluation/ds={DAY}/published.json")["window"]["until"] == "2026-02-13"


def test_one_end_for_several_days_is_refused(shop):
    with pytest.raises(EvaluationError, match="of several --ds, say --days"):
        topshelf("evaluate", "--ds", DAY, "--ds", "2026-02-01", "--until", UNTIL, "--lake", shop.root)


def test_the_command_ends_with_the_remedy_and_no_traceback(shop):
    with pytest.raises(EvaluationError, match="--until 2026-01-01 is not after"):
        topshelf("evaluate", "--ds", DAY, "--until", "2026-01-01", "--lake", shop.root)


def test_the_table_tells_of_users_without_a_shelf_and_of_what_was_skipped(shop, capsys):
    print_report(said(shop) | {"n_users_without_shelf": 3, "skipped": {"ease": "too many items"}})

    printed = capsys.readouterr().out
    assert "3 users had no shelf" in printed
    assert "ease was skipped: too many items" in printed


def land(landing: Path, first: date, until: date) -> None:
    """Land the same shop as csv, a marked folder for each day."""
    for ds in (first + timedelta(days=n) for n in range((until - first).days + 1)):
        folder = landing / "events" / f"ds={ds}"
        folder.mkdir(parents=True)
        of_day = [event for event in BOUGHT if DAY + timedelta(days=event[3]) == ds]
        if of_day:
            lines = [f"{user or ''},{item},{kind},{ds}T12:00:00Z,s1" for user, item, kind, _ in of_day]
            (folder / "events.csv").write_text("\n".join(["user_id,item_id,event_type,ts,session_id", *lines]) + "\n")
        (folder / "_SUCCESS").touch()


def test_days_that_staging_lacks_are_ingested_first_and_tell_the_same(shop, spark, landing, tmp_path):
    land(landing, DAY - timedelta(days=4), UNTIL)
    lake = Lake(str(tmp_path / "ingested"))
    shelve(lake, {"ann": ["jug", "mug", "lid"], "bob": ["mug", "tea"], "cat": ["mug"]})

    report = published(lake, str(landing), DAY, UNTIL, Parameters())

    assert max(lake.days("staging/interactions")) == UNTIL
    assert report == said(shop)


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
        columns = rows[["user_id", "item_id", "event_type", "event_date"]]
        put(lake, "staging/interactions", day, pa.Table.from_pandas(columns, preserve_index=False))
    return lake


@pytest.mark.real_data
def test_the_baselines_reproduce_the_reference_figures_of_online_retail(online_retail):
    until = date(2011, 11, 23)
    split = time_split(read_events(online_retail, until), date(2011, 11, 9), until)
    lists, skipped = split_baselines(split)

    assert not skipped
    assert set(lists) == {*REFERENCE, "als"}
    for name, figures in REFERENCE.items():
        of = split.score(lists[name])
        assert of.n_users == {"all": 861, "new": 778}
        found = [of.metrics[kind][metric] for kind in ("all", "new") for metric in ("recall@20", "ndcg@20")]
        assert found == pytest.approx(figures, abs=0.003), name
    als = split.score(lists["als"]).metrics["all"]
    assert als["recall@20"] >= 0.2214  # what implicit's ALS of 128 factors was measured to reach
    assert als["ndcg@20"] >= 0.2396
