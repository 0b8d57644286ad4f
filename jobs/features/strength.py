"""How strongly a shopper is tied to an item: by the weight of their events, and by how long ago they were."""

from typing import Any

import numpy as np
import numpy.typing as npt


def interaction_values(weight_milli: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return the strength of each user-item pair from its summed event weight: log(1 + views' worth).

    The logarithm keeps a wholesaler's fiftieth case of mugs from drowning the rest of the row.
    """
    return np.log1p(np.maximum(weight_milli, 0) / 1000).astype(np.float32)


def faded(days_since: npt.NDArray[Any], decay_days: float) -> npt.NDArray[np.float32]:
    """Return the strength of pairs by the age of their last event: e^-1 after `decay_days`."""
    return np.asarray(np.exp(-np.asarray(days_since, dtype=np.float32) / np.float32(decay_days)), dtype=np.float32)
