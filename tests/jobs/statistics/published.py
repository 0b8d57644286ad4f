"""Published shop data as numbers a unit, for tests and benches."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from jobs.statistics import Values
from jobs.statistics.effects import UnitValues, arm_summaries, effect

CHANGED = date(2011, 8, 25)  # the middle of the half year that is compared


def retailrocket_rows(shop_data: Path) -> tuple[Values, Values]:
    """Buys and views of each of RetailRocket's buyers: a ratio whose events are far from independent."""
    events = pd.read_csv(shop_data / "retailrocket_buyers" / "events.csv.gz")
    by_user = pd.crosstab(events["user"], events["event"])
    return by_user["buy"].to_numpy(float), by_user["view"].to_numpy(float)


def online_retail_spend(shop_data: Path, days: int = 90) -> tuple[Values, Values]:
    """What each customer of Online Retail spent, in pounds, in the `days` from CHANGED and in as many before.

    Customers who bought before CHANGED. Lines without a customer or a price, and cancellations, are left out.
    """
    files = sorted((shop_data / "online_retail" / "by-day").glob("*.csv.gz"))
    lines = pd.concat(
        [pd.read_csv(path, dtype={"CustomerID": str, "InvoiceNo": str}) for path in files], ignore_index=True
    )
    kept = lines["CustomerID"].notna() & (lines["Quantity"] > 0) & (lines["UnitPrice"] > 0)
    lines = lines[kept & ~lines["InvoiceNo"].str.startswith("C")]
    when = pd.to_datetime(lines["InvoiceDate"])
    spent = lines["Quantity"] * lines["UnitPrice"]
    since = (when - pd.Timestamp(CHANGED)).dt.days
    customer = lines["CustomerID"]
    known = pd.Index(customer[since < 0].unique())
    after = spent[(since >= 0) & (since < days)].groupby(customer).sum().reindex(known, fill_value=0.0)
    before = spent[(since < 0) & (since >= -days)].groupby(customer).sum().reindex(known, fill_value=0.0)
    return after.to_numpy(float), before.to_numpy(float)


@dataclass(frozen=True)
class Splits:
    """The share of random splits of the same units in which a test is significant at 5%."""

    events_test: float
    delta_method: float


def split_at_random(total: Values, count: Values, times: int = 2_000, seed: int = 0) -> Splits:
    """Split units in half again and again: a z-test over events, and our test over units."""
    draw = np.random.default_rng(seed)
    wrong = np.zeros(2)
    whole = total.sum() / count.sum()
    for _ in range(times):
        is_new = draw.random(len(total)) < 0.5
        parts = {
            "new": UnitValues(total[is_new], count[is_new]),
            "control": UnitValues(total[~is_new], count[~is_new]),
        }
        arms = arm_summaries(parts)
        found = effect(arms["new"], arms["control"])
        events = np.array([count[is_new].sum(), count[~is_new].sum()])
        error = np.sqrt(whole * (1 - whole) * (1 / events).sum())
        wrong += [abs(found.difference) / error > 1.96, found.p < 0.05]
    return Splits(*(wrong / times))
