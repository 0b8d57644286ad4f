"""Last actions: which of them count, and how much memory they may take."""

import gc
import time
import tracemalloc

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.shelf import recent_actions
from serving.shelf.recent_actions import ACTION_KINDS, MAX_ACTIONS, RecentActions

ITEMS = [f"item-{number}" for number in range(40)]


def line(user_id: str, item_id: str, kind: str = "view", received: float | None = None) -> bytes:
    at_s = time.time() if received is None else received
    return msgspec.json.encode({"received": at_s, "item_id": item_id, "event_type": kind, "user_id": user_id})


def known(actions: RecentActions, user_id: str) -> list[tuple[str, str]]:
    last = actions.last_actions(user_id, (), ITEMS.index)
    if last is None:
        return []
    return [(ITEMS[row], ACTION_KINDS[kind]) for row, kind in zip(last.positions, last.kinds, strict=True)]


def nobody_was_erased(_: str) -> None:
    return None


acted = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(ITEMS), st.sampled_from(["view", "click"])))


@settings(max_examples=100, deadline=None)
@given(acted)
def test_each_item_and_kind_counts_once_newest_first_and_no_more_than_twenty(
    rows: list[tuple[str, str, str]],
) -> None:
    actions = RecentActions(nobody_was_erased)
    wanted: dict[str, list[tuple[str, str]]] = {"a": [], "b": []}
    for user, item, kind in rows:
        actions.take([line(user, item, kind)])
        wanted[user] = [(item, kind), *(other for other in wanted[user] if other != (item, kind))][:MAX_ACTIONS]
        assert known(actions, user) == wanted[user]


def test_who_acted_last_is_kept_and_an_action_of_yesterday_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_actions, "MAX_USERS", 3)
    actions = RecentActions(nobody_was_erased)
    actions.take([line(user, "item-1") for user in "abc"])
    actions.take([line("a", "item-2"), line("d", "item-1")])
    actions.take([line("e", "item-1", received=time.time() - 25 * 3600)])
    assert [user for user in "abcde" if known(actions, user)] == ["a", "c", "d"]


def test_long_ids_do_not_take_more_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = 2 << 20
    monkeypatch.setattr(recent_actions, "MAX_BYTES", bound)
    gc.collect()
    tracemalloc.start()
    try:
        actions = RecentActions(nobody_was_erased)
        for number in range(2_000):
            user = f"{number:0256d}"
            actions.take([line(user, f"{item:0256d}") for item in range(MAX_ACTIONS)])
            assert actions.bytes <= bound
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.8 * bound < held < 1.2 * bound  # what is told is what is held
    assert len(actions) < 2_000


def test_all_memory_of_users_that_are_forgotten_is_counted_back() -> None:
    actions = RecentActions(nobody_was_erased)
    actions.take([line("é", item) for item in ITEMS for _ in range(3)])
    actions.take([line("b", "item-1")])
    for user in ("é", "b", "never seen"):
        actions.forget(user)
    assert (len(actions), actions.bytes) == (0, 0)


@pytest.mark.parametrize("damaged", [b'{"item_id":"\xff"}', b'{"x":' + b"[" * 50_000], ids=["no text", "nested"])
def test_a_damaged_line_costs_no_other(damaged: bytes) -> None:
    actions = RecentActions(nobody_was_erased)
    actions.take([line("anna", "item-1"), damaged, line("anna", "item-2")])
    assert known(actions, "anna") == [("item-2", "view"), ("item-1", "view")]
