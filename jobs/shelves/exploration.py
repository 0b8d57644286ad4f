"""Build `marts/exploration` for one day: the items worth learning about, and 256 orderings of each pool of them.

    topshelf stage exploration --ds 2026-01-31 --lake data/lake

A pool holds new items and uncertain ones, those whose rate of clicks is least known for what it may be. Thompson
sampling (Chapelle and Li, "An Empirical Evaluation of Thompson Sampling", 2011): each ordering draws a rate from
every item's Beta posterior and puts the highest first. Posteriors are computed anew each night from a window of
exposures and what followed them, and never carried on. The endpoint picks an ordering for each request.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import SparkSession

from jobs.candidates.eligibility import load_withheld
from jobs.config.parameters import Parameters
from jobs.features.catalogue import NEW_ITEM_DAYS, Catalogue, load_catalogue
from jobs.features.exposure_outcomes import FOLLOW_MINUTES, PLACES
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest, digest_of
from jobs.lake.tables import EXPLORATION
from jobs.spark.queries import query
from serving.snapshot.contents import ORDERINGS, Pool

STAGED = ("staging/exposures", "staging/interactions")
WINDOW_DAYS = 28
POOL_ITEMS = 100
"""Most items of each kind in a pool."""
MIN_POOL_ITEMS = 20
"""A category with fewer has no pool of its own; requests for it look into the pool of all."""
MAX_CATEGORY_POOLS = 64
PRIOR_EXPOSURES = 20.0
"""How many exposures the prior weighs as much as; a category's own rate is drawn towards the shop's as strongly."""
FIRST_GUESS = (1.0, 19.0)
"""Clicks and misses assumed of the shop before its first exposure: one click in twenty."""
KNOWN_WITHIN = 0.25
"""An item leaves the pools once its rate's standard deviation falls below this share of the rate."""

Counts = npt.NDArray[np.int64]
Rates = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PoolItems:
    """One pool before its orderings: positions in the catalogue, which are new, posteriors, and their prior."""

    pool: str
    position: Rows
    new: npt.NDArray[np.bool_]
    alpha: Rates
    beta: Rates
    prior: tuple[float, float]


def pool_items(catalogue: Catalogue, exposures: Counts, clicks: Counts) -> list[PoolItems]:
    """Return the pools of all and of each first-level category, POOL_ITEMS of each kind at most.

    `exposures` and `clicks` have one entry an item. What may be highest (mean and two standard deviations) comes
    first; ties go to what was wanted most lately, then to the youngest, then by position.
    """
    shop = (FIRST_GUESS[0] + clicks.sum()) / (sum(FIRST_GUESS) + exposures.sum())
    everything = np.arange(len(catalogue))
    pools = [_pool(catalogue, "", everything, exposures, clicks, shop)]
    first_level = np.array([name.split("/")[0] for name in catalogue.category_names] + [""])
    of_item = first_level[catalogue.category_code]  # a code of -1 meets the last, which is none
    for category in sorted(set(first_level.tolist()) - {""}):
        rows = everything[of_item == category]
        shown = float(exposures[rows].sum())
        rate = (clicks[rows].sum() + shop * PRIOR_EXPOSURES) / (shown + PRIOR_EXPOSURES)
        pools.append(_pool(catalogue, category, rows, exposures, clicks, rate))
    own = sorted(pools[1:], key=lambda pool: (-len(pool.position), pool.pool))
    enough = [pool for pool in own if len(pool.position) >= MIN_POOL_ITEMS][:MAX_CATEGORY_POOLS]
    return [pools[0], *sorted(enough, key=lambda pool: pool.pool)]


def _pool(catalogue: Catalogue, pool: str, rows: Rows, exposures: Counts, clicks: Counts, rate: float) -> PoolItems:
    prior = (rate * PRIOR_EXPOSURES, (1 - rate) * PRIOR_EXPOSURES)
    alpha = prior[0] + clicks[rows]
    beta = prior[1] + exposures[rows] - clicks[rows]
    mean = alpha / (alpha + beta)
    deviation = np.sqrt(mean * (1 - mean) / (alpha + beta + 1))
    age = catalogue.columns["age_days"][rows]
    new = age <= NEW_ITEM_DAYS
    open_question = catalogue.listed[rows] & (deviation >= KNOWN_WITHIN * mean)
    wanted = np.nan_to_num(catalogue.columns["weight_30d"][rows].astype(np.float64))
    order = np.lexsort((rows, age, -wanted, -(mean + 2 * deviation)))
    order = order[open_question[order]]
    kept = np.concatenate([order[new[order]][:POOL_ITEMS], order[~new[order]][:POOL_ITEMS]])
    return PoolItems(pool, rows[kept], new[kept], alpha[kept], beta[kept], prior)


def draws(found: PoolItems, seed: int, ds: date) -> npt.NDArray[np.float32]:
    """Return ORDERINGS draws from each item's posterior: [ORDERINGS, items]; the same for the same pool and day."""
    rng = np.random.default_rng([seed, ds.toordinal(), zlib.crc32(found.pool.encode())])
    drawn = rng.beta(found.alpha, found.beta, size=(ORDERINGS, len(found.position)))
    return drawn.astype(np.float32)


def exploration(catalogue: Catalogue, outcomes: pa.Table, seed: int, ds: date) -> pa.Table:
    """Return the pools as of `ds` as rows of the table; `outcomes` counts exposures and clicks by item."""
    exposures, clicks = _counts(catalogue, outcomes)
    parts = []
    for found in pool_items(catalogue, exposures, clicks):
        count = len(found.position)
        by_item = draws(found, seed, ds).T
        parts.append(
            pa.table(
                {
                    "pool": pa.repeat(found.pool, count),
                    "item_id": catalogue.item_id.take(pa.array(found.position)),
                    "kind": pa.array(np.where(found.new, "new", "uncertain").tolist(), pa.string()),
                    "exposure_count": pa.array(exposures[found.position]),
                    "click_count": pa.array(clicks[found.position]),
                    "alpha": pa.array(found.alpha),
                    "beta": pa.array(found.beta),
                    "prior_alpha": pa.array(np.full(count, found.prior[0])),
                    "prior_beta": pa.array(np.full(count, found.prior[1])),
                    "draws": pa.array(list(by_item), pa.list_(pa.float32())),
                }
            )
        )
    return pa.concat_tables(parts)


def _counts(catalogue: Catalogue, outcomes: pa.Table) -> tuple[Counts, Counts]:
    """Return exposures and clicks of each item of the catalogue; of items that left it, nothing."""
    position = pc.index_in(outcomes["item_id"], value_set=catalogue.item_id)
    known = outcomes.append_column("position", position).filter(pc.is_valid(position))
    rows = known["position"].to_numpy()
    exposures, clicks = np.zeros(len(catalogue), np.int64), np.zeros(len(catalogue), np.int64)
    exposures[rows], clicks[rows] = known["exposure_count"].to_numpy(), known["click_count"].to_numpy()
    return exposures, clicks


def pools_of(table: pa.Table, item_ids: Sequence[str]) -> list[Pool]:
    """Return the table's pools as a snapshot stores them: items in the order of the catalogue, pools by name."""
    found = pc.index_in(table["item_id"], value_set=pa.array(item_ids, pa.string()))
    table = table.append_column("position", found).filter(pc.is_valid(found))
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


def build(spark: SparkSession, lake: Lake, ds: date, parameters: Parameters) -> Manifest:
    """Build one day, unless it stands already, made of the same.

    Raises:
        MissingPartitionError: the day's features were not built.
    """
    days = {table: _window(lake, table, ds) for table in STAGED}
    inputs = lake.fingerprints(ds, "features/item") | {
        f"{table}/{WINDOW_DAYS} days to {ds}": digest_of(lake.manifest(table, day).fingerprint for day in of)
        for table, of in days.items()
    }
    chosen: dict[str, Any] = {"seed": parameters.seed, "window_days": WINDOW_DAYS, "pool_items": POOL_ITEMS}
    chosen |= {"rules": parameters.rules} if parameters.rules else {}

    def write() -> Manifest:
        frames = {table.split("/")[1]: lake.read_days(spark, table, of) for table, of in days.items()}
        limits = {"window_days": WINDOW_DAYS, "places": PLACES, "follow_minutes": FOLLOW_MINUTES}
        followed = query(spark, "marts/followed_exposures", frames, {"ds": ds, **limits})
        outcomes = query(spark, "marts/exposure_outcomes", {"followed_exposures": followed}, {}).toArrow()
        table = exploration(_shown_to_anybody(lake, ds, parameters.rules), outcomes, parameters.seed, ds)
        metrics = {
            "pools": pc.count_distinct(table["pool"]).as_py(),
            "exposures": pc.sum(outcomes["exposure_count"]).as_py(),
        }
        return lake.write(
            spark.createDataFrame(table), EXPLORATION, ds, inputs=inputs, parameters=chosen, metrics=metrics
        )

    return lake.build_if_stale(EXPLORATION, ds, inputs, chosen, write)


def _shown_to_anybody(lake: Lake, ds: date, rules: Mapping[str, Any]) -> Catalogue:
    """Return the catalogue without what rules withhold from strangers: a pool is made for nobody in particular."""
    catalogue, withheld = load_catalogue(lake, ds), load_withheld(lake, ds, rules)
    return catalogue if withheld is None else replace(catalogue, withheld=withheld.from_strangers)


def _window(lake: Lake, table: str, ds: date) -> list[date]:
    """Return the days of a staging table in which rows of the window may have come in."""
    return [day for day in lake.days(table) if ds - timedelta(days=WINDOW_DAYS) < day <= ds]
