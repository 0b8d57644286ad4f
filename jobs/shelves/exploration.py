"""Build `marts/exploration` for one day: pools of items worth learning about, and 256 orderings of each pool.

    topshelf stage exploration --ds 2026-01-31

A pool holds new items and uncertain ones: items whose click rate may be high but is not known well. Thompson sampling
(Chapelle and Li, "An Empirical Evaluation of Thompson Sampling", 2011): each ordering draws a rate from every item's
Beta posterior and puts the highest first. Posteriors are computed each night from a window of exposures and what
followed them; nothing is carried over from the night before. The endpoint picks an ordering for each request.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.candidates.eligibility import load_eligibility
from jobs.config.parameters import Parameters
from jobs.features.catalogue import NEW_ITEM_DAYS, Catalogue, load_catalogue
from jobs.features.exposure_outcomes import FOLLOW_MINUTES, PLACES
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest, digest_of
from jobs.lake.tables import EXPLORATION, EXPOSURES, INTERACTIONS, ITEM
from jobs.numeric.arrays import Flags, Floats, Values, Whole
from jobs.spark.engine import engine_for
from serving.snapshot.contents import ORDERINGS, Pool

STAGED = (EXPOSURES, INTERACTIONS)
WINDOW_DAYS = 28
POOL_ITEMS = 100
"""Most items of each kind in a pool."""
MIN_POOL_ITEMS = 20
"""A category with fewer items has no pool of its own; requests for it use the pool of all items."""
MAX_CATEGORY_POOLS = 64
PRIOR_EXPOSURES = 20.0
"""The prior weighs as much as this many exposures; so does the shop's rate in the prior of a category."""
FIRST_GUESS = (1.0, 19.0)
"""Clicks and misses that are assumed before the shop's first exposure: one click in twenty."""
KNOWN_WITHIN = 0.25
"""An item leaves the pools once its rate's standard deviation falls below this share of the rate."""


@dataclass(frozen=True)
class PoolItems:
    """The items of one pool, before they are ordered; all arrays have one length."""

    pool: str
    """The category; empty for the pool of all items."""
    position: Whole
    """In the catalogue."""
    new: Flags
    """New items; the others are uncertain ones."""
    alpha: Values
    """With `beta`, each item's posterior."""
    beta: Values
    prior: tuple[float, float]
    """Alpha and beta that all posteriors start from."""


def pool_items(catalogue: Catalogue, exposures: Whole, clicks: Whole) -> list[PoolItems]:
    """Return the pool of all items and one for each first-level category, with at most POOL_ITEMS of each kind.

    `exposures` and `clicks` are [n_items]. The highest upper bounds (mean plus two standard deviations) come first;
    ties by this month's weight, then youngest first, then by position.
    """
    shop_rate = (FIRST_GUESS[0] + clicks.sum()) / (sum(FIRST_GUESS) + exposures.sum())
    everything = np.arange(len(catalogue))
    pools = [_pool(catalogue, "", everything, exposures, clicks, shop_rate)]
    first_level = np.array([name.split("/")[0] for name in catalogue.category_names] + [""])
    category_of_item = first_level[catalogue.category_code]  # code -1, for none, picks the last entry
    for category in sorted(set(first_level.tolist()) - {""}):
        rows = everything[category_of_item == category]
        shown = float(exposures[rows].sum())
        rate = (clicks[rows].sum() + shop_rate * PRIOR_EXPOSURES) / (shown + PRIOR_EXPOSURES)
        pools.append(_pool(catalogue, category, rows, exposures, clicks, rate))
    largest_first = sorted(pools[1:], key=lambda pool: (-len(pool.position), pool.pool))
    enough = [pool for pool in largest_first if len(pool.position) >= MIN_POOL_ITEMS][:MAX_CATEGORY_POOLS]
    return [pools[0], *sorted(enough, key=lambda pool: pool.pool)]


def _pool(catalogue: Catalogue, pool: str, rows: Whole, exposures: Whole, clicks: Whole, rate: float) -> PoolItems:
    """Return the pool of the items in `rows`, with a prior of this click rate."""
    prior = (rate * PRIOR_EXPOSURES, (1 - rate) * PRIOR_EXPOSURES)
    alpha = prior[0] + clicks[rows]
    beta = prior[1] + exposures[rows] - clicks[rows]
    mean = alpha / (alpha + beta)
    deviation = np.sqrt(mean * (1 - mean) / (alpha + beta + 1))
    age = catalogue.columns["age_days"][rows]
    new = age <= NEW_ITEM_DAYS
    is_uncertain = catalogue.listed[rows] & (deviation >= KNOWN_WITHIN * mean)
    weight = np.nan_to_num(catalogue.columns["weight_30d"][rows].astype(np.float64))
    order = np.lexsort((rows, age, -weight, -(mean + 2 * deviation)))
    order = order[is_uncertain[order]]
    chosen = np.concatenate([order[new[order]][:POOL_ITEMS], order[~new[order]][:POOL_ITEMS]])
    return PoolItems(pool, rows[chosen], new[chosen], alpha[chosen], beta[chosen], prior)


def draws(items: PoolItems, seed: int, ds: date) -> Floats:
    """Return [ORDERINGS, items] draws from the items' posteriors; the same for the same pool and day."""
    rng = np.random.default_rng([seed, ds.toordinal(), zlib.crc32(items.pool.encode())])
    return rng.beta(items.alpha, items.beta, size=(ORDERINGS, len(items.position))).astype(np.float32)


def exploration(catalogue: Catalogue, outcomes: pa.Table, seed: int, ds: date) -> pa.Table:
    """Return the pools as of `ds` as rows of the table; `outcomes` has item_id, exposure_count and click_count."""
    exposures, clicks = outcome_counts(catalogue, outcomes)
    parts = []
    for items in pool_items(catalogue, exposures, clicks):
        count = len(items.position)
        parts.append(
            pa.table(
                {
                    "pool": pa.repeat(items.pool, count),
                    "item_id": catalogue.item_id.take(pa.array(items.position)),
                    "kind": pa.array(np.where(items.new, "new", "uncertain").tolist(), pa.string()),
                    "exposure_count": pa.array(exposures[items.position]),
                    "click_count": pa.array(clicks[items.position]),
                    "alpha": pa.array(items.alpha),
                    "beta": pa.array(items.beta),
                    "prior_alpha": pa.array(np.full(count, items.prior[0])),
                    "prior_beta": pa.array(np.full(count, items.prior[1])),
                    "draws": pa.array(list(draws(items, seed, ds).T), pa.list_(pa.float32())),
                }
            )
        )
    return pa.concat_tables(parts)


def outcome_counts(catalogue: Catalogue, outcomes: pa.Table) -> tuple[Whole, Whole]:
    """Return exposures and clicks of each item of the catalogue; items that left it are dropped."""
    position = pc.index_in(outcomes["item_id"], value_set=catalogue.item_id)
    known = outcomes.append_column("position", position).filter(pc.is_valid(position))
    rows = known["position"].to_numpy()
    exposures, clicks = np.zeros(len(catalogue), np.int64), np.zeros(len(catalogue), np.int64)
    exposures[rows], clicks[rows] = known["exposure_count"].to_numpy(), known["click_count"].to_numpy()
    return exposures, clicks


def pools_of(table: pa.Table, item_ids: Sequence[str]) -> list[Pool]:
    """Return the table's pools as a snapshot stores them: items in the order of the catalogue, pools by name."""
    position = pc.index_in(table["item_id"], value_set=pa.array(item_ids, pa.string()))
    table = table.append_column("position", position).filter(pc.is_valid(position))
    table = table.sort_by([("pool", "ascending"), ("position", "ascending")])
    pools = []
    for name in pc.unique(table["pool"]).to_pylist():
        rows = table.filter(pc.equal(table["pool"], name))
        alpha, beta = rows["alpha"].to_numpy(), rows["beta"].to_numpy()
        drawn = np.stack(rows["draws"].to_numpy())
        prior = (float(rows["prior_alpha"][0].as_py()), float(rows["prior_beta"][0].as_py()))
        new = pc.equal(rows["kind"], "new").to_numpy()
        pools.append(Pool(name, rows["position"].to_numpy(), alpha / (alpha + beta), new, drawn.T, prior))
    return pools


def build(lake: Lake, ds: date, parameters: Parameters) -> Manifest:
    """Build the pools of one day, unless they are already built from the same inputs and parameters.

    Raises:
        MissingPartitionError: the day's features were not built.
    """
    days = {table: _landed_days(lake, table, ds) for table in STAGED}
    inputs = lake.fingerprints(ds, ITEM) | {
        f"{table}/{WINDOW_DAYS} days to {ds}": digest_of(lake.manifest(table, day).fingerprint for day in window)
        for table, window in days.items()
    }
    chosen: dict[str, object] = {"seed": parameters.seed, "window_days": WINDOW_DAYS, "pool_items": POOL_ITEMS}
    chosen |= {"rules": parameters.rules} if parameters.rules else {}

    def write() -> Manifest:
        limits = {"window_days": WINDOW_DAYS, "places": PLACES, "follow_minutes": FOLLOW_MINUTES}
        with engine_for(lake.row_count(EXPOSURES, days[EXPOSURES])) as engine:
            views = {table.split("/")[1]: engine.stored(lake, table, window) for table, window in days.items()}
            followed = engine.query("marts/followed_exposures", views, {"ds": ds, **limits})
            outcomes = engine.arrow(engine.query("marts/exposure_outcomes", {"followed_exposures": followed}, {}))
        table = exploration(_catalogue_for_anybody(lake, ds, parameters.rules), outcomes, parameters.seed, ds)
        metrics = {
            "pools": pc.count_distinct(table["pool"]).as_py(),
            "exposures": pc.sum(outcomes["exposure_count"]).as_py(),
        }
        return lake.write_table(table, EXPLORATION, ds, inputs=inputs, parameters=chosen, metrics=metrics)

    return lake.build_if_stale(EXPLORATION, ds, inputs, chosen, write)


def _catalogue_for_anybody(lake: Lake, ds: date, rules: Mapping[str, object]) -> Catalogue:
    """Return the catalogue without restricted items in its lists: a pool is made for no particular shopper."""
    catalogue, eligibility = load_catalogue(lake, ds), load_eligibility(lake, ds, rules)
    return catalogue if eligibility is None else replace(catalogue, withheld=eligibility.restricted)


def _landed_days(lake: Lake, table: str, ds: date) -> list[date]:
    """Return the days of a staging table that may hold rows of the window."""
    return [day for day in lake.days(table) if ds - timedelta(days=WINDOW_DAYS) < day <= ds]
