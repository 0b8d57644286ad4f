"""Implicit ALS: its parameters, the pairs it is fitted to, and the fit on one machine (Hu, Koren, Volinsky 2008)."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares

from jobs.config.parameters import Parameters
from jobs.features.strength import interaction_values
from jobs.models.fold_in import FoldIn
from jobs.models.nearest_items import SAMPLE
from jobs.numeric.arrays import Floats, distinct_above

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class AlsValues:
    """The values that `jobs.models.als_choice` chooses by the shop's data."""

    factors: int
    """Rank: the length of a factor vector."""
    alpha: float
    """A pair of strength r has the confidence alpha r."""
    regularization: float


ALS_UNCHOSEN = AlsValues(64, 10.0, 5.0)
"""The values of a shop that is too young for a choice."""


@dataclass(frozen=True)
class CfParameters:
    """The parameters of `artifacts/cf`, as its manifest holds them."""

    factors: int
    alpha: float
    regularization: float
    iterations: int
    neighbours: int
    ease_lambda: float
    ease_decay_days: float
    seed: int
    on_spark: bool = False
    """Whether Spark's ALS fits the item factors (jobs.models.als_spark)."""

    @classmethod
    def of(cls, parameters: Parameters) -> "CfParameters":
        """Return the parameters of a run that shape the artifact; unset values of ALS are those of ALS_UNCHOSEN."""
        als, ease = parameters.models.als, parameters.models.ease
        return cls(
            factors=_set_or(als.factors, ALS_UNCHOSEN.factors),
            alpha=_set_or(als.alpha, ALS_UNCHOSEN.alpha),
            regularization=_set_or(als.regularization, ALS_UNCHOSEN.regularization),
            iterations=als.iterations,
            neighbours=parameters.models.neighbours,
            ease_lambda=ease.regularization,
            ease_decay_days=ease.decay_days,
            seed=parameters.seed,
        )


def _set_or(value: Number | None, default: Number) -> Number:
    return default if value is None else value


@dataclass(frozen=True)
class Pairs:
    """Who touched what: matrices of the same rows, first `n_users` known users, then anonymous sessions."""

    strength: sp.csr_matrix
    """[rows, n_items] interaction values."""
    days_since: sp.csr_matrix
    """[rows, n_items] days since the pair's last event, plus one: a 0 would count as no entry."""
    moments: sp.csr_matrix
    """[rows, n_items] how many later moments the row's other pairs ended at, plus one: 1 for what came last."""
    n_users: int


def matrices_of(table: pa.Table, key: str, n_items: int) -> tuple[sp.csr_matrix, sp.csr_matrix, sp.csr_matrix]:
    """Return `strength`, `days_since` and `moments` of Pairs for features/user_item or features/session_item.

    A row is a distinct value of the column `key`, in byte order. Pairs without weight have no entry.
    """
    keys = pc.unique(table[key]).sort()
    rows = pc.index_in(table[key], value_set=keys).to_numpy().astype(np.int64)
    values = interaction_values(table["weight_milli"].to_numpy())
    days = table["days_since_last_event"].to_numpy().astype(np.float32) + 1
    columns = table["item_pos"].to_numpy().astype(np.int64)
    at_us = table["last_event_ts"].cast(pa.int64()).fill_null(0).to_numpy()
    touched = np.flatnonzero(values > 0)
    touched = touched[np.argsort(rows[touched], kind="stable")]
    moments = distinct_above(rows[touched], at_us[touched]) + 1
    at, shape = (rows[touched], columns[touched]), (len(keys), n_items)
    strength, days_since, moments = (
        sp.csr_matrix((data, at), shape=shape, dtype=np.float32) for data in (values[touched], days[touched], moments)
    )
    return strength, days_since, moments


def implicit_factors(pairs: Pairs, parameters: CfParameters, threads: int) -> Floats:
    """Return the item factors [n_items, factors] that implicit fits to the users' pairs; zeros without a pair.

    It runs so many `threads`; their number changes no bit.
    """
    known = pairs.strength[: pairs.n_users]
    if not known.nnz:
        return np.zeros((known.shape[1], parameters.factors), np.float32)
    model = AlternatingLeastSquares(
        factors=parameters.factors,
        alpha=parameters.alpha,
        regularization=parameters.regularization,
        iterations=parameters.iterations,
        random_state=parameters.seed,
        num_threads=threads,
    )
    model.fit(known, show_progress=False)
    return np.asarray(model.item_factors, dtype=np.float32)


def sample_of_users(pairs: Pairs, item_factors: Floats, parameters: CfParameters) -> Floats:
    """Return the folded-in factors of about SAMPLE users, evenly spaced: queries to measure an index by."""
    if not pairs.n_users:
        return np.zeros((0, parameters.factors), np.float32)
    some = np.arange(0, pairs.n_users, max(1, pairs.n_users // SAMPLE))[:SAMPLE]
    return FoldIn(item_factors, parameters.alpha, parameters.regularization).users(pairs.strength[some])
