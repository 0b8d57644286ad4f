"""Tell likes from dislikes among ratings, by the shop's own scale; for those who read events without Spark."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.numeric.arrays import Flags

HIGHEST_RATING = 999.999


def low_ratings(event_type: pa.ChunkedArray, value: pa.ChunkedArray) -> Flags:
    """Tell which events are ratings below the middle of the scale that all of these ratings span.

    The middle is that of `sql/features/rating_scale.sql`, but each rating counts. Without a value, none is low.
    """
    rating = np.clip(value.cast(pa.float64()).fill_null(np.nan).to_numpy(), 0, HIGHEST_RATING)
    rating[~pc.equal(event_type, "rating").fill_null(False).to_numpy()] = np.nan
    given = rating[~np.isnan(rating)]
    if not len(given):
        return np.zeros(len(rating), dtype=np.bool_)
    middle = (given.min() + np.quantile(given, 0.99)) / 2
    return np.asarray(rating < middle)
