"""Spark's ALS behind artifacts/cf: it finds what implicit finds, in the same places, the same bytes every time."""

from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from jobs.config.parameters import Parameters
from jobs.features.strength import interaction_values
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest
from jobs.lake.tables import CF
from jobs.models.als import CfParameters
from jobs.models.als_spark import LEAST_RATING, balance, ratings_of
from jobs.models.collaborative import build
from tests.jobs.small_shop import catalogue, lay, shoppers, sources, touch

DS = date(2026, 1, 31)
N_USERS, N_EACH, N_TOUCHED, N_IDLE = 200, 40, 12, 3
N_ITEMS = 2 * N_EACH + N_IDLE
IMPLICIT = Parameters().with_values(
    {"models.als.factors": 4, "models.als.alpha": 10.0, "models.als.regularization": 40.0, "models.als.iterations": 5}
)
ON_SPARK = IMPLICIT.with_values({"models.als.on_spark_from_pairs": 0})
RNG = np.random.default_rng(11)
TASTE = np.arange(N_USERS) % 2
TOUCHED = np.stack([RNG.permutation(N_EACH)[:N_TOUCHED] * 2 + taste for taste in TASTE])
"""Even users keep to even items, odd ones to odd; the last items of the catalogue nobody touches."""
STRAY = RNG.integers(0, 2 * N_EACH, N_USERS)
"""And each looked at something once, of either kind."""


def lay_two_tastes(lake: Lake) -> None:
    user = np.repeat(np.arange(N_USERS), N_TOUCHED)
    weight = RNG.choice([1000, 3000, 5000, 15000], user.size)
    pairs = {(u, i): w for u, i, w in zip(range(N_USERS), STRAY.tolist(), [500] * N_USERS, strict=True)}
    pairs |= {(int(u), int(i)): int(w) for u, i, w in zip(user, TOUCHED.ravel(), weight, strict=True)}
    pairs |= {(u, 2 * N_EACH): 0 for u in range(9)}  # only seen
    given = sorted(pairs.items())
    columns = {
        "user_id": pa.array([f"user-{user:04d}" for (user, _), _ in given]),
        "item_pos": pa.array([item for (_, item), _ in given], pa.int32()),
        "weight_milli": pa.array([weight for _, weight in given], pa.int64()),
        "days_since_last_event": pa.array([1] * len(given), pa.int32()),
        "last_event_ts": pa.array([0] * len(given), pa.timestamp("us", "UTC")),
    }
    lay(lake, "features/item", DS, pa.table({"item_pos": range(N_ITEMS)}))
    lay(lake, "features/user_item", DS, pa.table(columns))
    lay(lake, "features/session_item", DS, pa.table({"session_id": pa.array([], pa.string())} | _empty(columns)))


def _empty(columns: dict[str, pa.Array]) -> dict[str, pa.Array]:
    return {name: of[:0] for name, of in columns.items() if name != "user_id"}


def factors_of(lake: Lake, parameters: Parameters) -> tuple[Manifest, np.ndarray]:
    told = build(lake, DS, parameters)
    return told, np.array(lake.array(CF, DS, "item_factors"))


def recall_of_the_planted(factors: np.ndarray) -> float:
    """Of new shoppers with five items of a taste: the share of that taste among as many of the best unseen items."""
    known = np.stack([np.random.default_rng(user).permutation(N_EACH)[:5] * 2 + user % 2 for user in range(60)])
    folded_in = shoppers(N_ITEMS, *[[touch(int(item), bought=1) for item in row] for row in known])
    model = replace(sources(catalogue(N_ITEMS), factors), cf=CfParameters.of(IMPLICIT)).als
    scores = model.users(folded_in.matrix()) @ factors.T
    np.put_along_axis(scores, known, -np.inf, axis=1)
    best = np.argsort(-scores, axis=1, kind="stable")[:, : N_EACH - 5]
    planted = (best % 2 == np.arange(len(known))[:, None] % 2) & (best < 2 * N_EACH)
    return float(planted.mean())


def test_both_libraries_fit_pairs_and_rank_for_new_shoppers_about_equally_well(
    spark: SparkSession, lake: Lake
) -> None:
    lay_two_tastes(lake)
    on_one, by_implicit = factors_of(lake, IMPLICIT)
    on_many, by_spark = factors_of(lake, ON_SPARK)
    found = recall_of_the_planted(by_implicit), recall_of_the_planted(by_spark)
    assert min(found) > 0.9  # chance is 0.45
    assert abs(found[0] - found[1]) < 0.03
    # Not the same factors, but the same model: each item's likeness to each other, and its length.
    likeness = [(of @ of.T)[: 2 * N_EACH, : 2 * N_EACH].ravel() for of in (by_implicit, by_spark)]
    assert np.corrcoef(likeness)[0, 1] > 0.99
    lengths = [np.linalg.norm(of[: 2 * N_EACH], axis=1).mean() for of in (by_implicit, by_spark)]
    assert lengths[1] == pytest.approx(lengths[0], rel=0.1)
    assert not by_implicit[2 * N_EACH :].any()
    assert not by_spark[2 * N_EACH :].any()
    assert by_spark.dtype == np.float32
    assert by_spark[: 2 * N_EACH].any(axis=1).all()
    # The rest of the artifact is the same, and its manifest tells which library it was.
    assert {name for name in on_one.files if on_one.files[name] != on_many.files[name]} == {"item_factors.npy"}
    assert (on_one.parameters["on_spark"], on_many.parameters["on_spark"]) == (False, True)
    build(lake, DS, IMPLICIT)
    again, _ = factors_of(lake, ON_SPARK)
    assert again.files == on_many.files


def test_a_rating_is_implicits_confidence_minus_one_and_each_user_has_one_number(spark: SparkSession) -> None:
    rows = [("ä", 2, 1000), ("b", 1, 5000), ("ä", 0, 500), ("Z", 0, 0), ("b", 0, 3000)]
    found = ratings_of(spark.createDataFrame(rows, "user_id string, item_pos int, weight_milli long"), 2.0).collect()
    told = {(row.user, row.item): row.rating for row in found}
    (of_b,) = {user for user, item in told if item == 1}
    (of_a,) = {user for user, item in told if item == 2}
    assert of_a != of_b
    value = dict(zip((500, 1000, 3000, 5000), interaction_values(np.array([500, 1000, 3000, 5000])), strict=True))
    wanted = {(of_a, 2): 2 * value[1000] - 1, (of_b, 1): 2 * value[5000] - 1, (of_b, 0): 2 * value[3000] - 1}
    assert told == pytest.approx(wanted | {(of_a, 0): LEAST_RATING}, rel=1e-6)


def test_balanced_factors_score_as_before_and_have_the_same_gram_matrix() -> None:
    draw = np.random.default_rng(5)
    users, items = draw.normal(size=(50, 6)), draw.normal(size=(20, 6)) * 40
    items[:, 5] = items[:, 4]  # one direction that items do not have
    turned = items @ balance(users.T @ users, items.T @ items)
    scores = users @ items.T
    balanced = scores @ turned @ np.linalg.pinv(turned.T @ turned)  # the users' factors beside the items'
    np.testing.assert_allclose(balanced @ turned.T, scores, atol=1e-8)
    np.testing.assert_allclose(balanced.T @ balanced, turned.T @ turned, atol=1e-8)
    assert np.linalg.matrix_rank(turned) == 5
