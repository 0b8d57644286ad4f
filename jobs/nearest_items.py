"""Find the items whose vectors have the largest inner product with a query, with FAISS.

Exactly up to EXACT_ITEMS items; above, by an inverted file (IVF) that looks into as many of its lists as it takes to
find RECALL of what the exact search finds for a sample of the queries. Filled and asked on one thread: same vectors,
same answer, and Spark runs a task a core.
"""

from dataclasses import dataclass

import faiss
import numpy as np
import numpy.typing as npt

EXACT_ITEMS = 50_000
RECALL = 0.95
SAMPLE = 200
BLOCK = 4_096
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Nearest:
    """For each query its items, the largest product first, -1 where there are fewer; and the recall on a sample."""

    position: npt.NDArray[np.int64]
    score: Vectors
    recall: float


def nearest(items: Vectors, queries: Vectors, most: int) -> Nearest:
    """Return the `most` items for each query; [n_items, d] and [n_queries, d] float32."""
    faiss.omp_set_num_threads(1)
    index, recall = index_of(items, queries, most)
    parts = [index.search(np.ascontiguousarray(block), min(most, len(items))) for block in _blocks(queries)]
    if not parts:
        return Nearest(np.empty((0, most), np.int64), np.empty((0, most), np.float32), recall)
    return Nearest(np.concatenate([at for _, at in parts]), np.concatenate([score for score, _ in parts]), recall)


def _blocks(queries: Vectors) -> list[Vectors]:
    return [queries[start : start + BLOCK] for start in range(0, len(queries), BLOCK)]


def index_of(items: Vectors, queries: Vectors, most: int) -> tuple[faiss.Index, float]:
    """Return an index of the items and its recall at `most` for the first SAMPLE queries."""
    exact = faiss.IndexFlatIP(items.shape[1])
    exact.add(np.ascontiguousarray(items))
    if len(items) <= EXACT_ITEMS:
        return exact, 1.0
    lists = int(4 * np.sqrt(len(items)))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(items.shape[1]), items.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
    index.train(np.ascontiguousarray(items[:: max(1, len(items) // (40 * lists))]))
    index.add(np.ascontiguousarray(items))
    sample = np.ascontiguousarray(queries[:: max(1, len(queries) // SAMPLE)][:SAMPLE])
    _, wanted = exact.search(sample, most)
    index.nprobe = 8
    while True:
        _, found = index.search(sample, most)
        hits = [len(np.intersect1d(one, other)) for one, other in zip(wanted, found, strict=True)]
        recall = float(np.mean(hits) / most) if hits else 1.0
        if recall >= RECALL or index.nprobe >= lists:
            return index, recall
        index.nprobe *= 2
