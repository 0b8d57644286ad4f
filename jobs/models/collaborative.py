"""Build `artifacts/cf` for one day: ALS item factors, item-item neighbours, EASE and what follows what.

    topshelf stage train_cf --ds 2026-01-31

The artifact holds no users: `jobs.candidates.sources` folds each one in from their history, so that its size depends
on the catalogue alone.
"""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from implicit.nearest_neighbours import TFIDFRecommender
from implicit.utils import ParameterWarning
from threadpoolctl import threadpool_limits

from jobs.config.parameters import Parameters
from jobs.features.strength import faded
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest
from jobs.lake.tables import CF, ITEM, SESSION_ITEM, USER_ITEM
from jobs.models.als import CfParameters, Pairs, implicit_factors, matrices_of, sample_of_users
from jobs.models.ease import ease_weights
from jobs.models.follows import follows
from jobs.models.nearest_items import USUALLY_ASKED, index_of
from jobs.numeric.arrays import Floats, highest_first, rank_in_group
from jobs.spark.processes import available_cores, threads

INPUTS = (ITEM, USER_ITEM, SESSION_ITEM)
Arrays = dict[str, npt.NDArray[Any]]
"""An artifact's arrays by name, each of its own dtype."""


def train_cf(pairs: Pairs, parameters: CfParameters, item_factors: Floats | None = None) -> Arrays:
    """Return the artifact's arrays, items in catalogue order.

    - `item_factors` [n_items, factors] float32: the given ones, or implicit's ALS (Hu, Koren, Volinsky 2008) fitted
      to known users alone; zeros without any.
    - `item_item_*`: CSR of each item's nearest neighbours by TF-IDF cosine, over users and sessions.
    - `ease_*`: CSR of the strongest weights of each item's row in EASE (`jobs.models.ease`), fitted to pairs that
      fade with `ease_decay_days`.
    - `follows_*`: CSR of what shoppers turn to after each item (`jobs.models.follows`).

    Each item's neighbours descend by score, ties by position; `_indptr`, `_indices` and `_data` are a CSR's arrays.
    """
    most = parameters.neighbours
    baskets = pairs.days_since.copy()
    baskets.data = faded(baskets.data - 1, parameters.ease_decay_days)
    with threads(1) as beside:
        # The others run on one core at a time, and take about as long as ALS on the rest.
        als = beside.submit(_given_or_fitted, item_factors, pairs, parameters)
        by_neighbours = {
            **_csr_arrays("item_item", _neighbours(pairs.strength, most), most),
            **_csr_arrays("ease", ease_weights(baskets, parameters.ease_lambda, most), most),
            **_csr_arrays("follows", follows(pairs.moments, most), most),
        }
        return {"item_factors": als.result()} | by_neighbours


def _given_or_fitted(given: Floats | None, pairs: Pairs, parameters: CfParameters) -> Floats:
    return implicit_factors(pairs, parameters, max(1, available_cores() - 1)) if given is None else given


def _neighbours(pairs: sp.csr_matrix, most: int) -> sp.csr_matrix:
    """Return the TF-IDF cosine of items that share shoppers, without the diagonal; nothing without pairs."""
    if not pairs.nnz:
        return sp.csr_matrix((pairs.shape[1], pairs.shape[1]))
    knn = TFIDFRecommender(K=most + 1, num_threads=1)
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        # implicit warns of a conversion that it makes itself, and divides by zero where everybody has an item.
        warnings.simplefilter("ignore", ParameterWarning)
        knn.fit(pairs, show_progress=False)
    return _without_diagonal(knn.similarity.tocsr())


def _without_diagonal(similarity: sp.csr_matrix) -> sp.csr_matrix:
    coo = similarity.tocoo()
    kept = (coo.row != coo.col) & (coo.data > 0)  # TF-IDF makes 0 / 0 of a tiny shop
    return sp.csr_matrix((coo.data[kept], (coo.row[kept], coo.col[kept])), shape=coo.shape)


def _csr_arrays(name: str, matrix: sp.csr_matrix, keep: int) -> Arrays:
    """Return the arrays of a CSR with the `keep` largest values of each row, descending, ties by position."""
    matrix.sort_indices()
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    order = highest_first(row, matrix.data)
    kept = rank_in_group(row) < keep
    counts = np.bincount(row[kept], minlength=matrix.shape[0])
    return {
        f"{name}_indptr": np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        f"{name}_indices": matrix.indices[order[kept]].astype(np.int32),
        f"{name}_data": matrix.data[order[kept]].astype(np.float32),
    }


def build(lake: Lake, ds: date, parameters: Parameters, artifact: str = CF) -> Manifest:
    """Build the artifact of one day from the day's features, unless it stands already, made of the same.

    `artifact` is CF, or WINDOW_CF for a training window. A shop without known shoppers has the neighbours of its
    anonymous visits, one without events has none.

    Raises:
        MissingPartitionError: the day's features were not built.
    """
    inputs = lake.fingerprints(ds, *INPUTS)
    many = (lake.manifest(USER_ITEM, ds).row_count or 0) >= parameters.models.als.on_spark_from_pairs
    chosen = replace(CfParameters.of(parameters), on_spark=many)
    return lake.build_if_stale(artifact, ds, inputs, vars(chosen), lambda: _fit(lake, ds, artifact, inputs, chosen))


def _fit(lake: Lake, ds: date, artifact: str, inputs: Mapping[str, str], chosen: CfParameters) -> Manifest:
    """Fit to the day's features and write the artifact."""
    n_items = lake.manifest(ITEM, ds).row_count or 0
    columns = ["item_pos", "weight_milli", "days_since_last_event", "last_event_ts"]
    users = matrices_of(lake.arrow(USER_ITEM, ds, ["user_id", *columns]), "user_id", n_items)
    sessions = matrices_of(lake.arrow(SESSION_ITEM, ds, ["session_id", *columns]), "session_id", n_items)
    strength, days_since, moments = (sp.vstack(both, format="csr") for both in zip(users, sessions, strict=True))
    pairs = Pairs(strength, days_since, moments, users[0].shape[0])
    # One thread whoever imported NumPy first: implicit runs its own, and BLAS's sums depend on how many there are.
    with threadpool_limits(1, "blas"):
        arrays = train_cf(pairs, chosen, _spark_factors(lake, ds, n_items, chosen) if chosen.on_spark else None)
        item_factors = arrays["item_factors"]
        index = index_of(item_factors, sample_of_users(pairs, item_factors, chosen), USUALLY_ASKED)
    metrics = {
        "users": pairs.n_users,
        "items": n_items,
        "pairs": int(users[0].nnz),
        "anonymous_sessions": sessions[0].shape[0],
        "als": "fitted" if users[0].nnz else "left out: no pair of a known shopper and a product",
        "ease": "fitted" if pairs.strength.nnz else "left out: no pair of a shopper and a product",
        "follows": _follows_in_words(arrays),
        "index": index.facts(),
    }
    arrays |= index.array()
    return lake.write_artifact(artifact, ds, arrays, inputs=inputs, parameters=vars(chosen), metrics=metrics)


def _follows_in_words(arrays: Arrays) -> str:
    return "fitted" if len(arrays["follows_data"]) else "left out: no shopper did one thing after another"


def _spark_factors(lake: Lake, ds: date, n_items: int, chosen: CfParameters) -> Floats:
    # PySpark's ALS is loaded only where a shop is large enough for it.
    from jobs.models.als_spark import item_factors
    from jobs.spark.session import session

    return item_factors(session(), lake, ds, n_items, chosen)
