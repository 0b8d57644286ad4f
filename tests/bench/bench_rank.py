"""Candidates, features, ranking and blending on one core and on two, for catalogues of 100,000 and 1,000,000 items.

A made-up shop of the right shapes: items in categories, whose vectors lie about the category's and whose neighbours
are of it; shoppers with HISTORY items of a few categories. What a night of NIGHT_USERS and NIGHT_ITEMS would take is
a calculation: the step from the smaller catalogue to the larger one is taken once more.
"""

import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import replace

import lightgbm as lgb
import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from jobs.candidates.generate import candidates
from jobs.candidates.lists import QUOTA
from jobs.candidates.sources import NEIGHBOURS, Sources
from jobs.config.parameters import Parameters
from jobs.features.catalogue import Catalogue
from jobs.features.shoppers import ShopperHistories
from jobs.lake.tables import CF
from jobs.models.als import CfParameters
from jobs.models.nearest_items import USUALLY_ASKED, index_of
from jobs.ranking.coarse_cut import COARSE, train_coarse_cut
from jobs.ranking.compiled_trees import compile_once
from jobs.ranking.pair_features import (
    CATEGORICAL_FEATURES,
    FEATURES,
    ITEM_FEATURES,
    PAIR_FEATURES,
    USER_FEATURES,
    ranking_features,
)
from jobs.ranking.ranker import ORDER, Ranker
from jobs.shelves.blend import Blend
from jobs.shelves.top_n import top_n
from tests.bench.figures import Figure, best_of

CATALOGUES = (100_000, 1_000_000)
USERS, HISTORY, CANDIDATES, TOP_N, CATEGORIES, TASTES = 256, 30, 1_000, 100, 500, 4
KEEP = Parameters().ranking.coarse_keep
MORE = 3
"""Each source brings so many times what it would, or CANDIDATES would not come together."""
NIGHT_USERS, NIGHT_ITEMS, CORE_HOUR_USD = 100_000_000, 10_000_000, 0.04
"""A core-hour's price is taken as 4 cents, about what a cloud's shared core cost in 2026 without any discount."""
BLEND = Blend(mmr_lambda=0.9, most_of={"category": 5})
RNG = np.random.default_rng(20260101)


def counts(n: int) -> np.ndarray:
    """Numbers as skewed as a shop's: many are zero, a few are large."""
    return RNG.zipf(1.6, n).clip(0, 10_000).astype(np.int64) - 1


def of_category(category: np.ndarray, n_items: int) -> np.ndarray:
    """A random item of each category; item i is of category i modulo CATEGORIES."""
    return (RNG.integers(0, n_items // CATEGORIES, category.shape) * CATEGORIES + category).astype(np.int32)


def catalogue(n: int) -> Catalogue:
    names = {*ITEM_FEATURES, "weight_90d", "weight_total", "stock"}
    columns = {name: counts(n) for name in sorted(names)} | {"price_minor": 100 + counts(n)}
    return Catalogue(
        item_id=pa.array([f"item-{number:08d}" for number in range(n)]),
        columns=columns,
        category_code=(np.arange(n) % CATEGORIES).astype(np.int32),
        category_names=tuple(f"category-{number}" for number in range(CATEGORIES)),
    )


def sources(n: int) -> Sources:
    """Artifacts of the right shapes: 100 neighbours an item, 64 factors, 64 content dimensions."""
    centres = RNG.normal(size=(CATEGORIES, 64)).astype(np.float32)

    def near(most: int) -> sp.csr_matrix:
        indices = of_category(np.repeat(np.arange(n) % CATEGORIES, most), n)
        matrix = sp.csr_matrix((RNG.random(n * most, np.float32), indices, np.arange(0, n * most + 1, most)), (n, n))
        matrix.sum_duplicates()
        return matrix

    def vectors() -> np.ndarray:
        found = RNG.standard_normal(size=(n, 64), dtype=np.float32) * 0.7
        found += centres[np.arange(n) % CATEGORIES]
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    chosen = Parameters()
    neighbours = {name: near(60 if name == "content" else 100) for name in NEIGHBOURS}
    factors = vectors()
    index = {CF: index_of(factors, factors, USUALLY_ASKED).index}  # as the artifact holds it
    of = CfParameters.of(chosen)
    decay_days = chosen.candidates.taste_decay_days
    return Sources(catalogue(n), factors, vectors(), neighbours, of, decay_days, indexes=index)


def shoppers(n_items: int) -> ShopperHistories:
    """Shoppers with HISTORY items each, of TASTES categories."""
    rows = USERS * HISTORY
    tastes = RNG.integers(0, CATEGORIES, (USERS, TASTES))
    category = tastes[np.arange(USERS)[:, None], RNG.integers(0, TASTES, (USERS, HISTORY))]
    item = np.sort(of_category(category, n_items), axis=1).ravel().astype(np.int64)
    names = {*PAIR_FEATURES, "purchase_day_count", "cart_count"}
    history = {name: counts(rows) for name in sorted(names)}
    history |= {"last_event_ts": RNG.integers(0, 10**9, rows) * 1_000_000}
    history |= {"item_pos": item, "weight_milli": 1_000 * (1 + counts(rows))}
    return ShopperHistories(
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
    size = len(features) // USERS  # groups need not be real users here
    used = size * USERS
    data = lgb.Dataset(
        features[:used],
        label=label[:used],
        group=[size] * USERS if objective == "lambdarank" else None,
        feature_name=list(FEATURES),
        categorical_feature=list(CATEGORICAL_FEATURES),
    )
    shape = {"num_leaves": chosen.ranking.leaves, "feature_fraction": chosen.ranking.feature_fraction}
    fixed = {"objective": objective, "num_threads": 1, "verbosity": -1}
    return lgb.train({**fixed, **shape}, data, chosen.ranking.trees)


def on_two_cores(work: object) -> float:
    """Seconds that two processes which share this one's memory take to each do the work at the same time.

    Each does it once before, as a forked process has pages to copy and thread pools to start.
    """
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(3)

    def run() -> None:
        with threadpool_limits(1):
            work()  # type: ignore[operator]
            ready.wait()
            work()  # type: ignore[operator]

    both = [context.Process(target=run) for _ in range(2)]
    for process in both:
        process.start()
    ready.wait()
    began = time.perf_counter()
    for process in both:
        process.join()
    return time.perf_counter() - began


def measured(n_items: int) -> tuple[list[Figure], float]:
    """The figures of one catalogue, and the users a second on one core."""
    drawn, batch = sources(n_items), shoppers(n_items)
    found = candidates(batch, drawn, CANDIDATES)  # fills what is cached: the index, the catalogue's lists
    features = ranking_features(batch, found, drawn)
    heads = {"purchase": trained(features, "binary"), ORDER: trained(features, "lambdarank")}
    compiled = {name: compile_once(head.model_to_string()) for name, head in heads.items()}
    ranker = Ranker({"purchase": heads["purchase"]}, {"purchase": 1.0}, 0.15, heads[ORDER], 0.5, compiled=compiled)
    plain = Ranker(ranker.heads, ranker.weights, 0.15, ranker.order, 0.5)
    taught = train_coarse_cut(
        features,
        found.user,
        ranker.value(features),
        Parameters().with_values({"shelves.top_n": TOP_N, "ranking.threads": 1}),
    )
    compiled[COARSE] = compile_once(taught.model_to_string())
    ranker = replace(ranker, coarse=taught, compiled=compiled)
    fine = [compiled["purchase"], compiled[ORDER]]

    def whole() -> None:
        top_n(batch, candidates(batch, drawn, CANDIDATES), drawn, ranker, TOP_N, BLEND, keep=KEEP)

    drawing_s = best_of(3, lambda: candidates(batch, drawn, CANDIDATES))
    joining_s = best_of(3, lambda: ranking_features(batch, found, drawn))
    ranking_s = best_of(3, lambda: top_n(batch, found, drawn, ranker, TOP_N))
    blending_s = best_of(3, lambda: top_n(batch, found, drawn, ranker, TOP_N, BLEND))
    plain_s = best_of(3, lambda: top_n(batch, found, drawn, plain, TOP_N))
    cut_s = best_of(3, lambda: top_n(batch, found, drawn, ranker, TOP_N, BLEND, keep=KEEP))
    bare_s = best_of(3, lambda: [predict(features) for predict in fine])
    whole_s, two_s = best_of(3, whole), min(on_two_cores(whole) for _ in range(3))
    rows, users = len(found.user), USERS / whole_s
    bare, one = "bare lleaves: both heads on a ready matrix", "one core, the same"
    size = f"{n_items:,} items"
    figures = [
        Figure(f"{size}: candidates a user", rows / USERS, ""),
        Figure(f"{size}: candidates", USERS / drawing_s, "users/s a core"),
        Figure(f"{size}: features alone", rows / joining_s, "rows/s a core"),
        Figure(f"{size}: features to top {TOP_N}", rows / ranking_s, "rows/s a core", rows / bare_s, bare, "0.6"),
        Figure(f"{size}: the same, blended", rows / blending_s, "rows/s a core", rows / bare_s, bare, "0.6"),
        Figure(f"{size}: not blended, trees not compiled", rows / plain_s, "rows/s a core", rows / bare_s, bare),
        Figure(
            f"{size}: blended, with the coarse cut to {KEEP}",
            rows / cut_s,
            "rows/s a core",
            rows / blending_s,
            "uncut",
        ),
        Figure(f"{size}: candidates to blended shelf", users, "users/s a core"),
        Figure(f"{size}: candidates to blended shelf, two cores", 2 * USERS / two_s, "users/s", users, one, "2"),
    ]
    return figures, users


def main() -> Sequence[Figure]:
    QUOTA.update({name: MORE * most for name, most in QUOTA.items()})
    figures: list[Figure] = []
    rates = []
    with threadpool_limits(1):
        for n_items in CATALOGUES:
            some, users = measured(n_items)
            figures += some
            rates.append(users)
    steps = np.log(NIGHT_ITEMS / CATALOGUES[-1]) / np.log(CATALOGUES[-1] / CATALOGUES[0])
    rate = rates[-1] * min(1, rates[-1] / rates[0]) ** steps
    hours = NIGHT_USERS / rate / 3600
    size = f"{NIGHT_USERS:,} users, {NIGHT_ITEMS:,} items, calculated"
    return [
        *figures,
        Figure(f"{size}: rate", rate, "users/s a core"),
        Figure(f"{size}: candidates to blended shelf", hours, "core-hours"),
        Figure(f"{size}: at {CORE_HOUR_USD} USD a core-hour", hours * CORE_HOUR_USD, "USD"),
    ]
