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


def line(
    user_id: str | None,
    item_id: str,
    kind: str = "view",
    received: float | None = None,
    session_id: str | None = None,
) -> bytes:
    at_s = time.time() if received is None else received
    ids = {"user_id": user_id, "session_id": session_id}
    return msgspec.json.encode({"received": at_s, "item_id": item_id, "event_type": kind, **ids})


def known(actions: RecentActions, user_id: str | None, session_id: str | None = None) -> list[tuple[str, str]]:
    last = actions.last_actions(user_id, (), ITEMS.index, session_id=session_id)
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


def test_what_is_taken_out_of_the_cart_counts_as_viewed_until_it_is_put_in_again() -> None:
    actions = RecentActions(nobody_was_erased)
    for item in ITEMS[:2]:
        actions.take([line("a", item, "add_to_cart")])
    actions.take([line("a", ITEMS[0], "remove_from_cart"), line("a", ITEMS[2], "remove_from_cart")])
    assert known(actions, "a") == [(ITEMS[1], "add_to_cart"), (ITEMS[0], "view")]
    sent = actions.last_actions("a", [("remove_from_cart", ITEMS[1])], ITEMS.index)
    assert sent is not None
    assert {ACTION_KINDS[kind] for kind in sent.kinds} == {"view"}
    assert actions.last_actions("b", [("remove_from_cart", ITEMS[1])], ITEMS.index) is None
    actions.take([line("a", ITEMS[0], "add_to_cart")])
    assert known(actions, "a")[0] == (ITEMS[0], "add_to_cart")
    actions.take([line("a", item, "view") for item in ITEMS] * 2)  # the array is written anew meanwhile
    actions.take([line("a", ITEMS[0], "remove_from_cart")])
    assert "add_to_cart" not in dict(known(actions, "a")).values()


def test_a_session_without_a_user_has_actions_of_its_own_whatever_ids_users_have() -> None:
    actions = RecentActions(nobody_was_erased)
    actions.take([line(None, "item-1", session_id="x"), line("x", "item-2"), line("sx", "item-3")])
    assert known(actions, None, "x") == [("item-1", "view")]
    assert known(actions, "x") == [("item-2", "view")]
    assert known(actions, "sx") == [("item-3", "view")]
    assert known(actions, None, "sx") == known(actions, None, "ux") == []


def test_who_signs_in_within_a_session_has_the_actions_of_both_newest_first() -> None:
    actions, began = RecentActions(nobody_was_erased), time.time() - 100
    actions.take(
        [
            line("anna", "item-1", received=began),
            line(None, "item-2", received=began + 1, session_id="s"),
            line(None, "item-1", received=began + 2, session_id="s"),
            line("anna", "item-3", received=began + 3, session_id="s"),
        ]
    )
    assert known(actions, "anna") == [("item-3", "view"), ("item-1", "view")]
    assert known(actions, None, "s") == [("item-3", "view"), ("item-1", "view"), ("item-2", "view")]
    assert known(actions, "anna", "s") == [("item-3", "view"), ("item-1", "view"), ("item-2", "view")]
    assert known(actions, "ben", "s") == known(actions, None, "s")


def test_what_was_taken_out_of_the_cart_under_one_id_was_put_in_under_the_other() -> None:
    actions = RecentActions(nobody_was_erased)
    actions.take([line(None, "item-1", "add_to_cart", session_id="s"), line("anna", "item-1", "remove_from_cart")])
    assert known(actions, "anna", "s") == [("item-1", "view")]
    assert known(actions, None, "s") == [("item-1", "add_to_cart")]


def test_a_session_that_always_named_its_user_takes_no_room() -> None:
    actions = RecentActions(nobody_was_erased)
    actions.take([line("anna", "item-1", session_id="s")])
    assert (len(actions), known(actions, None, "s")) == (1, [])


def test_no_action_from_before_an_erasure_counts_for_the_session_that_named_the_user() -> None:
    erased: dict[str, float] = {}
    actions, began = RecentActions(erased.get), time.time() - 100
    actions.take(
        [
            line(None, "item-1", received=began, session_id="s"),
            line(None, "item-1", received=began, session_id="another"),
            line("anna", "item-2", received=began + 1, session_id="s"),
        ]
    )
    actions.forget("anna")
    erased["anna"] = began + 10
    assert known(actions, None, "s") == known(actions, "anna", "s") == known(actions, "anna", "another") == []
    assert known(actions, None, "another") == known(actions, "ben", "another") == [("item-1", "view")]
    actions.take([line(None, "item-3", received=began + 20, session_id="s")])
    assert known(actions, None, "s") == known(actions, "anna", "s") == [("item-3", "view")]


def test_who_acted_last_is_kept_and_an_action_of_yesterday_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_actions, "MAX_ACTORS", 3)
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


def test_sessions_share_the_bound_of_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_actions, "MAX_ACTORS", 2)
    actions = RecentActions(nobody_was_erased)
    actions.take([line("a", "item-1"), line(None, "item-2", session_id="s"), line("b", "item-3")])
    assert (len(actions), known(actions, "a"), known(actions, None, "s")) == (2, [], [("item-2", "view")])


@pytest.mark.parametrize("damaged", [b'{"item_id":"\xff"}', b'{"x":' + b"[" * 50_000], ids=["no text", "nested"])
def test_a_damaged_line_costs_no_other(damaged: bytes) -> None:
    actions = RecentActions(nobody_was_erased)
    actions.take([line("anna", "item-1"), damaged, line("anna", "item-2")])
    assert known(actions, "anna") == [("item-2", "view"), ("item-1", "view")]
