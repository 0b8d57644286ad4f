"""Find the items whose vectors have the largest inner product with a query, with FAISS.

Up to EXACT_ITEMS items the search is exact. Above, two kinds of index are measured on a sample of the queries: an
inverted file (IVF) that looks into more and more of its lists, and a graph (HNSW; Malkov and Yashunin 2020) that
keeps more and more paths open, until each finds RECALL of what the exact search finds. The cheapest of the three is
kept: what it costs is its distances a query, times COST. Distances are counted, not timed, and an index is filled and
searched on one thread, so the same vectors give the same index. An artifact holds its index and what was measured
of it.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any

import faiss
import msgspec
import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from jobs.lake.lake import Lake
from jobs.numeric.arrays import Floats, Positions

# FAISS brings an OpenBLAS of its own. That one is built on OpenMP and reads OMP_NUM_THREADS alone, which must stay
# free for implicit and LightGBM; without this limit its BLAS would run a thread a core beside theirs.
threadpool_limits(1, "blas")

EXACT_ITEMS = 50_000
HNSW_ITEMS = 200_000
"""A graph of more items takes one thread too long to fill."""
HNSW_LINKS = 32
RECALL = 0.95
SAMPLE = 200
"""Queries that an index is measured on."""
BLOCK = 4_096
COST = {"exact": 0.5, "ivf": 1.0, "hnsw": 4.0}
"""What a distance costs beside one of an inverted file, by kind of index. The exact search is a product of matrices,
an inverted file reads its lists one after the other, and a graph jumps: of 100,000 items of 128 factors 12, 25 and 93
ns a distance, of 64 factors 5, 18 and 147."""
USUALLY_ASKED = 150
"""So many nearest items are asked for nearly every shopper; an artifact's index is measured with as many."""
INDEX = "item_index"
"""The array of an artifact that holds its index, serialized. An exact index is not stored."""
COUNTS: Any = faiss.cvar
"""FAISS's counts of the distances that its indexes compute."""


class IndexFacts(msgspec.Struct, frozen=True):
    """What an artifact's manifest says of its index."""

    kind: str = "exact"
    """`exact`, `ivf` or `hnsw`."""
    recall: float = 1.0
    """The share of the exact search's items that the index finds for the sample."""
    distances_a_query: int = 0


@dataclass(frozen=True)
class MeasuredIndex:
    """An index, and what was measured of it on a sample of queries."""

    index: faiss.Index
    kind: str
    recall: float
    distances: float
    """How many distances a query computes, on average."""

    def facts(self) -> dict[str, object]:
        """Return IndexFacts as a manifest holds them."""
        return msgspec.structs.asdict(IndexFacts(self.kind, round(self.recall, 4), round(self.distances)))

    def array(self) -> dict[str, npt.NDArray[np.uint8]]:
        """Return the index as an array of an artifact, by its name; nothing for an exact index."""
        return {} if self.kind == "exact" else {INDEX: np.asarray(faiss.serialize_index(self.index))}


@dataclass(frozen=True)
class Nearest:
    """Each query's nearest items, [n_queries, most], largest product first; position -1 where there are fewer."""

    position: Positions
    score: Floats
    recall: float
    """Of the index, on a sample of the queries."""


def nearest(items: Floats, queries: Floats, most: int) -> Nearest:
    """Return the `most` items [n_items, d] with the largest inner product with each query [n_queries, d]."""
    built = index_of(items, queries, most)
    if not len(items):  # FAISS refuses to look for none
        return Nearest(np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32), built.recall)
    blocks = [queries[start : start + BLOCK] for start in range(0, len(queries), BLOCK)]
    answers = [built.index.search(np.ascontiguousarray(block), min(most, len(items))) for block in blocks]
    if not answers:
        return Nearest(np.empty((0, most), np.int64), np.empty((0, most), np.float32), built.recall)
    score, position = (np.concatenate(arrays) for arrays in zip(*answers, strict=True))
    return Nearest(position, score, built.recall)


def index_of(items: Floats, queries: Floats, most: int) -> MeasuredIndex:
    """Return an index of the items, with its recall at `most` for SAMPLE of the queries."""
    faiss.omp_set_num_threads(1)
    exact = MeasuredIndex(exact_index(items), "exact", 1.0, len(items))
    if len(items) <= EXACT_ITEMS:
        return exact
    sample = np.ascontiguousarray(queries[:: max(1, len(queries) // SAMPLE)][:SAMPLE])
    wanted = exact.index.search(sample, most)[1]
    measured = [exact, _inverted_file(items, sample, wanted)]
    if len(items) <= HNSW_ITEMS:
        measured.append(_graph(items, sample, wanted))
    return min(measured, key=lambda found: (found.recall < RECALL, found.distances * COST[found.kind]))


def exact_index(items: Floats) -> faiss.Index:
    """Return the index that compares a query with every item."""
    index = faiss.IndexFlatIP(items.shape[1])
    index.add(np.ascontiguousarray(items))
    return index


def _inverted_file(items: Floats, sample: Floats, wanted: Positions) -> MeasuredIndex:
    """Return an inverted file that looks into as many of its lists as RECALL takes."""
    lists = int(4 * np.sqrt(len(items)))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(items.shape[1]), items.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
    index.train(np.ascontiguousarray(items[:: max(1, len(items) // (40 * lists))]))
    index.add(np.ascontiguousarray(items))
    index.nprobe = 8
    while True:
        COUNTS.indexIVF_stats.reset()
        recall = _recall(index, sample, wanted)
        if recall >= RECALL or index.nprobe >= lists:
            distances = lists + COUNTS.indexIVF_stats.ndis / max(len(sample), 1)
            return MeasuredIndex(index, "ivf", recall, distances)
        index.nprobe *= 2


def _graph(items: Floats, sample: Floats, wanted: Positions) -> MeasuredIndex:
    """Return a graph that keeps as many paths open as RECALL takes, at most sixteen times the items asked for."""
    index = faiss.IndexHNSWFlat(items.shape[1], HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
    index.add(np.ascontiguousarray(items))
    index.hnsw.efSearch = wanted.shape[1]
    while True:
        COUNTS.hnsw_stats.reset()
        recall = _recall(index, sample, wanted)
        if recall >= RECALL or index.hnsw.efSearch >= 16 * wanted.shape[1]:
            return MeasuredIndex(index, "hnsw", recall, COUNTS.hnsw_stats.ndis / max(len(sample), 1))
        index.hnsw.efSearch *= 2


def _recall(index: faiss.Index, sample: Floats, wanted: Positions) -> float:
    nearest_items = index.search(sample, wanted.shape[1])[1]
    hits = [len(np.intersect1d(one, other)) for one, other in zip(wanted, nearest_items, strict=True)]
    return float(np.mean(hits) / wanted.shape[1]) if hits else 1.0


def load_index(lake: Lake, artifact: str, ds: date, items: Floats) -> faiss.Index:
    """Return the index of an artifact's item vectors: the one that the artifact holds, or an exact one.

    Raises:
        MissingPartitionError: the artifact was not built.
    """
    faiss.omp_set_num_threads(1)
    facts = msgspec.convert(lake.manifest(artifact, ds).metrics.get("index", {}), IndexFacts)
    if facts.kind == "exact":
        return exact_index(items)
    return faiss.deserialize_index(np.ascontiguousarray(lake.array(artifact, ds, INDEX)))
