"""CF on shops small enough for plain NumPy: neighbours, EASE, factors, and what is left out."""

from dataclasses import replace
from datetime import date
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jobs.config.parameters import Parameters
from jobs.features.strength import faded
from jobs.lake.lake import Lake
from jobs.lake.partitions import MissingPartitionError
from jobs.lake.tables import CF as CF_ARTIFACT
from jobs.models.als import CfParameters, Pairs, implicit_factors, matrices_of
from jobs.models.collaborative import INPUTS, build, train_cf
from tests.jobs.small_shop import CF, csr, drawn_history, lay, pairs_of

DS = date(2026, 1, 31)
MATRICES = ("item_item", "ease", "follows")
SHOP = pairs_of(drawn_history(5, 40, 30))
DAYS_AGO = arrays(np.int64, (9, 7), elements=st.integers(-40, 200))  # below zero: never touched
CLOSE = {"rtol": 1e-4, "atol": 2e-4}  # EASE leaves out weights below 1e-4


def pairs(days_ago: np.ndarray, strength: float = 1.0, n_users: int | None = None) -> Pairs:
    """Shoppers x items by the days since they last met; never where that is negative."""
    met = sp.csr_matrix(np.where(days_ago >= 0, days_ago + 1, 0).astype(np.float32))
    values = sp.csr_matrix((np.full(met.nnz, strength, np.float32), met.indices, met.indptr), met.shape)
    return Pairs(values, met, met, len(days_ago) if n_users is None else n_users)


def rows_of(found: dict[str, np.ndarray], name: str) -> list[list[tuple[int, float]]]:
    """Each item's neighbours as (item, value), in the artifact's order."""
    start = found[f"{name}_indptr"]
    both = list(zip(found[f"{name}_indices"].tolist(), found[f"{name}_data"].tolist(), strict=True))
    return [both[low:high] for low, high in pairwise(start)]


@settings(max_examples=30, deadline=None)
@given(DAYS_AGO, st.integers(1, 8))
def test_no_item_is_its_own_neighbour_and_neighbours_descend_with_ties_by_position(
    days_ago: np.ndarray, most: int
) -> None:
    days_ago[0] = 0  # somebody touched everything, or ALS has nothing to fit
    found = train_cf(pairs(days_ago), replace(CF, neighbours=most))
    for name in MATRICES:
        rows = rows_of(found, name)
        assert len(rows) == 7
        for item, row in enumerate(rows):
            assert item not in [other for other, _ in row], name
            assert row == sorted(row, key=lambda pair: (-pair[1], pair[0])), name
            assert len(row) <= most, name


@settings(max_examples=20, deadline=None)
@given(DAYS_AGO)
def test_ease_is_fitted_to_pairs_that_fade(days_ago: np.ndarray) -> None:
    days_ago[0] = 0
    arrays = train_cf(pairs(days_ago), replace(CF, neighbours=7))
    met = np.where(days_ago >= 0, np.exp(-days_ago / CF.ease_decay_days), 0)
    wanted = np.zeros((7, 7))
    for item in range(7):
        others = np.delete(np.arange(7), item)
        left = met[:, others].T @ met[:, others] + CF.ease_lambda * np.eye(6)
        wanted[others, item] = np.linalg.solve(left, met[:, others].T @ met[:, item])
    wanted[wanted < 1e-4] = 0
    np.testing.assert_allclose(csr(arrays, "ease", 7).toarray(), wanted, **CLOSE)


def test_ease_of_a_whole_shop_is_the_direct_solution() -> None:
    days = SHOP.days_since.toarray().astype(np.int64) - 1
    days[0] = 400  # somebody touched everything, long ago: all items are neighbours
    shop = pairs(days)
    found = csr(train_cf(shop, replace(CF, ease_lambda=5.0, neighbours=30)), "ease", 30).toarray()
    met = shop.days_since.toarray().astype(np.float64)
    met = np.where(met > 0, np.exp(-(met - 1) / CF.ease_decay_days), 0)
    inverse = np.linalg.inv(met.T @ met + 5.0 * np.eye(30))
    wanted = np.eye(30) - inverse / np.diag(inverse)
    assert (wanted > 0.01).sum() > 50
    np.testing.assert_allclose(found, np.maximum(wanted, 0), **CLOSE)


def test_only_the_strongest_weights_of_an_ease_row_are_kept() -> None:
    whole, cut = (rows_of(train_cf(SHOP, replace(CF, neighbours=most)), "ease") for most in (30, 3))
    assert max(map(len, whole)) > 6
    assert max(map(len, cut)) == 3


def test_anonymous_sessions_shape_neighbours_but_not_factors() -> None:
    alone = train_cf(replace(SHOP, n_users=25), CF)
    users = Pairs(SHOP.strength[:25], SHOP.days_since[:25], SHOP.moments[:25], 25)
    np.testing.assert_array_equal(alone["item_factors"], train_cf(users, CF)["item_factors"])
    assert not np.array_equal(alone["item_item_data"], train_cf(users, CF)["item_item_data"])


def test_the_same_pairs_give_the_same_bytes_and_another_seed_other_factors() -> None:
    one, other = train_cf(SHOP, CF), train_cf(SHOP, CF)
    assert all(one[name].tobytes() == other[name].tobytes() for name in one)
    assert not np.array_equal(train_cf(SHOP, replace(CF, seed=1))["item_factors"], one["item_factors"])


def test_the_number_of_threads_changes_no_bit() -> None:
    one, several = (implicit_factors(SHOP, CF, threads) for threads in (1, 3))
    assert one.tobytes() == several.tobytes()


def test_items_chosen_by_the_same_shoppers_have_similar_factors() -> None:
    met = np.kron(np.eye(2, dtype=np.int64), np.ones((8, 6), np.int64)) - 1  # two halves that share nobody
    factors = train_cf(pairs(met), replace(CF, factors=4, regularization=0.1, iterations=10))["item_factors"]
    near = factors / np.linalg.norm(factors, axis=1, keepdims=True)
    cosine = near @ near.T
    assert cosine[:6, :6].min() > 0.9
    assert np.abs(cosine[:6, 6:]).max() < 0.2


def test_a_pair_fades_to_e_to_the_minus_one_after_the_decay() -> None:
    np.testing.assert_allclose(faded(np.array([0, 60, 120]), 60.0), [1, np.exp(-1), np.exp(-2)], rtol=1e-6)


def rows(*given: tuple[str, int, int, int], key: str = "user_id") -> pa.Table:
    names = (key, "item_pos", "weight_milli", "days_since_last_event")
    kinds = (pa.string(), pa.int32(), pa.int64(), pa.int32())
    columns = list(zip(*given, strict=True)) or [()] * 4
    last = {"last_event_ts": pa.array([-86_400_000_000 * days for days in columns[3]], pa.timestamp("us", "UTC"))}
    return pa.table({name: pa.array(of, kind) for name, of, kind in zip(names, columns, kinds, strict=True)} | last)


def test_a_matrix_has_one_row_a_shopper_in_byte_order_and_no_entry_for_mere_impressions() -> None:
    given = rows(("b", 2, 1000, 0), ("Z", 0, 5000, 9), ("b", 1, 0, 3), ("ä", 1, 1000, 4))
    strength, since, moments = matrices_of(given, "user_id", 3)
    assert since.toarray().tolist() == [[10, 0, 0], [0, 0, 1], [0, 5, 0]]
    np.testing.assert_allclose(strength.toarray()[[0, 1, 2], [0, 2, 1]], [np.log(6), np.log(2), np.log(2)], rtol=1e-6)
    assert moments.toarray().tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert strength.nnz == since.nnz == moments.nnz == 3


def test_what_a_shopper_turned_to_last_is_the_first_moment_and_equal_times_share_one() -> None:
    given = rows(("a", 0, 1000, 5), ("a", 1, 1000, 2), ("a", 2, 1000, 5), ("b", 1, 1000, 9))
    assert matrices_of(given, "user_id", 3)[2].toarray().tolist() == [[2, 1, 2], [0, 1, 0]]


def laid(lake: Lake, users: pa.Table, n_items: int = 3) -> None:
    lay(lake, "features/item", DS, pa.table({"item_pos": range(n_items)}))
    lay(lake, "features/user_item", DS, users)
    lay(lake, "features/session_item", DS, rows(("s", 0, 1000, 1), ("s", 2, 1000, 1), key="session_id"))


def test_an_artifact_is_kept_until_what_it_is_made_of_changes(lake: Lake) -> None:
    laid(lake, rows(("a", 0, 1000, 1), ("a", 1, 5000, 1), ("b", 1, 1000, 2), ("b", 0, 1000, 1)))
    chosen = Parameters().with_values({"models.als.factors": 4, "models.als.iterations": 2})
    first = build(lake, DS, chosen)
    assert (first.metrics["users"], first.metrics["items"], first.metrics["anonymous_sessions"]) == (2, 3, 1)
    assert first.inputs == lake.fingerprints(DS, *INPUTS)
    assert first.parameters == vars(CfParameters.of(chosen))
    assert build(lake, DS, chosen) == first
    other = build(lake, DS, chosen.with_values({"models.als.factors": 5}))
    assert other.files != first.files
    assert build(lake, DS, chosen).files == first.files


def test_what_does_not_shape_the_fit_does_not_make_it_run_again(lake: Lake) -> None:
    laid(lake, rows(("a", 0, 1000, 1), ("b", 1, 1000, 2)))
    first = build(lake, DS, Parameters().with_values({"models.als.factors": 4}))
    assert (
        build(lake, DS, Parameters().with_values({"models.als.factors": 4, "shelves.top_n": 7, "ranking.trees": 3}))
        == first
    )


def test_a_shop_of_guests_alone_has_the_neighbours_of_their_visits(lake: Lake) -> None:
    laid(lake, rows(("a", 0, 0, 1)), n_items=5)
    built = build(lake, DS, Parameters())
    assert not lake.array(CF_ARTIFACT, DS, "item_factors").any()
    indptr, near = (lake.array(CF_ARTIFACT, DS, f"item_item_{part}") for part in ("indptr", "indices"))
    assert (indptr.tolist(), near.tolist()) == ([0, 1, 1, 2, 2, 2], [2, 0])
    assert built.metrics["als"] == "left out: no pair of a known shopper and a product"
    assert built.metrics["ease"] == "fitted"


@pytest.mark.parametrize("n_items", [0, 3])
def test_a_shop_without_events_or_without_products_has_an_artifact_without_pairs(lake: Lake, n_items: int) -> None:
    lay(lake, "features/item", DS, pa.table({"item_pos": pa.array(range(n_items), pa.int32())}))
    lay(lake, "features/user_item", DS, rows(("a", 0, 1000, 1)).slice(1))
    lay(lake, "features/session_item", DS, rows(("s", 0, 1000, 1), key="session_id").slice(1))
    built = build(lake, DS, Parameters())
    assert lake.array(CF_ARTIFACT, DS, "item_factors").shape == (n_items, 64)
    for name in MATRICES:
        assert lake.array(CF_ARTIFACT, DS, f"{name}_indptr").tolist() == [0] * (n_items + 1)
    assert built.metrics["ease"] == "left out: no pair of a shopper and a product"


def test_a_shop_without_times_says_that_nothing_follows(lake: Lake) -> None:
    laid(lake, rows(("a", 0, 1000, 1), ("a", 1, 1000, 1)))
    built = build(lake, DS, Parameters().with_values({"models.als.factors": 4}))
    assert built.metrics["follows"] == "left out: no shopper did one thing after another"


def test_a_shop_with_times_has_what_follows(lake: Lake) -> None:
    laid(lake, rows(("a", 0, 1000, 1), ("a", 1, 1000, 2)))
    built = build(lake, DS, Parameters().with_values({"models.als.factors": 4}))
    assert built.metrics["follows"] == "fitted"


def test_without_features_the_error_says_what_to_run(lake: Lake) -> None:
    with pytest.raises(MissingPartitionError, match="features/item has no ds=2026-01-31"):
        build(lake, DS, Parameters())


def test_a_shop_of_three_products_has_finite_values() -> None:
    found = train_cf(pairs(np.array([[1, 1, -1], [-1, 1, 1], [1, -1, -1]])), CF)
    assert all(np.isfinite(values).all() for values in found.values())
