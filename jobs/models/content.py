"""Build `artifacts/content` for one day: item vectors and neighbours from what products say of themselves.

    topshelf stage train_content --ds 2026-01-31

Title words, category path, brand and price band make a TF-IDF vector, which a truncated SVD cuts to DIMENSIONS
(latent semantic analysis, Deerwester et al. 1990). So a product that nobody has touched yet has neighbours too.
"""

import re
from collections import Counter
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
from jobs.lake.tables import CONTENT, ITEM
from jobs.models.nearest_items import EXACT_ITEMS, nearest
from jobs.numeric.arrays import Floats

INPUTS = (ITEM,)
DIMENSIONS = 256
MANY_ITEMS_DIMENSIONS = 64
"""Above EXACT_ITEMS products, vectors are shorter, as memory and time grow with items times dimensions."""
MAX_WORDS = 30_000
"""The most frequent words are kept; rare ones join few products."""
_WORD = re.compile(r"[^\W\d_]{2,}")
COLUMNS = ["item_pos", "title", "category", "brand", "price_minor"]


@dataclass(frozen=True)
class ContentParameters:
    """What shapes the artifact; part of its manifest."""

    neighbours: int
    seed: int


def words_of(title: str, category: str, brand: str, price_minor: int | None) -> set[str]:
    """Return a product's words: those of its title, each level of its category, its brand and its price band.

    >>> sorted(words_of("Red mug", "home/cups", "", 950))
    ['category=home', 'category=home/cups', 'mug', 'price=10', 'red']
    """
    words = set(_WORD.findall(title.lower()))
    words |= {f"category={path}" for path in accumulate(category.split("/"), "{}/{}".format) if path}
    if brand:
        words.add(f"brand={brand}")
    if price_minor:
        words.add(f"price={price_minor.bit_length()}")
    return words


def tf_idf(words: Sequence[set[str]]) -> sp.csr_matrix:
    """Return CSR [products, words], rows of unit length; words of at least two products count, at most MAX_WORDS."""
    count = Counter(word for item_words in words for word in item_words)
    shared = (word for word, products in count.items() if products > 1)
    kept = sorted(shared, key=lambda word: (-count[word], word))[:MAX_WORDS]
    column = {word: index for index, word in enumerate(kept)}
    rows = [sorted(column[word] for word in item_words if word in column) for item_words in words]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    indices = np.fromiter((index for row in rows for index in row), np.int32, int(indptr[-1]))
    weight = np.log(len(words) / np.array([count[word] for word in kept])) if kept else np.empty(0)
    matrix = sp.csr_matrix((weight[indices], indices, indptr), shape=(len(words), len(kept)))
    length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    return sp.csr_matrix(sp.diags(1 / np.where(length > 0, length, 1)) @ matrix)


def item_vectors(matrix: sp.csr_matrix, seed: int) -> Floats:
    """Return [n_items, width] vectors of unit length; a product without words has zeros."""
    n_items, n_words = matrix.shape
    width = DIMENSIONS if n_items <= EXACT_ITEMS else MANY_ITEMS_DIMENSIONS
    dimensions = min(width, min(n_items, n_words) - 1)
    vectors = np.zeros((n_items, width), dtype=np.float32)
    if dimensions < 1:
        return vectors
    start = np.random.default_rng(seed).normal(size=min(n_items, n_words))
    left, strength, _ = svds(matrix.astype(np.float64), k=dimensions, v0=start)
    rows = left * strength
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    known = length[:, 0] > 1e-9
    vectors[known, :dimensions] = rows[known] / length[known]
    return vectors


def train_content(items: pa.Table, parameters: ContentParameters) -> tuple[dict[str, npt.NDArray[Any]], float]:
    """Return the artifact's arrays for features/item in catalogue order, and the measured recall of its neighbours.

    - `item_vectors` [n_items, DIMENSIONS or MANY_ITEMS_DIMENSIONS] float32, unit rows.
    - `content_*`: CSR of each item's nearest neighbours by cosine, descending.
    """
    texts = [items[name].fill_null("").to_pylist() for name in ("title", "category", "brand")]
    words = [words_of(*columns) for columns in zip(*texts, items["price_minor"].to_pylist(), strict=True)]
    vectors = item_vectors(tf_idf(words), parameters.seed)
    neighbours = nearest(vectors, vectors, parameters.neighbours + 1)  # an item is its own neighbour
    own = np.arange(len(vectors))[:, None]
    kept = (neighbours.position >= 0) & (neighbours.position != own) & (neighbours.score > 0)
    kept &= np.cumsum(kept, axis=1) <= parameters.neighbours
    return {
        "item_vectors": vectors,
        "content_indptr": np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int64),
        "content_indices": neighbours.position[kept].astype(np.int32),
        "content_data": neighbours.score[kept].astype(np.float32),
    }, neighbours.recall


def build(lake: Lake, ds: date, parameters: Parameters) -> Manifest:
    """Build the artifact of one day from the day's catalogue, unless it stands already, made of the same.

    Raises:
        MissingPartitionError: the day's features were not built.
    """
    chosen = ContentParameters(parameters.models.content.neighbours, parameters.seed)
    inputs = lake.fingerprints(ds, *INPUTS)

    def train() -> Manifest:
        with threadpool_limits(1, "blas"):
            arrays, recall = train_content(lake.arrow(ITEM, ds, COLUMNS).sort_by("item_pos"), chosen)
        metrics = {
            "items": len(arrays["item_vectors"]),
            "neighbours": len(arrays["content_data"]),
            "index_recall": recall,
        }
        return lake.write_artifact(CONTENT, ds, arrays, inputs=inputs, parameters=vars(chosen), metrics=metrics)

    return lake.build_if_stale(CONTENT, ds, inputs, vars(chosen), train)
