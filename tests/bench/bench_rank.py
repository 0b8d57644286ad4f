"""Candidates, features and ranking of shoppers on one core, for catalogues of 100,000 and 1,000,000 items."""

from collections.abc import Sequence

import lightgbm as lgb
import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from jobs.candidate_sources import NEIGHBOURS, Sources
from jobs.candidates import candidates
from jobs.catalogue import Catalogue
from jobs.compiled_trees import compile_once
from jobs.rank import top_n
from jobs.ranking_features import (
    CATEGORICAL_FEATURES,
    FEATURES,
    ITEM_FEATURES,
    PAIR_FEATURES,
    USER_FEATURES,
    ranking_features,
)
from jobs.settings import Parameters
from jobs.shoppers import Shoppers
from jobs.train_cf import CfParameters
from jobs.train_ranker import ORDER, Ranker
from tests.bench.figures import Figure, best_of

CATALOGUES = (100_000, 1_000_000)
USERS, HISTORY, CANDIDATES, TOP_N, CATEGORIES = 256, 30, 1_000, 100, 500
NIGHT_USERS, CORE_HOUR_USD = 100_000_000, 0.04
"""A core-hour's price is taken as 4 cents, about what a cloud's shared core cost in 2026 without any discount."""
RNG = np.random.default_rng(20260101)


def counts(n: int) -> np.ndarray:
    """Numbers as skewed as a shop's: most are small, a few are large."""
    return RNG.zipf(1.6, n).clip(0, 10_000).astype(np.int64)


def catalogue(n: int) -> Catalogue:
    """A catalogue of made-up items."""
    names = {*ITEM_FEATURES, "weight_90d", "weight_total", "stock"}
    columns = {name: counts(n) for name in sorted(names)}
    return Catalogue(
        item_id=pa.array([f"item-{number:08d}" for number in range(n)]),
        columns=columns,
        category_code=RNG.integers(0, CATEGORIES, n).astype(np.int32),
        category_names=tuple(f"category-{number}" for number in range(CATEGORIES)),
    )


def sources(n: int) -> Sources:
    """Artifacts of the right shapes: 100 neighbours an item, 64 factors, 64 content dimensions."""

    def near(most: int) -> sp.csr_matrix:
        indices = RNG.integers(0, n, n * most).astype(np.int32)
        matrix = sp.csr_matrix((RNG.random(n * most, np.float32), indices, np.arange(0, n * most + 1, most)), (n, n))
        matrix.sum_duplicates()
        return matrix

    def vectors() -> np.ndarray:
        found = RNG.normal(size=(n, 64)).astype(np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    chosen = Parameters()
    empty = sp.csr_matrix((n, n), dtype=np.float32)  # EASE is left out of catalogues as large as these
    neighbours = {name: empty if name == "ease" else near(60 if name == "content" else 100) for name in NEIGHBOURS}
    return Sources(catalogue(n), vectors(), vectors(), neighbours, CfParameters.of(chosen), chosen.taste_decay_days)


def shoppers(n_items: int) -> Shoppers:
    """Shoppers with HISTORY items each."""
    rows = USERS * HISTORY
    item = np.sort(RNG.integers(0, n_items, (USERS, HISTORY)), axis=1).ravel()
    names = {*PAIR_FEATURES, "purchase_day_count", "cart_count", "weight_milli"}
    history = {name: counts(rows) for name in sorted(names)} | {"item_pos": item}
    return Shoppers(
        user_id=pa.array([f"user-{number}" for number in range(USERS)]),
        users={name: counts(USERS) for name in USER_FEATURES},
        history=history,
        indptr=np.arange(0, rows + 1, HISTORY),
        n_items=n_items,
    )


def trained(features: np.ndarray, objective: str) -> lgb.Booster:
    """Trees of the size that a night trains, on labels that the features partly explain."""
    chosen = Parameters()
    signal = np.nan_to_num(features[:, FEATURES.index("als")]) + RNG.normal(size=len(features))
    label = (signal > np.quantile(signal, 0.95)).astype(int)
    group = [CANDIDATES] * (len(features) // CANDIDATES)
    data = lgb.Dataset(
        features[: len(group) * CANDIDATES],
        label=label[: len(group) * CANDIDATES],
        group=group if objective == "lambdarank" else None,
        feature_name=list(FEATURES),
        categorical_feature=list(CATEGORICAL_FEATURES),
    )
    shape = {"num_leaves": chosen.leaves, "feature_fraction": chosen.feature_fraction}
    fixed = {"objective": objective, "num_threads": 1, "verbosity": -1}
    return lgb.train({**fixed, **shape}, data, chosen.trees)


def measured(n_items: int) -> list[Figure]:
    """The figures of one catalogue."""
    drawn, batch = sources(n_items), shoppers(n_items)
    found = candidates(batch, drawn, CANDIDATES)  # fills what is cached: the index, the catalogue's lists
    features = ranking_features(batch, found, drawn)
    heads = {"purchase": trained(features, "binary"), ORDER: trained(features, "lambdarank")}
    compiled = {name: compile_once(head.model_to_string()) for name, head in heads.items()}
    ranker = Ranker({"purchase": heads["purchase"]}, {"purchase": 1.0}, 0.15, heads[ORDER], 0.5, compiled)
    plain = Ranker(ranker.heads, ranker.weights, 0.15, ranker.order, 0.5)
    drawing_s = best_of(3, lambda: candidates(batch, drawn, CANDIDATES))
    ranking_s = best_of(3, lambda: top_n(batch, found, drawn, ranker, TOP_N))
    plain_s = best_of(3, lambda: top_n(batch, found, drawn, plain, TOP_N))
    bare_s = best_of(3, lambda: [predict(features) for predict in compiled.values()])
    rows, users = len(found.user), USERS / (drawing_s + ranking_s)
    bare = "bare lleaves: both heads on a ready matrix"
    size = f"{n_items:,} items"
    hours = NIGHT_USERS / users / 3600
    return [
        Figure(f"{size}: candidates a user", rows / USERS, ""),
        Figure(f"{size}: candidates", USERS / drawing_s, "users/s a core"),
        Figure(f"{size}: features to top {TOP_N}", rows / ranking_s, "rows/s a core", rows / bare_s, bare, "0.6"),
        Figure(f"{size}: the same, trees not compiled", rows / plain_s, "rows/s a core", rows / bare_s, bare),
        Figure(f"{size}: candidates to shelf", users, "users/s a core"),
        Figure(f"{size}: {NIGHT_USERS:,} users at that rate", hours, "core-hours"),
        Figure(f"{size}: the same at {CORE_HOUR_USD} USD a core-hour", hours * CORE_HOUR_USD, "USD"),
    ]


def main() -> Sequence[Figure]:
    with threadpool_limits(1):
        return [figure for n_items in CATALOGUES for figure in measured(n_items)]
