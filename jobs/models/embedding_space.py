"""Bring a shop's own item vectors into few dimensions, and join them to what is known from products' words.

Vectors of one model share most of their direction, so that all cosines are alike. Their mean is taken away, and the
directions in which they differ most are kept (Mu and Viswanath, All-but-the-Top, ICLR 2018, take the mean away too).
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from jobs.numeric.arrays import Flags, Floats, Values, unit_rows

DIMENSIONS = 64
"""So many numbers of a vector are kept; 128 found the same neighbours."""
MOST_FITTED = 50_000
"""Of more vectors, every k-th decides on the directions."""
BLOCK = 1 << 14
"""Vectors that are reduced at a time: memory stays near that of the vectors."""


@dataclass(frozen=True)
class EmbeddingSpace:
    """The directions in which a shop's vectors differ most."""

    mean: Floats
    """[length] the mean of the unit vectors."""
    axes: Floats
    """[length, at most DIMENSIONS] orthonormal."""

    def reduced(self, vectors: Floats) -> Floats:
        """Return vectors [n, length] as unit rows [n, at most DIMENSIONS]; zeros for one that is zero."""
        inside = np.zeros((len(vectors), self.axes.shape[1]), np.float32)
        for start in range(0, len(vectors), BLOCK):
            block = vectors[start : start + BLOCK]
            known = block.any(axis=1)
            turned = (_unit_rows(block[known]) - self.mean) @ self.axes
            inside[start : start + BLOCK][known] = unit_rows(np.asarray(turned, np.float32))
        return inside


def embedding_space(vectors: Floats) -> EmbeddingSpace:
    """Return the space of vectors [n, length], fitted to those that are not zero; at least one must not be.

    Computed on one thread of BLAS, the same vectors give the same bytes.
    """
    known = vectors[vectors.any(axis=1)]
    sample = _unit_rows(known[:: -(-len(known) // MOST_FITTED)])
    mean = sample.mean(axis=0, dtype=np.float64)
    length = len(mean)
    if length <= DIMENSIONS:
        axes = np.eye(length)
    else:
        centred = sample - mean
        axes = eigh(centred.T @ centred, subset_by_index=(length - DIMENSIONS, length - 1))[1]
    return EmbeddingSpace(mean.astype(np.float32), np.ascontiguousarray(axes, dtype=np.float32))


def _unit_rows(vectors: Floats) -> Floats:
    """Return rows of unit length; none may be zero. Squares of very large and very small numbers are not formed."""
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0)
    return unit_rows(np.asarray(vectors / largest, np.float32))


def text_weight(has_vector: Flags, weight: float) -> Values:
    """Return what the text rows of items are multiplied by; 1 for those without a vector of the shop's own."""
    return np.sqrt(np.where(has_vector, 1 - weight, 1))


def joined(text: Values | Floats, embedding: Floats, weight: float) -> Floats:
    """Return rows whose product weighs both: by words [n, d], and by the shop's vectors [n, e], zeros for none.

    Text rows keep the length that their truncation left them: one that lost most of its words is near to nothing,
    while its unit row would be near to whatever shares its commonest word. A product without a vector is known by its
    words alone.
    """
    words = text_weight(np.asarray(embedding.any(axis=1)), weight)[:, None] * text
    return np.hstack([words, np.sqrt(weight) * embedding]).astype(np.float32)


def text_part(rows: Floats, width: int, weight: float) -> Floats:
    """Return the text rows [n, width] of which, and of embeddings, `joined` made these rows."""
    has_vector = np.asarray(rows[:, width:].any(axis=1))
    return np.asarray(rows[:, :width] / text_weight(has_vector, weight)[:, None], np.float32)
