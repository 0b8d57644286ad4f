"""Reciprocal rank fusion against what plain Python makes of the same lists."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.candidates.fusion import (
    RRF_K,
    SOURCE_CODE,
    ListedItems,
    best_fused,
    listed_items,
    reciprocal_rank_fusion,
)
from jobs.candidates.lists import RankedItems

N_ITEMS = 6
LISTS = st.dictionaries(
    st.sampled_from(["als", "bought_before", "ease", "popular"]),
    st.dictionaries(st.integers(0, 3), st.permutations(range(N_ITEMS)).map(lambda items: items[:4]), min_size=1),
    min_size=1,
)
"""By source and user: items, best first."""
Lists = dict[str, dict[int, list[int]]]


def listed(lists: Lists) -> ListedItems:
    def ranked(by_user: dict[int, list[int]]) -> RankedItems:
        rows = [(user, item, rank) for user in sorted(by_user) for rank, item in enumerate(by_user[user])]
        user, item, rank = np.array(rows, dtype=np.int64).T
        return RankedItems(user, item.astype(np.int32), rank)

    return listed_items({source: ranked(by_user) for source, by_user in lists.items()})


def ranks_of(lists: Lists) -> dict[tuple[int, int], dict[str, int]]:
    """By (user, item): its rank in the list of each source."""
    ranks: dict[tuple[int, int], dict[str, int]] = defaultdict(dict)
    for source, by_user in lists.items():
        for user, items in by_user.items():
            for rank, item in enumerate(items):
                ranks[user, item][source] = rank
    return ranks


@pytest.mark.parametrize("n_items", [N_ITEMS, 1 << 58])  # of the larger shop, no row fits one whole number
@settings(max_examples=60, deadline=None)
@given(LISTS)
def test_an_items_score_is_the_sum_of_its_reciprocal_ranks(n_items: int, lists: Lists) -> None:
    fused, ranks = reciprocal_rank_fusion(listed(lists), n_items), ranks_of(lists)
    assert list(zip(fused.user.tolist(), fused.item.tolist(), strict=True)) == sorted(ranks)
    for row, pair in enumerate(sorted(ranks)):
        by_source = ranks[pair]
        assert fused.score[row] == pytest.approx(sum(1 / (RRF_K + 1 + rank) for rank in by_source.values()))
        assert fused.sources[row] == sum(1 << SOURCE_CODE[source] for source in by_source)
        best = min((rank, SOURCE_CODE[source]) for source, rank in by_source.items())
        assert fused.source[row] == best[1]


@settings(max_examples=60, deadline=None)
@given(LISTS, st.integers(0, 5))
def test_each_users_best_are_kept_and_what_was_bought_before_is_cut_last(lists: Lists, per_user: int) -> None:
    fused = reciprocal_rank_fusion(listed(lists), N_ITEMS)
    rows = zip(fused.user.tolist(), fused.item.tolist(), fused.score.tolist(), fused.sources.tolist(), strict=True)
    bought = 1 << SOURCE_CODE["bought_before"]
    ordered = sorted(rows, key=lambda row: (row[0], not row[3] & bought, -row[2], row[1]))
    by_user: dict[int, list[int]] = defaultdict(list)
    for user, item, *_ in ordered:
        by_user[user].append(item)
    wanted = [(user, item) for user, items in by_user.items() for item in items[:per_user]]
    found = best_fused(listed(lists), N_ITEMS, per_user)
    assert list(zip(found.user.tolist(), found.item.tolist(), strict=True)) == sorted(wanted)


def test_lists_without_any_item_fuse_to_nothing() -> None:
    nothing = np.empty(0, np.int64)
    fused = best_fused(listed_items({"als": RankedItems(nothing, nothing.astype(np.int32), nothing)}), N_ITEMS, 3)
    assert (len(fused.user), fused.source.dtype, fused.sources.dtype) == (0, np.int8, np.int32)


def test_rows_that_are_not_kept_take_no_part() -> None:
    both = listed({"als": {0: [1, 2]}, "ease": {0: [2]}})
    fused = reciprocal_rank_fusion(both.where(both.source == SOURCE_CODE["als"]), N_ITEMS)
    assert fused.sources.tolist() == [1 << SOURCE_CODE["als"]] * 2
