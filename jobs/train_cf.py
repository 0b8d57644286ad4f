"""Build `artifacts/cf` for one day: item factors and item-item neighbours, fitted to what was known by then.

    python -m jobs.train_cf --ds 2026-01-31

Users have no rows in the artifact: `jobs.candidates` folds each one in from their history, so that the artifact
grows with the catalogue alone.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import scipy.linalg
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import TFIDFRecommender
from implicit.utils import ParameterWarning
from threadpoolctl import threadpool_limits

from jobs.lake import Lake
from jobs.manifest import Manifest
from jobs.settings import Parameters, stage_arguments

ARTIFACT = "artifacts/cf"
INPUTS = ("features/item", "features/user_item", "features/session_item")
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class CfParameters:
    """What shapes the fit; part of the artifact's manifest."""

    factors: int
    alpha: float
    regularization: float
    iterations: int
    neighbours: int
    ease_lambda: float
    ease_max_items: int
    """EASE inverts a dense items x items matrix: above this size it is left out, and the manifest says so."""
    seed: int

    @classmethod
    def of(cls, parameters: Parameters) -> "CfParameters":
        """Pick the fit's share of a run's parameters."""
        return cls(
            factors=parameters.als_factors,
            alpha=parameters.als_alpha,
            regularization=parameters.als_regularization,
            iterations=parameters.als_iterations,
            neighbours=parameters.neighbours,
            ease_lambda=parameters.ease_lambda,
            ease_max_items=parameters.ease_max_items,
            seed=parameters.seed,
        )


def interaction_values(weight_milli: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return the strength of each user-item pair from its summed event weight: log(1 + views' worth).

    The logarithm keeps a wholesaler's fiftieth case of mugs from drowning the rest of the row.
    """
    return np.log1p(np.maximum(weight_milli, 0) / 1000).astype(np.float32)


def train_cf(user_items: sp.csr_matrix, session_items: sp.csr_matrix, parameters: CfParameters) -> Arrays:
    """Return the artifact's arrays for users x items and anonymous sessions x items, both in catalogue order.

    - `item_factors` [n_items, factors] float32: implicit ALS (Hu, Koren, Volinsky 2008), users only.
    - `item_item_*`: CSR of each item's nearest neighbours by TF-IDF cosine, descending; users and sessions.
    - `ease_*`: CSR of the strongest weights of each item's row in EASE (Steck 2019), or empty.
    """
    n_items = user_items.shape[1]
    model = AlternatingLeastSquares(
        factors=parameters.factors,
        alpha=parameters.alpha,
        regularization=parameters.regularization,
        iterations=parameters.iterations,
        random_state=parameters.seed,
        num_threads=0,
    )
    model.fit(user_items, show_progress=False)
    baskets = sp.vstack([user_items, session_items], format="csr")
    knn = TFIDFRecommender(K=parameters.neighbours + 1, num_threads=0)
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        # implicit warns of a conversion that it makes itself, and divides by zero where everybody has an item.
        warnings.simplefilter("ignore", ParameterWarning)
        knn.fit(baskets, show_progress=False)
    ease = _ease(baskets, parameters) if n_items <= parameters.ease_max_items else None
    return {
        "item_factors": model.item_factors.astype(np.float32),
        **_csr_arrays("item_item", _without_diagonal(knn.similarity.tocsr()), parameters.neighbours),
        **_csr_arrays(
            "ease", ease if ease is not None else sp.csr_matrix((n_items, n_items)), parameters.neighbours * 2
        ),
    }


def _ease(baskets: sp.csr_matrix, parameters: CfParameters) -> sp.csr_matrix:
    """Return EASE's item-item weights (Steck 2019, "Embarrassingly Shallow Autoencoders"), positive ones only."""
    binary = baskets.copy()
    binary.data = np.ones_like(binary.data)
    gram = (binary.T @ binary).toarray().astype(np.float64)
    gram[np.diag_indices_from(gram)] += parameters.ease_lambda
    inverse = scipy.linalg.inv(gram, overwrite_a=True, check_finite=False)
    weights = inverse / -np.diag(inverse)[None, :]
    np.fill_diagonal(weights, 0.0)
    weights[weights < 1e-4] = 0.0
    return sp.csr_matrix(weights.astype(np.float32))


def _without_diagonal(similarity: sp.csr_matrix) -> sp.csr_matrix:
    coo = similarity.tocoo()
    off = coo.row != coo.col
    return sp.csr_matrix((coo.data[off], (coo.row[off], coo.col[off])), shape=coo.shape)


def _csr_arrays(name: str, matrix: sp.csr_matrix, keep: int) -> Arrays:
    """Return a CSR's arrays with the `keep` largest of each row, descending, ties by position."""
    coo = matrix.tocoo()
    order = np.lexsort((coo.col, -coo.data, coo.row))
    row, col, data = coo.row[order], coo.col[order], coo.data[order]
    start = np.searchsorted(row, np.arange(matrix.shape[0] + 1))
    kept = np.arange(len(row)) - start[row] < keep
    counts = np.bincount(row[kept], minlength=matrix.shape[0])
    return {
        f"{name}_indptr": np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        f"{name}_indices": col[kept].astype(np.int32),
        f"{name}_data": data[kept].astype(np.float32),
    }


def matrix_of(table: pa.Table, key: str, n_items: int) -> sp.csr_matrix:
    """Return the `key` x items matrix of interaction values; rows in byte order of `key`."""
    keys = pc.unique(table[key]).sort()
    rows = pc.index_in(table[key], value_set=keys).to_numpy().astype(np.int64)
    values = interaction_values(table["weight_milli"].to_numpy())
    cols = table["item_pos"].to_numpy().astype(np.int64)
    seen = values > 0
    return sp.csr_matrix((values[seen], (rows[seen], cols[seen])), shape=(len(keys), n_items), dtype=np.float32)


class TooFewInteractionsError(ValueError):
    """There is nothing to learn from."""


def build(lake: Lake, ds: date, parameters: Parameters) -> Manifest:
    """Build the artifact of one day from the day's features, unless it stands already, made of the same.

    Raises:
        MissingPartitionError: the day's features were not built.
        TooFewInteractionsError: no shopper has a positive event.
    """
    chosen = CfParameters.of(parameters)
    inputs = lake.fingerprints(ds, *INPUTS)
    found = lake.find_manifest(ARTIFACT, ds)
    if found is not None and found.is_current(inputs, vars(chosen)):
        return found
    n_items = lake.manifest("features/item", ds).row_count or 0
    columns = ["item_pos", "weight_milli"]
    user_items = matrix_of(lake.arrow("features/user_item", ds, ["user_id", *columns]), "user_id", n_items)
    session_items = matrix_of(
        lake.arrow("features/session_item", ds, ["session_id", *columns]), "session_id", n_items
    )
    if user_items.nnz == 0:
        raise TooFewInteractionsError(
            f"features/user_item/ds={ds} has no positive event of a known shopper; land events with a user_id first"
        )
    # One thread whoever imported NumPy first: implicit runs its own, and BLAS's sums depend on how many there are.
    with threadpool_limits(1, "blas"):
        arrays = train_cf(user_items, session_items, chosen)
    metrics: Mapping[str, Any] = {
        "users": user_items.shape[0],
        "items": n_items,
        "pairs": int(user_items.nnz),
        "anonymous_sessions": session_items.shape[0],
        "ease": "fitted" if len(arrays["ease_data"]) else f"left out: over {chosen.ease_max_items} items",
    }
    return lake.write_artifact(ARTIFACT, ds, arrays, inputs=inputs, parameters=vars(chosen), metrics=metrics)


def main() -> None:
    """Run the stage from the command line."""
    given = stage_arguments(__doc__)
    manifest = build(Lake(given.settings.lake), given.ds, given.parameters)
    print(f"{ARTIFACT}/ds={given.ds}: {manifest.metrics}")


if __name__ == "__main__":
    main()
