"""Plain NumPy and SciPy: how effects are judged. Keeps no state, and knows neither the lake nor the shop's files.

Unit: whatever an experiment assigns, a user or a request. All of a unit's events count as one observation.
"""

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class UnusableValuesError(ValueError):
    """The numbers given cannot be judged: too few units, lengths that differ, or values that are not finite."""
