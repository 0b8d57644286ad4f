"""Build `artifacts/content` for one day: what products are like, from their own words alone.

    topshelf stage train_content --ds 2026-01-31

Title words, category path, brand and price band make a TF-IDF vector, cut to DIMENSIONS by a truncated SVD (latent
semantic analysis, Deerwester et al. 1990). A product that nobody has touched yet has its neighbours all the same.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scipy.sparse as sp
from scipy.sparse.linalg import svds
from threadpoolctl import threadpool_limits

from jobs.config.parameters import Parameters
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest
from jobs.lake.tables import CONTENT
from jobs.models.nearest_items import EXACT_ITEMS, nearest

INPUTS = ("features/item",)
DIMENSIONS = 256
MANY_ITEMS_DIMENSIONS = 64
"""Above EXACT_ITEMS products: what a vector costs in memory and time, it costs that often."""
MAX_WORDS = 30_000
"""The most frequent words are kept; rarer ones would join nobody."""
_WORD = re.compile(r"[^\W\d_]{2,}")
COLUMNS = ["item_pos", "title", "category", "brand", "price_minor"]


@dataclass(frozen=True)
class ContentParameters:
    """What shapes the artifact; part of its manifest."""

    neighbours: int
    seed: int


def words_of(title: str, category: str, brand: str, price_minor: int | None) -> set[str]:
    """Return a product's words: of its title, each level of its category, its brand, and its price band."""
    found = set(_WORD.findall(title.lower()))
    found |= {f"category={path}" for path in accumulate(category.split("/"), "{}/{}".format) if path}
    if brand:
        found.add(f"brand={brand}")
    if price_minor:
        found.add(f"price={price_minor.bit_length()}")
    return found


def tf_idf(words: Sequence[set[str]]) -> sp.csr_matrix:
    """Return products x words, rows of unit length; a word must stand in two products at least."""
    count: dict[str, int] = {}
    for of_item in words:
        for word in of_item:
            count[word] = count.get(word, 0) + 1
    kept = sorted((word for word, n in count.items() if n > 1), key=lambda word: (-count[word], word))[:MAX_WORDS]
    column = {word: index for index, word in enumerate(kept)}
    rows = [sorted(column[word] for word in of_item if word in column) for of_item in words]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    indices = np.fromiter((index for row in rows for index in row), np.int32, int(indptr[-1]))
    weight = np.log(len(words) / np.array([count[word] for word in kept])) if kept else np.empty(0)
    matrix = sp.csr_matrix((weight[indices], indices, indptr), shape=(len(words), len(kept)))
    length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    return sp.csr_matrix(sp.diags(1 / np.where(length > 0, length, 1)) @ matrix)


def item_vectors(matrix: sp.csr_matrix, seed: int) -> npt.NDArray[np.float32]:
    """Return [n_items, width] vectors of unit length, zeros for a product without words."""
    n_items, n_words = matrix.shape
    width = DIMENSIONS if n_items <= EXACT_ITEMS else MANY_ITEMS_DIMENSIONS
    dimensions = min(width, min(n_items, n_words) - 1)
    vectors = np.zeros((n_items, width), dtype=np.float32)
    if dimensions < 1:
        return vectors
    start = np.random.default_rng(seed).normal(size=min(n_items, n_words))
    left, strength, _ = svds(matrix.astype(np.float64), k=dimensions, v0=start)
    found = left * strength
    length = np.linalg.norm(found, axis=1, keepdims=True)
    known = length[:, 0] > 1e-9
    vectors[known, :dimensions] = found[known] / length[known]
    return vectors


def train_content(items: pa.Table, parameters: ContentParameters) -> tuple[dict[str, npt.NDArray[Any]], float]:
    """Return the artifact's arrays for features/item in catalogue order, and the neighbours' measured recall.

    - `item_vectors` [n_items, 256 or fewer] float32, unit rows.
    - `content_*`: CSR of each item's nearest neighbours by cosine, descending.
    """
    texts = [items[name].fill_null("").to_pylist() for name in ("title", "category", "brand")]
    words = [words_of(*of_item) for of_item in zip(*texts, items["price_minor"].to_pylist(), strict=True)]
    vectors = item_vectors(tf_idf(words), parameters.seed)
    found = nearest(vectors, vectors, parameters.neighbours + 1)
    own = np.arange(len(vectors))[:, None]
    kept = (found.position >= 0) & (found.position != own) & (found.score > 0)
    kept &= np.cumsum(kept, axis=1) <= parameters.neighbours
    return {
        "item_vectors": vectors,
        "content_indptr": np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int64),
        "content_indices": found.position[kept].astype(np.int32),
        "content_data": found.score[kept].astype(np.float32),
    }, found.recall


def build(lake: Lake, ds: date, parameters: Parameters) -> Manifest:
    """Build the artifact of one day from its catalogue, unless it stands already, made of the same.

    Raises:
        MissingPartitionError: the day's features were not built.
    """
    chosen = ContentParameters(parameters.models.content.neighbours, parameters.seed)
    inputs = lake.fingerprints(ds, *INPUTS)

    def train() -> Manifest:
        with threadpool_limits(1, "blas"):
            arrays, recall = train_content(lake.arrow("features/item", ds, COLUMNS).sort_by("item_pos"), chosen)
        told = {
            "items": len(arrays["item_vectors"]),
            "neighbours": len(arrays["content_data"]),
            "index_recall": recall,
        }
        return lake.write_artifact(CONTENT, ds, arrays, inputs=inputs, parameters=vars(chosen), metrics=told)

    return lake.build_if_stale(CONTENT, ds, inputs, vars(chosen), train)
