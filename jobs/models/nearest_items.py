"""Find the items whose vectors have the largest inner product with a query, with FAISS.

Exactly up to EXACT_ITEMS items. Above, an inverted file (IVF) looks into as many of its lists, and a graph (HNSW;
Malkov and Yashunin 2020) keeps as many paths open, as it takes to find RECALL of what the exact search finds for a
sample of the queries; whichever of the two then computes fewer distances a query is taken. Counted, not timed, and
filled and asked on one thread: same vectors, same index. An artifact holds such an index with what was measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from jobs.lake.lake import Lake

EXACT_ITEMS = 50_000
HNSW_ITEMS = 200_000
"""A graph of more items would take a single thread too long to fill."""
HNSW_LINKS = 32
RECALL = 0.95
SAMPLE = 200
BLOCK = 4_096
MOST_ASKED = 300
"""So many of a shopper's nearest items are asked for at most, and an artifact's index is measured at."""
INDEX = "item_index"
"""The array of an artifact that holds its index, serialized; an exact one needs none."""
COUNTED: Any = faiss.cvar
"""FAISS's own counts of the distances that its indexes compute."""
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Built:
    """An index, and what was measured of it on a sample of queries."""

    index: faiss.Index
    kind: str
    recall: float
    distances: float
    """Computed a query."""

    def told(self) -> dict[str, Any]:
        """Return what an artifact's manifest says of its index."""
        return {"kind": self.kind, "recall": round(self.recall, 4), "distances_a_query": round(self.distances)}

    def array(self) -> dict[str, npt.NDArray[np.uint8]]:
        """Return the index as an artifact's array, by name; none of an exact one."""
        return {} if self.kind == "exact" else {INDEX: np.asarray(faiss.serialize_index(self.index))}


@dataclass(frozen=True)
class Nearest:
    """For each query its items, the largest product first, -1 where there are fewer; and the recall on a sample."""

    position: npt.NDArray[np.int64]
    score: Vectors
    recall: float


def nearest(items: Vectors, queries: Vectors, most: int) -> Nearest:
    """Return the `most` items for each query; [n_items, d] and [n_queries, d] float32."""
    built = index_of(items, queries, most)
    parts = [built.index.search(np.ascontiguousarray(block), min(most, len(items))) for block in _blocks(queries)]
    if not parts:
        return Nearest(np.empty((0, most), np.int64), np.empty((0, most), np.float32), built.recall)
    found = (np.concatenate(of) for of in zip(*parts, strict=True))
    score, position = found
    return Nearest(position, score, built.recall)


def _blocks(queries: Vectors) -> list[Vectors]:
    return [queries[start : start + BLOCK] for start in range(0, len(queries), BLOCK)]


def index_of(items: Vectors, queries: Vectors, most: int) -> Built:
    """Return an index of the items, with its recall at `most` for SAMPLE of the queries."""
    faiss.omp_set_num_threads(1)
    if len(items) <= EXACT_ITEMS:
        return Built(exact_index(items), "exact", 1.0, len(items))
    sample = np.ascontiguousarray(queries[:: max(1, len(queries) // SAMPLE)][:SAMPLE])
    wanted = exact_index(items).search(sample, most)[1]
    tried = [_inverted_file(items, sample, wanted)]
    if len(items) <= HNSW_ITEMS:
        tried.append(_graph(items, sample, wanted))
    return min(tried, key=lambda built: (built.recall < RECALL, built.distances))


def exact_index(items: Vectors) -> faiss.Index:
    """Return the index that compares a query with every item."""
    index = faiss.IndexFlatIP(items.shape[1])
    index.add(np.ascontiguousarray(items))
    return index


def _inverted_file(items: Vectors, sample: Vectors, wanted: npt.NDArray[np.int64]) -> Built:
    """Return an index that looks into as many of its lists as it takes."""
    lists = int(4 * np.sqrt(len(items)))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(items.shape[1]), items.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
    index.train(np.ascontiguousarray(items[:: max(1, len(items) // (40 * lists))]))
    index.add(np.ascontiguousarray(items))
    index.nprobe = 8
    while True:
        COUNTED.indexIVF_stats.reset()
        recall = _recall(index, sample, wanted)
        if recall >= RECALL or index.nprobe >= lists:
            distances = lists + COUNTED.indexIVF_stats.ndis / max(len(sample), 1)
            return Built(index, "ivf", recall, distances)
        index.nprobe *= 2


def _graph(items: Vectors, sample: Vectors, wanted: npt.NDArray[np.int64]) -> Built:
    """Return an index that keeps as many paths open as it takes, up to sixteen times what is asked for."""
    index = faiss.IndexHNSWFlat(items.shape[1], HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
    index.add(np.ascontiguousarray(items))
    index.hnsw.efSearch = wanted.shape[1]
    while True:
        COUNTED.hnsw_stats.reset()
        recall = _recall(index, sample, wanted)
        if recall >= RECALL or index.hnsw.efSearch >= 16 * wanted.shape[1]:
            return Built(index, "hnsw", recall, COUNTED.hnsw_stats.ndis / max(len(sample), 1))
        index.hnsw.efSearch *= 2


def _recall(index: faiss.Index, sample: Vectors, wanted: npt.NDArray[np.int64]) -> float:
    found = index.search(sample, wanted.shape[1])[1]
    hits = [len(np.intersect1d(one, other)) for one, other in zip(wanted, found, strict=True)]
    return float(np.mean(hits) / wanted.shape[1]) if hits else 1.0


def load_index(lake: Lake, artifact: str, ds: date, items: Vectors) -> faiss.Index:
    """Return the index of an artifact's item vectors: the one that it holds, or an exact one.

    Raises:
        MissingPartitionError: the artifact was not built.
    """
    faiss.omp_set_num_threads(1)
    told: Mapping[str, Any] = lake.manifest(artifact, ds).metrics.get("index", {})
    if told.get("kind", "exact") == "exact":
        return exact_index(items)
    return faiss.deserialize_index(np.ascontiguousarray(lake.array(artifact, ds, INDEX)))
