"""A shop's own vectors: brought into few dimensions, and joined to what words tell."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from jobs.models.embedding_space import BLOCK, DIMENSIONS, embedding_space, joined, text_part


def looks(n: int = 300, length: int = 200, shared: float = 5.0) -> tuple[np.ndarray, np.ndarray]:
    """True looks of items [n, 4], and vectors that show them, with a large part that all of them share."""
    draw = np.random.default_rng(5)
    true = draw.normal(size=(n, 4))
    vectors = true @ draw.normal(size=(4, length)) + shared * draw.normal(size=length)
    return true, (vectors + 0.3 * draw.normal(size=vectors.shape)).astype(np.float32)


def reduced(vectors: np.ndarray) -> np.ndarray:
    with threadpool_limits(1, "blas"):
        return embedding_space(vectors).reduced(vectors)


def nearest(vectors: np.ndarray) -> np.ndarray:
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -np.inf)
    return likeness.argmax(axis=1)


def test_few_numbers_keep_who_is_near_whom_and_what_all_share_is_taken_away() -> None:
    true, vectors = looks()
    inside = reduced(vectors)
    assert inside.shape == (300, DIMENSIONS)
    assert np.linalg.norm(inside, axis=1) == pytest.approx(np.ones(300), abs=1e-5)
    unit = true / np.linalg.norm(true, axis=1, keepdims=True)
    raw = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.corrcoef((inside @ inside.T).ravel(), (unit @ unit.T).ravel())[0, 1] > 0.8
    assert (raw @ raw.T).min() > 0.3
    assert (inside @ inside.T).mean() == pytest.approx(0, abs=0.05)


def test_short_vectors_are_only_centred() -> None:
    space = embedding_space(looks(length=6)[1])
    assert space.axes.tolist() == np.eye(6).tolist()


def test_a_zero_vector_stays_zero_and_says_nothing_of_the_space() -> None:
    vectors = looks()[1]
    with_zeros = np.vstack([vectors, np.zeros((50, vectors.shape[1]), np.float32)])
    inside = reduced(with_zeros)
    assert not inside[300:].any()
    assert inside[:300].tobytes() == reduced(vectors).tobytes()


def test_how_long_a_vector_is_changes_nothing() -> None:
    vectors = looks()[1]
    scale = np.float32(2.0) ** np.random.default_rng(1).integers(-90, 90, (300, 1))
    assert reduced(vectors * scale) == pytest.approx(reduced(vectors), abs=1e-5)


def test_the_same_vectors_give_the_same_bytes() -> None:
    vectors = looks()[1]
    assert reduced(vectors).tobytes() == reduced(vectors.copy()).tobytes()


def test_many_vectors_are_reduced_a_block_at_a_time() -> None:
    vectors = np.tile(looks(length=5)[1], (BLOCK // 300 + 2, 1))
    inside = embedding_space(vectors).reduced(vectors)
    assert inside[:300] == pytest.approx(inside[-300:], abs=1e-6)


def test_a_lone_vector_is_its_own_mean_and_says_nothing() -> None:
    assert not reduced(looks()[1][:1]).any()


def test_how_near_two_products_are_weighs_words_and_vectors() -> None:
    text = np.array([[1, 0], [0.3, 0.4], [1, 0], [0, 0]], np.float32)
    own = np.array([[1, 0], [0, 1], [0, 0], [0, 1]], np.float32)
    both = joined(text, own, 0.3)
    assert both[0] @ both[1] == pytest.approx(0.3 * 0.7)  # vectors that have nothing in common
    assert both[1] @ both[3] == pytest.approx(0.3)  # one has no words: known by its vector
    assert both[2, :2] == pytest.approx(text[2])  # it has no vector: known by its words
    assert text_part(both, 2, 0.3) == pytest.approx(text)
