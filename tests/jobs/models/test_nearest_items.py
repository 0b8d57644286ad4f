"""Nearest items by inner product: exact where it can be, of measured recall where it cannot."""

import os
import subprocess
import sys
from datetime import date

import numpy as np
import pytest

from jobs.lake.lake import Lake
from jobs.models import nearest_items
from jobs.models.nearest_items import INDEX, index_of, load_index, nearest

RNG = np.random.default_rng(3)
ITEMS = RNG.normal(size=(600, 8)).astype(np.float32)
QUERIES = RNG.normal(size=(40, 8)).astype(np.float32)


def test_a_small_catalogue_is_searched_exactly() -> None:
    found = nearest(ITEMS, QUERIES, 10)
    wanted = np.argsort(-(QUERIES @ ITEMS.T), axis=1, kind="stable")[:, :10]
    assert np.array_equal(found.position, wanted)
    assert np.allclose(found.score, np.take_along_axis(QUERIES @ ITEMS.T, wanted, axis=1), atol=1e-5)
    assert found.recall == 1.0


@pytest.mark.parametrize("hnsw_items", [0, 1_000], ids=["lists", "lists or a graph"])
def test_a_large_catalogue_is_searched_with_measured_recall_and_the_same_way_each_time(
    monkeypatch: pytest.MonkeyPatch, hnsw_items: int
) -> None:
    monkeypatch.setattr(nearest_items, "EXACT_ITEMS", 100)
    monkeypatch.setattr(nearest_items, "HNSW_ITEMS", hnsw_items)
    monkeypatch.setitem(nearest_items.COST, "exact", 1e9)
    one, other = nearest(ITEMS, QUERIES, 10), nearest(ITEMS, QUERIES, 10)
    assert np.array_equal(one.position, other.position)
    wanted = np.argsort(-(QUERIES @ ITEMS.T), axis=1, kind="stable")[:, :10]
    hits = np.mean([len(np.intersect1d(a, b)) for a, b in zip(one.position, wanted, strict=True)]) / 10
    assert one.recall >= nearest_items.RECALL
    assert hits == pytest.approx(one.recall)


@pytest.mark.parametrize("cheapest", ["exact", "ivf", "hnsw"])
def test_of_the_kinds_with_the_recall_the_one_that_costs_least_is_taken(
    monkeypatch: pytest.MonkeyPatch, cheapest: str
) -> None:
    monkeypatch.setattr(nearest_items, "EXACT_ITEMS", 100)
    for kind in nearest_items.COST:
        monkeypatch.setitem(nearest_items.COST, kind, 1.0 if kind == cheapest else 1e9)
    best = index_of(ITEMS, QUERIES, 10)
    assert best.kind == cheapest
    assert nearest_items.RECALL <= best.recall <= 1
    assert best.distances < len(ITEMS) * 2


@pytest.mark.parametrize("exact_items", [100, 10_000])
def test_an_artifacts_index_answers_as_it_did_when_it_was_measured(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, exact_items: int
) -> None:
    monkeypatch.setattr(nearest_items, "EXACT_ITEMS", exact_items)
    monkeypatch.setitem(nearest_items.COST, "exact", 1e9)
    built, ds = index_of(ITEMS, QUERIES, 10), date(2026, 1, 31)
    arrays = {"item_factors": ITEMS} | built.array()
    assert (INDEX in arrays) == (exact_items < len(ITEMS))
    lake.write_artifact("artifacts/cf", ds, arrays, inputs={}, metrics={"index": built.facts()})
    back = load_index(lake, "artifacts/cf", ds, lake.array("artifacts/cf", ds, "item_factors"))
    for one, other in zip(back.search(QUERIES, 10), built.index.search(QUERIES, 10), strict=True):
        np.testing.assert_array_equal(one, other)


def test_more_items_than_there_are_give_all_and_no_query_gives_no_row() -> None:
    assert nearest(ITEMS[:3], QUERIES, 10).position.shape == (40, 3)
    assert nearest(ITEMS, QUERIES[:0], 10).position.shape == (0, 10)


def test_of_no_items_none_is_nearest() -> None:
    assert nearest(np.zeros((0, 4), np.float32), np.ones((3, 4), np.float32), 5).position.shape == (3, 0)


def test_every_blas_of_a_night_runs_on_one_thread_and_implicit_has_nothing_to_warn_of() -> None:
    code = """
import warnings
import jobs.models.als_choice
from implicit.als import AlternatingLeastSquares
from threadpoolctl import threadpool_info
threads = {library["filepath"]: library["num_threads"] for library in threadpool_info()}
blas = [library["filepath"] for library in threadpool_info() if library["user_api"] == "blas"]
assert len(blas) >= 2, threads  # NumPy's and FAISS's
assert {threads[path] for path in blas} == {1}, threads
warnings.simplefilter("error")
AlternatingLeastSquares(factors=4)
"""
    several = os.environ | {"OMP_NUM_THREADS": "3"}  # what FAISS's OpenBLAS takes, whatever OPENBLAS_NUM_THREADS says
    done = subprocess.run([sys.executable, "-c", code], env=several, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
