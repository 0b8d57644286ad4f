"""Implicit ALS: its parameters, the pairs it is fitted to, and the fit on one machine (Hu, Koren, Volinsky 2008)."""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares

from jobs.config.parameters import Parameters
from jobs.features.strength import interaction_values
from jobs.models.nearest_items import SAMPLE

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class AlsValues:
    """What `jobs.models.als_choice` chooses."""

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
    """Spark's ALS fits the item factors (jobs.models.als_spark)."""

    @classmethod
    def of(cls, parameters: Parameters) -> "CfParameters":
        """Pick the fit's share of a run's parameters."""
        als, ease = parameters.models.als, parameters.models.ease
        return cls(
            factors=_either(als.factors, ALS_UNCHOSEN.factors),
            alpha=_either(als.alpha, ALS_UNCHOSEN.alpha),
            regularization=_either(als.regularization, ALS_UNCHOSEN.regularization),
            iterations=als.iterations,
            neighbours=parameters.models.neighbours,
            recent_days=parameters.models.recent_days,
            ease_lambda=ease.decayed_regularization,
            ease_decay_days=ease.decay_days,
            ease_whole_lambda=ease.regularization,
            ease_max_items=ease.max_items,
            seed=parameters.seed,
        )


def _either(own: Number | None, otherwise: Number) -> Number:
    return otherwise if own is None else own


@dataclass(frozen=True)
class Pairs:
    """Who touched what, users and anonymous sessions alike: one matrix a reading of it, rows the same in each.

    `strength` holds interaction values, `days_since` the days since the pair's last event plus one (so that none is
    an implicit zero). Users come first: `n_users` rows.
    """

    strength: sp.csr_matrix
    days_since: sp.csr_matrix
    n_users: int


def sample_of_users(pairs: Pairs, item_factors: npt.NDArray[np.float32], parameters: CfParameters) -> Any:
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
