"""Build `artifacts/content` for one day: item vectors and neighbours from what products say of themselves.

    topshelf stage train_content --ds 2026-01-31

Title words, category path, brand and price band make a TF-IDF vector, which a truncated SVD cuts to DIMENSIONS
(latent semantic analysis, Deerwester et al. 1990). So a product that nobody has touched yet has neighbours too. Where
the shop lands vectors of its own, `embedding`, they are joined to it (`jobs.models.embedding_space`).
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
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
from jobs.features.item_embeddings import embedding_inputs, load_embeddings
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest
from jobs.lake.tables import CONTENT, ITEM, USER_ITEM
from jobs.models.embedding_space import embedding_space, joined
from jobs.models.embedding_weight import choose_weight, load_touched
from jobs.models.nearest_items import EXACT_ITEMS, nearest
from jobs.numeric.arrays import Floats, Values

INPUTS = (ITEM,)
DIMENSIONS = 256
MANY_ITEMS_DIMENSIONS = 64
"""Above EXACT_ITEMS products, vectors are shorter, as memory and time grow with items times dimensions."""
MAX_WORDS = 30_000
"""The most frequent words are kept; rare ones join few products."""
_WORD = re.compile(r"[^\W\d_]{2,}")
COLUMNS = ["item_pos", "item_id", "title", "category", "brand", "price_minor"]


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


def text_width(n_items: int) -> int:
    """Return how many numbers of an item's vector come from its words; those of the shop's own vector follow."""
    return DIMENSIONS if n_items <= EXACT_ITEMS else MANY_ITEMS_DIMENSIONS


def truncated(matrix: sp.csr_matrix, seed: int) -> Values:
    """Return [n_items, at most text_width] rows whose products are those of `matrix`, as nearly as so few can be."""
    dimensions = min(text_width(matrix.shape[0]), min(matrix.shape) - 1)
    if dimensions < 1 or not matrix.data.any():  # a word that all products have tells none of them apart
        return np.zeros((matrix.shape[0], 0))
    start = np.random.default_rng(seed).normal(size=min(matrix.shape))
    left, strength, _ = svds(matrix.astype(np.float64), k=dimensions, v0=start)
    return np.asarray(left * strength)


def item_vectors(matrix: sp.csr_matrix, seed: int) -> Floats:
    """Return [n_items, text_width] vectors of unit length; a product without words has zeros."""
    rows = truncated(matrix, seed)
    vectors = np.zeros((len(rows), text_width(len(rows))), dtype=np.float32)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    known = length[:, 0] > 1e-9
    vectors[known, : rows.shape[1]] = rows[known] / length[known]
    return vectors


def train_content(
    items: pa.Table,
    parameters: ContentParameters,
    embeddings: Floats | None = None,
    touched: sp.csr_matrix | None = None,
) -> tuple[dict[str, npt.NDArray[Any]], float]:
    """Return the artifact's arrays for features/item in catalogue order, and the measured recall of its neighbours.

    `embeddings` [n_items, length] are the shop's own vectors, zeros for an item without one; `touched`
    [shoppers, n_items] decides what they weigh.

    - `item_vectors` [n_items, text_width] float32, unit rows; where embeddings weigh something, the rows of `joined`.
    - `content_*`: CSR of each item's nearest neighbours by cosine, descending.
    - `embedding_mean`, `embedding_axes`: those of the EmbeddingSpace; only where embeddings weigh something.
    - `embedding_weight` [2]: the weight, and how many products it was judged on; only with embeddings.
    """
    texts = [items[name].fill_null("").to_pylist() for name in ("title", "category", "brand")]
    words = [words_of(*columns) for columns in zip(*texts, items["price_minor"].to_pylist(), strict=True)]
    vectors, of_shop = _item_vectors(tf_idf(words), parameters.seed, embeddings, touched)
    known = np.flatnonzero(vectors.any(axis=1))  # an item that says nothing of itself is near to none
    neighbours = nearest(vectors[known], vectors[known], parameters.neighbours + 1)  # an item is its own neighbour
    own = np.arange(len(known))[:, None]
    kept = (neighbours.position >= 0) & (neighbours.position != own) & (neighbours.score > 0)
    kept &= np.cumsum(kept, axis=1) <= parameters.neighbours
    count = np.zeros(len(vectors), dtype=np.int64)
    count[known] = kept.sum(axis=1)
    return {
        "item_vectors": vectors,
        "content_indptr": np.concatenate([[0], np.cumsum(count)]),
        "content_indices": known[neighbours.position[kept]].astype(np.int32),
        "content_data": neighbours.score[kept].astype(np.float32),
        **of_shop,
    }, neighbours.recall


def _item_vectors(
    matrix: sp.csr_matrix, seed: int, embeddings: Floats | None, touched: sp.csr_matrix | None
) -> tuple[Floats, dict[str, npt.NDArray[Any]]]:
    """Return the vectors of items, and the arrays that say what the shop's own vectors have to do with them."""
    if embeddings is None:
        return item_vectors(matrix, seed), {}
    text, space = truncated(matrix, seed), embedding_space(embeddings)
    inside = space.reduced(embeddings)
    nobody = sp.csr_matrix((0, len(text)), dtype=np.float32)
    chosen = choose_weight(text, inside, nobody if touched is None else touched)
    weight = {"embedding_weight": np.array([chosen.weight, chosen.judged_on])}
    if not chosen.weight:
        return item_vectors(matrix, seed), weight
    padded = np.pad(text, ((0, 0), (0, text_width(len(text)) - text.shape[1])))
    vectors = joined(padded, inside, chosen.weight)
    return vectors, weight | {"embedding_mean": space.mean, "embedding_axes": space.axes}


def _weight_facts(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, float | int]:
    weight, judged_on = arrays["embedding_weight"].tolist()
    return {"embedding_weight": weight, "judged_on": int(judged_on)}


def build(lake: Lake, ds: date, parameters: Parameters) -> Manifest:
    """Build the artifact of one day from the day's catalogue, unless it stands already, made of the same.

    Raises:
        MissingPartitionError: the day's features were not built.
    """
    chosen = ContentParameters(parameters.models.content.neighbours, parameters.seed)
    inputs = lake.fingerprints(ds, *INPUTS)
    if of_embeddings := embedding_inputs(lake, ds):
        inputs |= of_embeddings | lake.fingerprints(ds, USER_ITEM)

    def train() -> Manifest:
        items = lake.arrow(ITEM, ds, COLUMNS).sort_by("item_pos").combine_chunks()
        own = load_embeddings(lake, ds, items["item_id"].combine_chunks())
        with threadpool_limits(1, "blas"):
            if own is None:
                arrays, recall = train_content(items, chosen)
            else:
                arrays, recall = train_content(items, chosen, own.vectors, load_touched(lake, ds, len(items)))
        metrics = {
            "items": len(arrays["item_vectors"]),
            "neighbours": len(arrays["content_data"]),
            "index_recall": recall,
            **({} if own is None else own.facts() | _weight_facts(arrays)),
        }
        return lake.write_artifact(CONTENT, ds, arrays, inputs=inputs, parameters=vars(chosen), metrics=metrics)

    return lake.build_if_stale(CONTENT, ds, inputs, vars(chosen), train)
