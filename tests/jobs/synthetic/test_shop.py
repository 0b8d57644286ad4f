"""The synthetic shop is repeatable, coherent, worth learning and impossible to please with popularity alone."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from pyspark.sql import SparkSession

from jobs.lake.contracts import contract
from jobs.synthetic import rows as synthetic_rows
from jobs.synthetic.catalogue import Shop, ShopSizeError, is_available, item_ids, items_of, numbers, titles, user_ids
from jobs.synthetic.shop import MARKER, TABLES, LandingInUseError, ShopSummary, synthetic_shop
from jobs.synthetic.shoppers import season
from jobs.synthetic.truth import NoTruthError, best_shelves, best_value, true_value
from jobs.synthetic.words import LEAVES

SHOP = Shop(1_500, 800, 40_000, date(2026, 1, 1), date(2026, 1, 30), seed=7)


class Made:
    """A shop that was made once for all tests of this module: its folders and its rows."""

    def __init__(self, root: Path, summary: ShopSummary) -> None:
        self.landing, self.truth, self.summary = root / "landing", root / "truth", summary
        self.events, self.items, self.users, self.exposures = (self.rows(table) for table in TABLES)

    def rows(self, table: str) -> pd.DataFrame:
        partitions = ds.partitioning(pa.schema([("ds", pa.string())]), flavor="hive")
        return (
            ds.dataset(self.landing / table, partitioning=partitions, exclude_invalid_files=True)
            .to_table()
            .to_pandas()
        )


def make(spark: SparkSession, root: Path, shop: Shop = SHOP) -> ShopSummary:
    return synthetic_shop(
        spark,
        root / "landing",
        root / "truth",
        users=shop.users,
        items=shop.items,
        events_target=shop.events_target,
        first_day=shop.first_day,
        last_day=shop.last_day,
        seed=shop.seed,
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("shop")
    return Made(root, make(spark, root))


@pytest.fixture(scope="module")
def regulars(made: Made) -> list[str]:
    """Two hundred shoppers with a history."""
    known = sorted(made.events["user_id"].dropna().unique())
    return [str(user) for user in np.random.default_rng(0).choice(known, 200, replace=False)]


@pytest.fixture(scope="module")
def popular(made: Made) -> list[str]:
    """What can be bought on the last day, by distinct buyers, the most first."""
    bought = made.events[made.events["event_type"] == "purchase"].drop_duplicates(["user_id", "item_id"])
    counts = bought["item_id"].value_counts().rename("n").reset_index()
    there = set(on_sale(SHOP, SHOP.days - 1))
    ordered = counts.sort_values(["n", "item_id"], ascending=[False, True])["item_id"]
    return [item for item in ordered if item in there]


def on_sale(shop: Shop, day: int) -> list[str]:
    catalogue = items_of(shop)
    return item_ids(np.flatnonzero(is_available(shop, catalogue, catalogue.number, np.full(shop.items, day))))


def direct(shop: Shop, make_rows: object, size: int, batch: int) -> pd.DataFrame:
    parts = (np.arange(at, min(at + batch, size)) for at in range(0, size, batch))
    batches = [rows for part in parts for rows in make_rows(shop, part)]  # type: ignore[operator]
    return pa.Table.from_batches(batches).to_pandas()


def test_every_day_is_marked_and_its_columns_are_those_of_the_landing_format(made: Made) -> None:
    days = sorted(path.name for path in (made.landing / "events").iterdir())
    assert days == [f"ds={SHOP.day(number)}" for number in range(SHOP.days)]
    for table in TABLES:
        folders = list((made.landing / table).iterdir())
        assert folders and all((folder / "_SUCCESS").exists() for folder in folders)
        name = "interactions" if table == "events" else table
        wanted = {column.name for column in contract(f"staging/{name}").landing}
        assert set(made.rows(table).columns) - {"ds"} <= wanted


def test_about_as_many_events_come_out_as_were_asked_for(made: Made) -> None:
    assert made.summary.rows["events"] == len(made.events) == pytest.approx(SHOP.events_target, rel=0.1)
    assert set(made.events["event_type"]) == {"view", "add_to_cart", "purchase", "rating", "click"}


def test_spark_lands_the_rows_that_one_batch_of_everybody_makes(made: Made) -> None:
    columns = [column for column in made.events.columns if column != "ds"]
    landed = made.events[columns].sort_values("event_id", ignore_index=True)
    whole = direct(SHOP, synthetic_rows.event_rows, SHOP.users, SHOP.users)[columns]
    pd.testing.assert_frame_equal(landed, whole.sort_values("event_id", ignore_index=True), check_exact=True)


@pytest.mark.parametrize("table", ["event_rows", "exposure_rows", "user_rows", "item_rows"])
def test_how_the_work_is_cut_changes_no_row(table: str) -> None:
    shop = Shop(300, 200, 6_000, date(2026, 1, 1), date(2026, 1, 14), seed=3)
    size = shop.items if table == "item_rows" else shop.users
    rows = getattr(synthetic_rows, table)
    whole, cut = direct(shop, rows, size, size), direct(shop, rows, size, 37)
    keys = [
        column for column in ("ds", "event_id", "request_id", "position", "item_id", "user_id") if column in whole
    ]
    pd.testing.assert_frame_equal(
        whole.sort_values(keys, ignore_index=True), cut.sort_values(keys, ignore_index=True), check_exact=True
    )


def test_an_embedding_shows_an_item_s_style_and_noise_hides_it() -> None:
    seen = []
    for noise in (0.0, 1.0, 1000.0):
        shop = replace(SHOP, items=200, embedding_noise=noise)
        landed = direct(shop, synthetic_rows.item_rows, 200, 37).drop_duplicates("item_id")
        likeness = np.corrcoef(np.stack(landed["embedding"]) - np.mean(landed["embedding"], axis=0))
        true = np.corrcoef(items_of(shop).style[numbers(landed["item_id"].tolist())])
        pairs = np.triu_indices(len(landed), 1)
        seen.append(np.corrcoef(likeness[pairs], true[pairs])[0, 1])
    assert seen[0] > 0.8 and 0.3 < seen[1] < 0.8 and abs(seen[2]) < 0.1
    assert "embedding" not in direct(replace(SHOP, items=50), synthetic_rows.item_rows, 50, 50)


def test_another_seed_makes_another_shop() -> None:
    first, second = (
        direct(Shop(50, 100, 1_000, date(2026, 1, 1), date(2026, 1, 7), seed), synthetic_rows.event_rows, 50, 50)
        for seed in (1, 2)
    )
    assert not set(first["event_id"]) & set(second["event_id"])


def test_popularity_reaches_less_than_half_of_the_best_value(
    made: Made, regulars: list[str], popular: list[str]
) -> None:
    best = best_value(made.truth, regulars).sum()
    assert true_value(made.truth, regulars, [popular[:20]] * len(regulars)).sum() < 0.5 * best


def test_a_shopper_s_own_history_leads_to_more_value_than_popularity(
    made: Made, regulars: list[str], popular: list[str]
) -> None:
    known = made.events.dropna(subset="user_id")
    users, user_of = pd.factorize(known["user_id"])
    items, item_of = pd.factorize(known["item_id"])
    seen = np.zeros((len(user_of), len(item_of)), dtype=np.float32)
    seen[users, items] = 1
    cosine = seen.T @ seen
    cosine /= np.sqrt(np.outer(cosine.diagonal(), cosine.diagonal()))
    there = np.isin(item_of, popular)
    rows = pd.Index(user_of).get_indexer(regulars)
    scores = np.where(there, seen[rows] @ cosine, -1)
    neighbours = [[str(item_of[at]) for at in np.argsort(-row, kind="stable")[:20]] for row in scores]
    ours = true_value(made.truth, regulars, neighbours).sum()
    assert ours > 1.3 * true_value(made.truth, regulars, [popular[:20]] * len(regulars)).sum()


def test_no_shelf_beats_the_best_one(made: Made, regulars: list[str], popular: list[str]) -> None:
    few = regulars[:20]
    shelves, worth = best_shelves(made.truth, few, k=20)
    assert true_value(made.truth, few, shelves) == pytest.approx(worth)
    swapped = [[*shelf[:19], next(item for item in popular if item not in shelf)] for shelf in shelves]
    assert (true_value(made.truth, few, swapped) <= worth).all()


def test_the_side_tables_alone_give_the_true_value(made: Made, regulars: list[str], popular: list[str]) -> None:
    users = ds.dataset(made.truth / "users", exclude_invalid_files=True).to_table().to_pandas().set_index("user_id")
    items = ds.dataset(made.truth / "items", exclude_invalid_files=True).to_table().to_pandas().set_index("item_id")
    seasons = ds.dataset(made.truth / "seasons").to_table().to_pandas()
    seasons = seasons[seasons["ds"].astype(str) == str(SHOP.last_day)].set_index("category")["season"]
    prices = made.items.sort_values("ds").groupby("item_id")["price"].last()
    user, item = users.loc[regulars[0]], items.loc[popular[3]]
    full, paid = item["full_price_minor"], float(prices[popular[3]]) * 100
    dearer = item["price_level"] + np.log(paid / full) - user["wanted_price_level"]
    utility = (
        user["category_worth"][item["leaf"]]
        + seasons[item["category"]]
        + user["brand_worth"][item["brand"]]
        + item["quality"]
        + float(np.dot(user["taste"], item["style"]))
        - user["price_sensitivity"] * (dearer if dearer > 0 else -0.3 * dearer)
        + (1.5 if popular[3] in set(user["staples"]) else 0.0)
    )
    expected = 1 / (1 + np.exp(7 - utility))
    assert true_value(made.truth, regulars[:1], [[popular[3]]])[0] == pytest.approx(expected, rel=1e-6)


def test_an_item_counts_once_and_only_while_it_can_be_bought(made: Made, regulars: list[str]) -> None:
    there = on_sale(SHOP, SHOP.days - 1)
    gone = sorted(set(item_ids(np.arange(SHOP.items))) - set(there))
    once = true_value(made.truth, regulars[:1], [[there[0]]])
    assert once > 0
    assert true_value(made.truth, regulars[:1], [[there[0], there[0], *gone]]) == pytest.approx(once)


def test_what_the_truth_does_not_know_is_refused_by_name(made: Made, regulars: list[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="item 'I000000001' is not of this synthetic shop"):
        true_value(made.truth, regulars[:1], [["I000000001"]])
    with pytest.raises(ValueError, match="give one from 2026-01-01 to 2026-01-30"):
        best_value(made.truth, regulars[:1], day=date(2026, 3, 1))
    with pytest.raises(NoTruthError, match=r"shop\.json is not there; run topshelf synthetic-shop --truth"):
        true_value(tmp_path, [], [])


def test_propensities_are_the_policy_s_true_chances() -> None:
    # The mean of 1 / propensity is the number of items that could stand there, if and only if propensities are right.
    shop = Shop(4_000, 150, 400_000, date(2026, 1, 1), date(2026, 1, 7), seed=5)
    shown = direct(shop, synthetic_rows.exposure_rows, shop.users, shop.users)
    assert shown["propensity"].between(0, 1, inclusive="right").all()
    could = shown["eligible_count"] - shown["position"]
    ratio = (1 / shown["propensity"] / could).groupby(shown["position"]).mean()
    assert ratio.to_numpy() == pytest.approx(1.0, abs=0.03)
    # And item by item: the best-known of each category were offered the first place of every shelf, at their chance.
    first = shown[shown["position"] == 0]
    throughout = set.intersection(*(set(on_sale(shop, day)) for day in range(shop.days)))
    known = [item for item in item_ids(np.arange(60)) if item in throughout]
    weight = (1 / first["propensity"]).groupby(first["item_id"]).sum().reindex(known) / len(first)
    assert len(known) > 20
    assert weight.to_numpy() == pytest.approx(1.0, abs=0.5)
    assert weight.mean() == pytest.approx(1.0, abs=0.05)


def test_a_shelf_holds_ten_different_items_that_could_be_bought(made: Made) -> None:
    shelves = made.exposures.groupby("request_id")
    assert (shelves["item_id"].nunique() == 10).all()
    assert (shelves["position"].max() == 9).all()
    for day, shown in made.exposures.groupby("ds"):
        number = (date.fromisoformat(str(day)) - SHOP.first_day).days
        there = on_sale(SHOP, number)
        assert set(shown["item_id"]) <= set(there)
        assert set(shown["eligible_count"]) == {len(there)}


def test_every_click_is_on_an_item_that_was_shown_there(made: Made) -> None:
    clicks = made.events[made.events["event_type"] == "click"]
    shown = clicks.merge(made.exposures, on=["request_id", "position", "item_id", "ds"], how="left")
    assert len(clicks) > 100
    assert shown["propensity"].notna().all()
    # Attention falls with position.
    assert (clicks["position"] < 5).mean() > 0.5


def test_purchases_pay_the_landed_price_of_an_item_in_stock(made: Made) -> None:
    bought = made.events[made.events["event_type"] == "purchase"].sort_values("ds", kind="stable")
    bought = bought.assign(day=pd.to_datetime(bought["ds"]))
    items = made.items.assign(day=pd.to_datetime(made.items["ds"])).sort_values("day", kind="stable")
    as_landed = pd.merge_asof(bought, items, on="day", by="item_id")
    assert (as_landed["unit_price"] == as_landed["price"]).all()
    assert (as_landed["stock"] > 0).all()
    assert not as_landed["deleted"].astype(bool).any()


def test_stock_runs_out_and_returns(made: Made) -> None:
    stock = made.items.sort_values(["item_id", "ds"]).groupby("item_id")["stock"]
    out, back = made.items["stock"] == 0, stock.shift(-1) > 0
    assert (out & back.reindex(out.index)).sum() > 10


def test_new_items_come_every_day_and_some_shoppers_never(made: Made) -> None:
    assert made.items.groupby("item_id")["ds"].min().nunique() == SHOP.days
    active = made.events["user_id"].nunique()
    assert 0.5 * SHOP.users < active < 0.97 * SHOP.users
    signed_up = made.users.set_index("user_id")["ds"]
    known = made.events.dropna(subset="user_id")
    assert (signed_up[known["user_id"]].to_numpy() <= known["ds"].to_numpy()).all()


def test_anonymous_visits_name_no_user_and_no_one_can_tell_whose_they_are(made: Made) -> None:
    anonymous = made.events[made.events["user_id"].isna()]
    assert len(anonymous) > 0
    assert anonymous["session_id"].notna().all()
    assert made.events.groupby("session_id")["user_id"].nunique(dropna=False).max() == 1


def test_events_happen_on_the_day_they_land(made: Made) -> None:
    assert (made.events["ts"].dt.strftime("%Y-%m-%d") == made.events["ds"]).all()
    assert made.events["event_id"].is_unique


def test_a_category_sells_best_in_its_month() -> None:
    year = Shop(10, 100, 0, date(2026, 1, 1), date(2026, 12, 31), seed=1)
    barbecue = next(at for at, leaf in enumerate(LEAVES) if leaf.path.endswith("barbecue"))
    assert year.day(int(season(year)[:, barbecue].argmax())).month == LEAVES[barbecue].peak_month == 6


def test_a_grocer_s_shoppers_come_about_weekly_and_buy_a_basket_of_the_same_again() -> None:
    days = (date(2025, 8, 1), date(2026, 1, 31))
    shop = Shop(300, 800, 60_000, *days, 7, groceries=True)
    bought = direct(shop, synthetic_rows.event_rows, shop.users, 128).query(
        "event_type == 'purchase' and user_id.notna()"
    )
    assert (
        0.7 * shop.events_target
        < len(direct(shop, synthetic_rows.event_rows, shop.users, 300))
        < 1.3 * shop.events_target
    )
    bought = bought.sort_values("ts")
    again = bought.duplicated(["user_id", "item_id"])[bought["ds"] >= date(2025, 11, 1)].mean()
    assert 0.65 < again < 0.85
    baskets = bought.groupby(["user_id", "session_id"])
    lines = baskets.size()
    assert 6 < lines[lines > 3].median() < 14
    first = pd.to_datetime(baskets["ds"].first()[lines > 3].reset_index()["ds"])
    users = baskets["ds"].first()[lines > 3].reset_index()["user_id"]
    assert first.groupby(users).diff().dt.days.median() == 7


def test_ids_can_be_undone_and_titles_are_all_different() -> None:
    shop = Shop(10, 30_000, 0, date(2026, 1, 1), date(2026, 1, 2), seed=1)
    number = np.arange(30_000)
    assert (numbers(item_ids(number)) == number).all()
    assert (numbers(user_ids(number)) == number).all()
    named = titles(shop, number)
    assert len(set(named)) == 30_000
    assert all(any(noun in title for noun in LEAVES[at % 60].nouns) for at, title in enumerate(named))


def test_the_same_shop_again_touches_nothing(spark: SparkSession, made: Made) -> None:
    files = {path: path.stat().st_mtime_ns for path in made.landing.rglob("*")}
    again = make(spark, made.landing.parent)
    assert not again.was_made
    assert again.rows == made.summary.rows
    assert {path: path.stat().st_mtime_ns for path in made.landing.rglob("*")} == files


def test_a_landing_of_another_origin_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "landing/events/ds=2026-01-01").mkdir(parents=True)
    with pytest.raises(LandingInUseError, match="already holds events, which the synthetic shop did not make"):
        make(spark, tmp_path)


def test_a_tiny_shop_replaces_one_that_was_left_half_made(spark: SparkSession, tmp_path: Path) -> None:
    tiny = Shop(20, 30, 200, date(2026, 1, 1), date(2026, 1, 3), seed=1)
    make(spark, tmp_path, tiny)
    whole = contents(tmp_path / "landing")
    (tmp_path / "landing" / MARKER).write_text('{"shop": "begun and then killed"}')
    stale = tmp_path / "landing/events/ds=2025-12-31"
    stale.mkdir()
    assert make(spark, tmp_path, tiny).was_made
    # Names and bytes, not only rows: a night's identity is the hash of what landed.
    assert contents(tmp_path / "landing") == whole
    assert not stale.exists()


def test_sizes_that_no_shop_has_are_refused() -> None:
    with pytest.raises(ShopSizeError, match="users=0"):
        Shop(0, 1, 1, date(2026, 1, 1), date(2026, 1, 1), 1)
    with pytest.raises(ShopSizeError, match="nothing to make"):
        Shop(1, 1, 1, date(2026, 1, 2), date(2026, 1, 1), 1)
