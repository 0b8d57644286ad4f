"""Which order of what shoppers bought foretells what they buy again, beside plainer orders and the ranked shelf.

    TOPSHELF_DATA=DATA python -m tests.bench buy_again

Online Retail, and the synthetic shop, whose staples have a rhythm. Each shopper with purchases on both sides of a day
has what they bought before it ordered; a hit is an item that they buy again in the 14 days after it. The order and
its constants were chosen on CHOSEN_ON; the days after the last night are the ones to report. Intervals of 95% are of
1,000 bootstrap samples of shoppers.
"""

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from scipy import sparse

from jobs.config.parameters import Parameters
from jobs.config.settings import Settings
from jobs.evaluation.evaluate import shelf_lists
from jobs.evaluation.time_split import TimeSplit, read_events, time_split
from jobs.lake.lake import Lake
from jobs.lake.tables import ITEM, SHOPPER_LISTS, USER_ITEM
from jobs.landing.adapters.online_retail import online_retail
from jobs.night.run import run_stages
from jobs.night.stages import STAGES
from jobs.numeric.arrays import Positions, Values, Whole, rank_in_group
from jobs.numeric.list_metrics import hits, intervals, user_values
from jobs.spark.session import session
from jobs.synthetic.shop import synthetic_shop
from tests.bench.figures import Figure

K, WINDOW_DAYS = 10, 14
CHOSEN_ON = (
    *(date(2011, 6, 8), date(2011, 7, 6), date(2011, 8, 3), date(2011, 8, 31)),
    *(date(2011, 9, 28), date(2011, 10, 12), date(2011, 10, 26)),
)
NIGHT, LAST = date(2011, 11, 9), date(2011, 11, 23)
SHOP = (4_000, 2_000, 160_000, date(2026, 1, 1), date(2026, 3, 31), 7)
SHOP_NIGHT = date(2026, 3, 17)
PARAMETERS = Parameters().with_values({"shelves.top_n": 300, "shelves.own_list_length": 20})
Metrics = dict[str, Values]


@dataclass(frozen=True)
class Bought:
    """What the split's shoppers had bought, a row a pair: positions in the split, and columns of the features."""

    user: Whole
    item: Whole
    column: Mapping[str, Values]


def bought(lake: Lake, split: TimeSplit) -> Bought:
    """Read the pairs as of the split's day."""
    pairs = lake.arrow(USER_ITEM, split.ds)
    pairs = pairs.filter(pc.greater(pairs["purchase_day_count"], 0))
    items = lake.arrow(ITEM, split.ds).sort_by("item_pos")
    user = pc.index_in(pairs["user_id"], value_set=split.user_ids).fill_null(-1).to_numpy()
    item = pc.index_in(pairs["item_id"], value_set=split.item_ids).to_numpy()
    mine, at = user >= 0, pairs["item_pos"].to_numpy()
    named = ("purchaser_count_30d", "purchaser_count_total", "repeat_purchaser_count")
    column = {name: items[name].to_numpy()[at].astype(float) for name in named}
    column["item_gap"] = items["mean_gap_days"].to_numpy()[at]
    own = ("purchase_day_count", "purchase_count", "days_since_last_purchase", "days_since_first_purchase")
    column |= {name: pairs[name].to_numpy().astype(float) for name in (*own, "mean_gap_days", "gap_sd_days")}
    counts = [pc.sum(items[name]).as_py() for name in ("repeat_purchaser_count", "purchaser_count_total")]
    column["shop"] = np.full(len(at), counts[0] / counts[1])
    return Bought(user[mine], item[mine], {name: values[mine] for name, values in column.items()})


def parts(of: Bought) -> dict[str, Values]:
    """Return the factors of `sql/marts/shopper_lists.sql` by name."""
    c = of.column
    days, since = c["purchase_day_count"], c["days_since_last_purchase"]
    returned = (c["repeat_purchaser_count"] + 5 * c["shop"]) / (c["purchaser_count_total"] + 5)
    gap = (np.nan_to_num(c["mean_gap_days"]) * (days - 1) + np.nan_to_num(c["item_gap"], nan=30.0)) / days
    with np.errstate(divide="ignore", invalid="ignore"):
        even = np.maximum(0, 1 - c["gap_sd_days"] / c["mean_gap_days"]) * (1 - 1 / (days - 1))
    early = np.maximum(0, 1 - (since + 1) / gap)
    return {
        "days": days,
        "buyers of 30 days": np.sqrt(c["purchaser_count_30d"] + 0.5),
        "share who came back": (returned / (c["purchaser_count_total"] + 1)) ** 0.25,
        "fading": 200 / (200 + since),
        "rest": 1 - early * early * (1 + np.where(days > 2, even, 0)) / 2,
    }


def poisson_gamma(of: Bought, *, modified: bool) -> Values:
    """Return P(bought again within the window): the share who came back times a Poisson-Gamma rate.

    `modified` shifts the rate by the time since the last purchase. Bhagat et al., Buy It Again: Modeling Repeat
    Purchase Recommendations, KDD 2018. The Gamma's mean is one purchase a gap of the item, worth one purchase.
    """
    c = of.column
    days, since = c["purchase_day_count"], c["days_since_last_purchase"]
    span, item_gap = c["days_since_first_purchase"] - since, np.nan_to_num(c["item_gap"], nan=30.0)
    gap = np.where(np.isnan(c["mean_gap_days"]), item_gap, c["mean_gap_days"])
    waited = np.where(since < 2 * gap, 2 * np.abs(gap - since), since) if modified else since
    rate = (days + 1) / (span + waited + item_gap)
    returned = (c["repeat_purchaser_count"] + 10 * c["shop"]) / (c["purchaser_count_total"] + 10)
    return np.asarray(returned * -np.expm1(-rate * WINDOW_DAYS))


def orders(of: Bought) -> dict[str, Values]:
    """Return a score of each pair by the name of the order."""
    c, factors = of.column, parts(of)
    without = {
        f"without {name}": np.prod([part for other, part in factors.items() if other != name], axis=0)
        for name in factors
    }
    return {
        "most often bought, then last": c["purchase_day_count"] - c["days_since_last_purchase"] / 1e4,
        "most often bought, then popular": c["purchase_day_count"] + c["purchaser_count_30d"] / 1e6,
        "last bought": -c["days_since_last_purchase"],
        "bought before (rows, then popular)": c["purchase_count"] + c["purchaser_count_30d"] / 1e6,
        "Poisson-Gamma x share who came back": poisson_gamma(of, modified=False),
        "the same, modified (Bhagat et al.)": poisson_gamma(of, modified=True),
        **without,
    }


def listed(of: Bought, score: Values, n_users: int) -> Positions:
    """Return each user's first K items by score [n_users, K], ties by item."""
    order = np.lexsort((of.item, -score, of.user))
    user, item = of.user[order], of.item[order]
    rank = rank_in_group(user)
    lists = np.full((n_users, K), -1, dtype=np.int64)
    lists[user[rank < K], rank[rank < K]] = item[rank < K]
    return lists


def stored(lake: Lake, split: TimeSplit) -> Positions:
    """Return the list `buy_again` of the night, as `listed` does."""
    rows = lake.arrow(SHOPPER_LISTS, split.ds)
    rows = rows.filter(pc.and_(pc.equal(rows["list"], "buy_again"), pc.less_equal(rows["rank"], K)))
    user = pc.index_in(rows["user_id"], value_set=split.user_ids).fill_null(-1).to_numpy()
    item = pc.index_in(rows["item_id"], value_set=split.item_ids).to_numpy()
    lists = np.full((len(split.user_ids), K), -1, dtype=np.int64)
    lists[user[user >= 0], rows["rank"].to_numpy()[user >= 0] - 1] = item[user >= 0]
    return lists


def ranked_shelf(lake: Lake, split: TimeSplit) -> Positions:
    """Return what the ranked shelf holds of what was bought before, as `listed` does."""
    shelves = split.align(*shelf_lists(lake, split.ds))[0]
    known = hits(shelves, split.seen)
    order = np.argsort(~known, axis=1, kind="stable")
    only_known = np.where(known, shelves, -1)
    return np.asarray(np.take_along_axis(only_known, order, 1)[:, :K])


def metrics(split: TimeSplit, lists: Positions) -> Metrics:
    """Return NDCG, hit rate and precision at K of each user; who bought nothing again has 0."""
    again = sparse.csr_matrix(split.truth.multiply(split.seen))
    found = user_values(lists, again, K)
    precision = hits(lists, again).sum(axis=1) / K
    return {"NDCG": found[f"ndcg@{K}"], "hit rate": found[f"hit_rate@{K}"], "precision": precision}


def of_day(lake: Lake, ds: date, *, with_shelf: bool = False) -> dict[str, Metrics]:
    """Return each order's metrics by name, of the days after `ds`; the night's list comes first."""
    until = ds + timedelta(days=WINDOW_DAYS)
    catalogue = shelf_lists(lake, ds)[1] if with_shelf else None  # a shelf may hold what has no event yet
    split = time_split(read_events(lake, until), ds, until, truth="purchase", catalogue=catalogue)
    of = bought(lake, split)
    found = {"the night's list": metrics(split, stored(lake, split))}
    if with_shelf:
        found["the ranked shelf (300), bought ones alone"] = metrics(split, ranked_shelf(lake, split))
    scores = orders(of).items()
    return found | {name: metrics(split, listed(of, score, len(split.user_ids))) for name, score in scores}


def reported(told: str, found: dict[str, Metrics]) -> list[Figure]:
    """Return the figures of one day, with intervals and the night's margin over each order."""
    figures, ours = [], found["the night's list"]
    figures.append(Figure(f"{told}: shoppers with purchases on both sides", len(ours["NDCG"]), ""))
    for name, of in found.items():
        for metric, values in of.items():
            low, high = intervals({metric: values})[metric]
            what = f"{told}, {name}: {metric}@{K} ({low:.4f} to {high:.4f})"
            figures.append(Figure(what, float(values.mean()), ""))
        if of is not ours:
            margin = ours["NDCG"] - of["NDCG"]
            low, high = intervals({"margin": margin})["margin"]
            what = f"{told}: the list's NDCG@{K} over {name} ({low:+.4f} to {high:+.4f})"
            figures.append(Figure(what, float(margin.mean()), ""))
    return figures


def means(told: str, days: list[dict[str, Metrics]]) -> list[Figure]:
    """Return each order's mean over some days."""
    return [
        Figure(f"{told}, {name}: {metric}@{K}", float(np.mean([day[name][metric].mean() for day in days])), "")
        for name in days[0]
        for metric in days[0][name]
    ]


def in_a_lake(land: Callable[[Settings], object], run: Callable[[Settings], list[Figure]]) -> list[Figure]:
    """Return what `run` measures in a shop that `land` lands."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.below(Path(folder))
        land(settings)
        return run(settings)


def of_online_retail(settings: Settings) -> list[Figure]:
    run_stages(settings, PARAMETERS, LAST, ["ingest"])
    for ds in CHOSEN_ON:
        run_stages(settings, PARAMETERS, ds, ["features", "shopper_lists"])
    names = [stage.name for stage in STAGES]
    run_stages(settings, PARAMETERS, NIGHT, names[1 : names.index("shopper_lists") + 1])
    lake = Lake(settings.lake)
    chosen = means("chosen on seven days", [of_day(lake, ds) for ds in CHOSEN_ON])
    return chosen + reported(f"after {NIGHT}", of_day(lake, NIGHT, with_shelf=True))


def of_synthetic_shop(settings: Settings) -> list[Figure]:
    run_stages(settings, PARAMETERS, SHOP_NIGHT + timedelta(days=WINDOW_DAYS), ["ingest"])
    run_stages(settings, PARAMETERS, SHOP_NIGHT, ["features", "shopper_lists"])
    return reported("synthetic shop", of_day(Lake(settings.lake), SHOP_NIGHT))


def main() -> list[Figure]:
    data = os.environ.get("TOPSHELF_DATA")
    if not data:
        pytest.skip("TOPSHELF_DATA does not name the folder of published shop data")
    published = Path(data) / "online_retail"
    retail = in_a_lake(lambda settings: online_retail(published, Path(settings.landing)), of_online_retail)
    return retail + in_a_lake(
        lambda settings: synthetic_shop(session(), Path(settings.landing), Path(settings.landing, "truth"), *SHOP),
        of_synthetic_shop,
    )
