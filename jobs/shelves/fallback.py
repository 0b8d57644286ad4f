"""Build `marts/fallback`, the shelves that are nobody's own, and `marts/usual_price`, which says what is on sale.

topshelf stage fallback --ds 2026-01-31
"""

from collections.abc import Mapping
from datetime import date
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.candidates.eligibility import UNKNOWN_REGION, first_age, load_eligibility
from jobs.config.parameters import Parameters
from jobs.features.catalogue import NEW_ITEM_DAYS
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest, digest_of
from jobs.lake.tables import FALLBACK, ITEM, ITEMS, USER, USER_ITEM, USUAL_PRICE
from jobs.spark.engine import Engine, Rows, engine_for
from serving.snapshot.contents import SALE_SHARE

INPUTS = (ITEM, USER, USER_ITEM)
SHELF_LENGTH = 200
PAGE_LENGTH = 60
"""Of the shelves that only pages show."""
PRIOR_LOOKS = 20
"""An item of so many looks is believed half."""
PRICE_WINDOW_DAYS = 30
LENGTHS: Mapping[str, int | float] = MappingProxyType(
    {
        "shelf_length": SHELF_LENGTH,
        "page_length": PAGE_LENGTH,
        "prior_looks": PRIOR_LOOKS,
        "new_item_days": NEW_ITEM_DAYS,
        "sale_share": SALE_SHARE,
    }
)
NO_LIMITS: Mapping[str, int] = MappingProxyType({})


def fallback(engine: Engine, lake: Lake, ds: date, minimum_ages: Mapping[str, int] = NO_LIMITS) -> Rows:
    """Return the shelves as of `ds`, up to SHELF_LENGTH or PAGE_LENGTH places each, from that day's features.

    `minimum_ages` are years by item id. Such an item is only on the shelves of age bands that begin at that age or
    above.
    """
    bands = pc.unique(lake.arrow(USER, ds, ["age_band"])["age_band"]).to_pylist() if minimum_ages else []
    first_ages = {band: first_age(band) for band in bands if band}
    views = {table.split("/")[1]: engine.stored(lake, table, [ds]) for table in (*INPUTS, USUAL_PRICE)}
    views["least_ages"] = engine.table(pa.table(_columns("item_id", "least_age", minimum_ages)))
    views["band_ages"] = engine.table(pa.table(_columns("age_band", "age", first_ages)))
    return engine.query(FALLBACK, views, {"ds": ds, **LENGTHS})


def _columns(key: str, value: str, rows: Mapping[str, int]) -> dict[str, pa.Array]:
    return {key: pa.array(rows.keys(), pa.string()), value: pa.array(rows.values(), pa.int32())}


def build(lake: Lake, ds: date, parameters: Parameters) -> Manifest:
    """Build the shelves of one day, unless they are already built from the same inputs and parameters.

    Of the parameters only `rules` are used here; event weights are already in the features.

    Raises:
        MissingPartitionError: the day's features were not built.
    """
    _build_usual_prices(lake, ds)
    inputs = lake.fingerprints(ds, *INPUTS, USUAL_PRICE)
    chosen = {**LENGTHS, "rules": parameters.rules}

    def write() -> Manifest:
        with engine_for(lake.manifest(USER_ITEM, ds).row_count or 0) as engine:
            shelves = fallback(engine, lake, ds, minimum_ages(lake, ds, parameters.rules))
            return engine.write(lake, shelves, FALLBACK, ds, inputs=inputs, parameters=chosen)

    return lake.build_if_stale(FALLBACK, ds, inputs, chosen, write)


def _build_usual_prices(lake: Lake, ds: date) -> Manifest:
    days = [day for day in lake.days(ITEMS) if day <= ds]
    inputs = {f"{ITEMS}/ds<={ds}": digest_of(lake.manifest(ITEMS, day).fingerprint for day in days)}
    chosen = {"window_days": PRICE_WINDOW_DAYS}

    def write() -> Manifest:
        with engine_for(lake.row_count(ITEMS, days)) as engine:
            items = engine.stored(lake, ITEMS, days)
            prices = engine.query(USUAL_PRICE, {"items": items}, {"ds": ds, **chosen})
            return engine.write(lake, prices, USUAL_PRICE, ds, inputs=inputs, parameters=chosen)

    return lake.build_if_stale(USUAL_PRICE, ds, inputs, chosen, write)


def minimum_ages(lake: Lake, ds: date, rules: Mapping[str, object]) -> dict[str, int]:
    """Return the minimum age, in years, of each item that has one.

    It is the highest of all regions: no fallback shelf is for both an age band and a region.
    """
    eligibility = load_eligibility(lake, ds, rules)
    if eligibility is None:
        return {}
    rows = np.flatnonzero(eligibility.restricted)
    item_id = lake.arrow(ITEM, ds, ["item_pos", "item_id"]).sort_by("item_pos")["item_id"].take(rows)
    return dict(zip(item_id.to_pylist(), eligibility.min_age[rows, UNKNOWN_REGION].tolist(), strict=True))
