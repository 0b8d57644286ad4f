"""The strength of a user-item pair, from the weight of its events or from their age."""

import numpy as np
import numpy.typing as npt


def interaction_values(weight_milli: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return the strength of each user-item pair from its summed event weight: log(1 + weight in views).

    By the logarithm, a wholesaler's fiftieth case of mugs does not outweigh the rest of the row.
    """
    return np.log1p(np.maximum(weight_milli, 0) / 1000).astype(np.float32)


def faded(days_since: npt.NDArray[np.number], decay_days: float) -> npt.NDArray[np.float32]:
    """Return the strength of pairs from the age of their last event: exp(-days_since / decay_days)."""
    return np.asarray(np.exp(-np.asarray(days_since, dtype=np.float32) / np.float32(decay_days)), dtype=np.float32)
