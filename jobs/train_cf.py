"""Build `artifacts/cf` for one day: item factors and item-item neighbours, fitted to what was known by then.

    python -m jobs.train_cf --ds 2026-01-31

Users have no rows in the artifact: `jobs.candidates` folds each one in from their history, so that the artifact
grows with the catalogue alone.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import scipy.linalg
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import CosineRecommender, ItemItemRecommender, TFIDFRecommender
from implicit.utils import ParameterWarning
from threadpoolctl import threadpool_limits

from jobs.lake import Lake
from jobs.manifest import Manifest
from jobs.nearest_items import MOST_ASKED, SAMPLE, index_of
from jobs.settings import Parameters, stage_arguments

ARTIFACT = "artifacts/cf"
OF_WINDOW = "artifacts/window_cf"
"""The same of a label window: fitted with the values of the night that it teaches, not of its own day's night."""
INPUTS = ("features/item", "features/user_item", "features/session_item")
Arrays = dict[str, npt.NDArray[Any]]
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class AlsValues:
    """What `jobs.choose_als` chooses."""

    factors: int
    alpha: float
    regularization: float


ALS_UNCHOSEN = AlsValues(64, 10.0, 5.0)
"""Where a shop is too young for a choice."""


@dataclass(frozen=True)
class CfParameters:
    """What shapes the fit; part of the artifact's manifest."""

    factors: int
    alpha: float
    regularization: float
    iterations: int
    neighbours: int
    recent_days: int
    ease_lambda: float
    ease_decay_days: float
    ease_whole_lambda: float
    ease_max_items: int
    """EASE inverts a dense items x items matrix: above this size it is left out, and the manifest says so."""
    seed: int
    on_spark: bool = False
    """Spark's ALS fits the item factors (jobs.spark_als)."""

    @classmethod
    def of(cls, parameters: Parameters) -> "CfParameters":
        """Pick the fit's share of a run's parameters."""
        return cls(
            factors=_either(parameters.als_factors, ALS_UNCHOSEN.factors),
            alpha=_either(parameters.als_alpha, ALS_UNCHOSEN.alpha),
            regularization=_either(parameters.als_regularization, ALS_UNCHOSEN.regularization),
            iterations=parameters.als_iterations,
            neighbours=parameters.neighbours,
            recent_days=parameters.recent_days,
            ease_lambda=parameters.ease_lambda,
            ease_decay_days=parameters.ease_decay_days,
            ease_whole_lambda=parameters.ease_whole_lambda,
            ease_max_items=parameters.ease_max_items,
            seed=parameters.seed,
        )


def _either(own: Number | None, otherwise: Number) -> Number:
    return otherwise if own is None else own


def interaction_values(weight_milli: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return the strength of each user-item pair from its summed event weight: log(1 + views' worth).

    The logarithm keeps a wholesaler's fiftieth case of mugs from drowning the rest of the row.
    """
    return np.log1p(np.maximum(weight_milli, 0) / 1000).astype(np.float32)


@dataclass(frozen=True)
class Pairs:
    """Who touched what, users and anonymous sessions alike: one matrix a reading of it, rows the same in each.

    `strength` holds interaction values, `days_since` the days since the pair's last event plus one (so that none is
    an implicit zero). Users come first: `n_users` rows.
    """

    strength: sp.csr_matrix
    days_since: sp.csr_matrix
    n_users: int


def train_cf(pairs: Pairs, parameters: CfParameters, item_factors: npt.NDArray[np.float32] | None = None) -> Arrays:
    """Return the artifact's arrays, items in catalogue order.

    - `item_factors` [n_items, factors] float32: implicit ALS (Hu, Koren, Volinsky 2008), users only; or those given.
    - `item_item_*`: CSR of each item's nearest neighbours by TF-IDF cosine, descending; users and sessions.
    - `recent_*`: the same by plain cosine over the pairs of the last `recent_days`: what goes together this season.
    - `ease_*`: CSR of the strongest weights of each item's row in EASE (Steck 2019), fitted to pairs that fade with
      `ease_decay_days`; or empty.
    - `ease_whole_*`: the same of pairs that do not fade, the whole history counting alike.
    """
    n_items = pairs.strength.shape[1]
    recent = pairs.days_since.copy()
    recent.data = (recent.data <= parameters.recent_days).astype(np.float32)
    recent.eliminate_zeros()
    most = parameters.neighbours
    nothing = sp.csr_matrix((n_items, n_items))
    has_ease = n_items <= parameters.ease_max_items
    faded_ease = (parameters.ease_decay_days, parameters.ease_lambda)
    whole_ease = (np.inf, parameters.ease_whole_lambda)
    return {
        "item_factors": implicit_factors(pairs, parameters) if item_factors is None else item_factors,
        **_csr_arrays("item_item", _neighbours(TFIDFRecommender, pairs.strength, most), most),
        **_csr_arrays("recent", _neighbours(CosineRecommender, recent, most), most),
        **_csr_arrays("ease", _ease(pairs.days_since, *faded_ease) if has_ease else nothing, most * 2),
        **_csr_arrays("ease_whole", _ease(pairs.days_since, *whole_ease) if has_ease else nothing, most * 2),
    }


def _sample_of_users(pairs: Pairs, item_factors: npt.NDArray[np.float32], parameters: CfParameters) -> Any:
    """Return the factors of some users, folded in as candidates fold them: what the index will be asked."""
    some = np.arange(0, pairs.n_users, max(1, pairs.n_users // SAMPLE))[:SAMPLE]
    model = AlternatingLeastSquares(
        factors=parameters.factors, alpha=parameters.alpha, regularization=parameters.regularization, num_threads=1
    )
    model.item_factors = item_factors
    return model.recalculate_user(np.arange(len(some)), pairs.strength[some])


def implicit_factors(pairs: Pairs, parameters: CfParameters) -> npt.NDArray[np.float32]:
    """Return the item factors [n_items, factors] that implicit fits to the users' pairs."""
    model = AlternatingLeastSquares(
        factors=parameters.factors,
        alpha=parameters.alpha,
        regularization=parameters.regularization,
        iterations=parameters.iterations,
        random_state=parameters.seed,
        num_threads=0,
    )
    model.fit(pairs.strength[: pairs.n_users], show_progress=False)
    return np.asarray(model.item_factors, dtype=np.float32)


def _neighbours(kind: type[ItemItemRecommender], pairs: sp.csr_matrix, most: int) -> sp.csr_matrix:
    """Return implicit's similarity of items that share shoppers, each item's own place left out."""
    knn = kind(K=most + 1, num_threads=0)
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        # implicit warns of a conversion that it makes itself, and divides by zero where everybody has an item.
        warnings.simplefilter("ignore", ParameterWarning)
        knn.fit(pairs, show_progress=False)
    return _without_diagonal(knn.similarity.tocsr())


def faded(days_since: npt.NDArray[Any], decay_days: float) -> npt.NDArray[np.float32]:
    """Return the strength of pairs by the age of their last event: e^-1 after `decay_days`."""
    return np.asarray(np.exp(-np.asarray(days_since, dtype=np.float32) / np.float32(decay_days)), dtype=np.float32)


def _ease(days_since: sp.csr_matrix, decay_days: float, ridge: float) -> sp.csr_matrix:
    """Return EASE's item-item weights (Steck 2019, "Embarrassingly Shallow Autoencoders"), positive ones only."""
    baskets = days_since.astype(np.float64)
    baskets.data = faded(days_since.data - 1, decay_days).astype(np.float64)
    gram = (baskets.T @ baskets).toarray()
    gram[np.diag_indices_from(gram)] += ridge
    inverse = scipy.linalg.inv(gram, overwrite_a=True, check_finite=False)
    weights = inverse / -np.diag(inverse)[None, :]
    np.fill_diagonal(weights, 0.0)
    weights[weights < 1e-4] = 0.0
    return sp.csr_matrix(weights.astype(np.float32))


def _without_diagonal(similarity: sp.csr_matrix) -> sp.csr_matrix:
    coo = similarity.tocoo()
    off = (coo.row != coo.col) & (coo.data > 0)  # TF-IDF makes 0 / 0 of a tiny shop
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


def matrix_of(table: pa.Table, key: str, n_items: int) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Return `key` x items: interaction values, and days since the last event plus one; rows in byte order."""
    keys = pc.unique(table[key]).sort()
    rows = pc.index_in(table[key], value_set=keys).to_numpy().astype(np.int64)
    values = interaction_values(table["weight_milli"].to_numpy())
    days = table["days_since_last_event"].to_numpy().astype(np.float32) + 1
    cols = table["item_pos"].to_numpy().astype(np.int64)
    seen = values > 0
    at, shape = (rows[seen], cols[seen]), (len(keys), n_items)
    strength, since = (sp.csr_matrix((of[seen], at), shape=shape, dtype=np.float32) for of in (values, days))
    return strength, since


class TooFewInteractionsError(ValueError):
    """There is nothing to learn from."""


def build(lake: Lake, ds: date, parameters: Parameters, artifact: str = ARTIFACT) -> Manifest:
    """Build the artifact of one day from the day's features, unless it stands already, made of the same.

    Raises:
        MissingPartitionError: the day's features were not built.
        TooFewInteractionsError: no shopper has a positive event.
    """
    inputs = lake.fingerprints(ds, *INPUTS)
    many = (lake.manifest("features/user_item", ds).row_count or 0) >= parameters.als_on_spark_from_pairs
    chosen = replace(CfParameters.of(parameters), on_spark=many)
    found = lake.find_manifest(artifact, ds)
    if found is not None and found.is_current(inputs, vars(chosen)):
        return found
    n_items = lake.manifest("features/item", ds).row_count or 0
    columns = ["item_pos", "weight_milli", "days_since_last_event"]
    users = matrix_of(lake.arrow("features/user_item", ds, ["user_id", *columns]), "user_id", n_items)
    sessions = matrix_of(lake.arrow("features/session_item", ds, ["session_id", *columns]), "session_id", n_items)
    strength, days_since = (sp.vstack(both, format="csr") for both in zip(users, sessions, strict=True))
    pairs = Pairs(strength, days_since, users[0].shape[0])
    if users[0].nnz == 0:
        raise TooFewInteractionsError(
            f"features/user_item/ds={ds} has no positive event of a known shopper; land events with a user_id first"
        )
    # One thread whoever imported NumPy first: implicit runs its own, and BLAS's sums depend on how many there are.
    with threadpool_limits(1, "blas"):
        arrays = train_cf(pairs, chosen, _spark_factors(lake, ds, n_items, chosen) if many else None)
        built = index_of(arrays["item_factors"], _sample_of_users(pairs, arrays["item_factors"], chosen), MOST_ASKED)
    metrics: Mapping[str, Any] = {
        "users": pairs.n_users,
        "items": n_items,
        "pairs": int(users[0].nnz),
        "anonymous_sessions": sessions[0].shape[0],
        "ease": "fitted" if len(arrays["ease_data"]) else f"left out: over {chosen.ease_max_items} items",
        "index": built.told(),
    }
    arrays |= built.array()
    return lake.write_artifact(artifact, ds, arrays, inputs=inputs, parameters=vars(chosen), metrics=metrics)


def _spark_factors(lake: Lake, ds: date, n_items: int, chosen: CfParameters) -> npt.NDArray[np.float32]:
    from jobs.spark import session
    from jobs.spark_als import item_factors  # which reads this module

    return item_factors(session(), lake, ds, n_items, chosen)


def main() -> None:
    """Run the stage from the command line."""
    given = stage_arguments(__doc__)
    from jobs.choose_als import with_chosen  # which reads this module

    lake = Lake(given.settings.lake)
    manifest = build(lake, given.ds, with_chosen(lake, given.ds, given.parameters))
    print(f"{ARTIFACT}/ds={given.ds}: {manifest.metrics}")


if __name__ == "__main__":
    main()
