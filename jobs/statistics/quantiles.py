"""A quantile of events, such as the p99 of latency, by arm: for guardrails that no mean can watch.

>>> slow = {arm: quantile_summary(latency_ms[arm], user[arm], 0.99) for arm in ("control", "new")}
>>> effect(slow["new"], slow["control"]).difference  # ms
"""

import numpy as np

from jobs.statistics import Codes, UnusableValuesError, Values
from jobs.statistics.effects import TWO_SIDED_95, ArmSummary, linearised

_LEAST_BEYOND = 10  # events on the quantile's thin side, below which its error cannot be read off


def quantile_summary(values: Values, unit: Codes, quantile: float) -> ArmSummary:
    """Return the quantile of an arm's events and its error over units; one unit's events are not independent.

    The error of the share of events below the quantile is that of a ratio over units. The values that stand at the
    ends of its interval give the error in the values' own unit (Deng, Knoblich and Lu, KDD 2018, section 4).

    Args:
        values: [n_events].
        unit: [n_events]: whose event it was, any whole numbers.
        quantile: in (0, 1).

    Raises:
        UnusableValuesError: lengths differ, a value is not finite, there are fewer than 2 units, or fewer than 10
            events lie beyond the quantile.
    """
    if values.shape != unit.shape or not np.isfinite(values).all():
        raise UnusableValuesError("a quantile needs finite numbers, one an event, and a unit for each")
    if not 0 < quantile < 1 or len(values) * min(quantile, 1 - quantile) < _LEAST_BEYOND:
        raise UnusableValuesError(
            f"{len(values)} events are too few for the quantile {quantile:g}: {_LEAST_BEYOND} must lie beyond it"
        )
    units, place = np.unique(unit, return_inverse=True)
    if len(units) < 2:
        raise UnusableValuesError("a quantile needs events of at least 2 units")
    found = float(np.quantile(values, quantile))
    events = np.bincount(place).astype(np.float64)
    below = np.bincount(place, (values <= found).astype(np.float64)).astype(np.float64)
    share = linearised(below, events)
    reach = TWO_SIDED_95 * float(share.std(ddof=1)) / np.sqrt(len(units))
    low, high = np.quantile(values, np.clip([quantile - reach, quantile + reach], 0, 1))
    error = float(high - low) / (2 * TWO_SIDED_95)
    return ArmSummary(len(units), found, error**2 * len(units))
