"""TIFU-KNN against its definition, worked by hand and by plain loops."""

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

from jobs.evaluation import next_basket
from jobs.evaluation.baselines import History, baseline_lists
from jobs.evaluation.next_basket import basket_vectors, next_basket_scores
from jobs.evaluation.time_split import Events, counts
from jobs.numeric.list_metrics import marked

FIRST = date(2026, 1, 1)


def bought(*rows: tuple[int, int, int], users: int, items: int) -> Events:
    """Return purchases (user, item, day)."""
    user, item, day = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    days = np.array([FIRST + timedelta(days=int(n)) for n in day], dtype="datetime64[D]")
    return Events(
        user_ids=pa.array([f"u{n}" for n in range(users)]),
        item_ids=pa.array([f"i{n}" for n in range(items)]),
        user=user,
        item=item,
        is_purchase=np.ones(len(user), np.bool_),
        day=days,
        landed=days,
    )


def test_later_baskets_of_a_group_and_later_groups_count_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(next_basket, "GROUPS", 2)
    five = [(1, item, 2 * item) for item in range(5)]
    events = bought((0, 0, 0), (0, 1, 5), (0, 1, 5), (0, 2, 9), *five, users=3, items=5)
    vectors = basket_vectors(events).toarray()
    # Three baskets in two groups: {day 9, day 5} and {day 0}. Five: {days 8, 6, 4} and {days 2, 0}.
    assert vectors[0] == pytest.approx([0.7 * 1 / 2, 0.9 / 2 / 2, 1 / 2 / 2, 0, 0])
    assert vectors[1] == pytest.approx([0.7 * 0.9 / 2 / 2, 0.7 / 2 / 2, 0.81 / 3 / 2, 0.9 / 3 / 2, 1 / 3 / 2])
    assert not vectors[2].any()


def test_scores_are_a_share_of_the_own_vector_and_the_mean_of_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(next_basket, "LIKE_SHOPPERS", 5)
    monkeypatch.setattr(next_basket, "DISTANCES_PER_BLOCK", 40)  # more than one block
    draw = np.random.default_rng(0)
    rows = [(int(u), int(i), int(d)) for u, i, d in zip(*draw.integers(0, (12, 9, 30), (150, 3)).T, strict=True)]
    vectors = basket_vectors(bought(*rows, users=14, items=9))
    dense, asked = vectors.toarray(), np.array([3, 0, 7, 13])
    scores = next_basket_scores(vectors, asked)
    for row, user in enumerate(asked.tolist()):
        others = [other for other in range(12) if other != user]
        others.sort(key=lambda other: ((dense[other] - dense[user]) ** 2).sum())
        expected = 0.7 * dense[user] + 0.3 * dense[others[:5]].mean(axis=0)
        assert scores[row] == pytest.approx(expected), user


def test_a_shop_of_one_shopper_has_only_the_own_vector() -> None:
    vectors = basket_vectors(bought((0, 1, 0), users=2, items=2))
    assert next_basket_scores(vectors, np.array([0])).tolist() == [[0, 0.7]]


def test_it_is_a_baseline_where_days_are_known_and_is_skipped_where_it_would_take_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events = bought((0, 0, 0), (0, 0, 3), (0, 1, 3), (1, 1, 1), (1, 2, 1), users=2, items=3)
    history = History(counts(events), np.array([1, 2, 1]), basket_vectors(events))
    rows, seen = np.array([0, 1]), marked(counts(events))
    lists, skipped = baseline_lists(history, rows, seen, k=2)
    assert lists["tifu_knn"][:, :2].tolist() == [[1, 0], [1, 2]]  # the other shopper has item 1 alone in common
    assert not skipped
    assert "tifu_knn" not in baseline_lists(History(history.counts, history.popularity), rows, seen, k=2)[0]
    monkeypatch.setattr("jobs.evaluation.baselines.KNN_MAX_PRODUCTS", 2)
    lists, skipped = baseline_lists(history, rows, seen, k=2)
    assert "tifu_knn" not in lists
    assert "it is made up to 2" in skipped["tifu_knn"]
