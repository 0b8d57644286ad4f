from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from jobs.publishing.publish import publish
from serving.shelf.fill import fill_shelf
from serving.shelf.item_state import LiveItems
from serving.shelf.recent_actions import ACTION_KINDS, LastActions
from serving.shelf.request import ShelfRequest
from serving.shelf.snapshot import Snapshot
from serving.shelf.trace import ShelfTrace, TracedAction, TracedCandidate, trace
from serving.stores import open_store
from tests.serving.small_shop import night


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snapshot]:
    folder: Path = tmp_path_factory.mktemp("trace")
    with closing(open_store(f"lmdb://{folder}/store")) as store:
        publish(night(n_items=100, top_n=40, explores=True), store)
        yield Snapshot(store.open(str(store.pointer().live)))


@pytest.fixture
def live(snapshot: Snapshot) -> LiveItems:
    live = LiveItems(snapshot)
    for position in range(len(snapshot)):
        live.set(position, 500, 9, 0)
    return live


def by_item(traced: ShelfTrace) -> dict[str, TracedCandidate]:
    return {row.item_id: row for row in traced.candidates}


def test_every_candidate_has_its_source_rank_and_score_and_those_left_out_the_value_seen(
    snapshot: Snapshot, live: LiveItems
) -> None:
    own = snapshot.shelf("user-1")
    assert own is not None
    gone, hidden, dear, excluded, bought = own.positions[:5].tolist()
    live.set(gone, 500, 0, 0)
    live.set(hidden, 500, 9, 1)
    live.set(dear, 99_900, 9, 0)
    done = LastActions([bought], [ACTION_KINDS.index("purchase")], [60.0])
    request = ShelfRequest(user_id="user-1", limit=10, price_max_minor=1_000, exclude=(snapshot.item_id(excluded),))
    traced = trace(snapshot, live, request, actions=done)
    rows = by_item(traced)
    assert [row.rank for row in traced.candidates] == list(range(1, 41))
    left_out = {name: rows[snapshot.item_id(p)] for name, p in (("gone", gone), ("hidden", hidden), ("dear", dear))}
    assert (left_out["gone"].left_out, left_out["gone"].seen) == ("out_of_stock", 0)
    assert (left_out["hidden"].left_out, left_out["hidden"].seen) == ("moderated", "hidden")
    assert (left_out["dear"].left_out, left_out["dear"].seen) == ("price", "999.00")
    assert rows[snapshot.item_id(excluded)].left_out == "excluded"
    assert rows[snapshot.item_id(bought)].left_out == "bought"
    assert traced.candidates[-1].left_out == "limit"
    first = rows[snapshot.item_id(int(own.positions[5]))]
    assert (first.shown_at, first.left_out, first.seen) == (0, None, None)
    assert first.score == pytest.approx(float(own.scores[5]), rel=1e-3)
    assert traced.last_actions == [TracedAction(snapshot.item_id(bought), "purchase", 60.0, "last")]
    assert traced.visit == {}  # the item has no category
    encoded = msgspec.to_builtins(traced)
    assert list(encoded) == [
        *("user_id", "snapshot", "model_version", "known", "region", "age_band", "categories"),
        *("last_actions", "visit", "candidates", "shelf", "short", "degraded"),
    ]
    assert list(encoded["candidates"][0]) == [
        *("rank", "item_id", "title", "source", "score", "shown_at", "left_out", "seen"),
    ]
    assert list(encoded["last_actions"][0]) == ["item_id", "event_type", "age_s", "steps_back"]
    assert list(encoded["shelf"][0]) == [
        *("item_id", "title", "source", "score", "reason", "fill_level", "slot_type", "propensity", "eligible_count"),
    ]


def test_the_categories_that_a_visit_is_about_are_told(snapshot: Snapshot, live: LiveItems) -> None:
    seen = next(position for position in range(len(snapshot)) if snapshot.category(position) == "toys")
    done = LastActions([seen, seen], [ACTION_KINDS.index("view")] * 2, [5.0, 9.0])
    assert trace(snapshot, live, ShelfRequest(user_id="user-1"), actions=done).visit == {"toys": 1.0}


def test_a_category_left_out_is_named(snapshot: Snapshot, live: LiveItems) -> None:
    traced = trace(snapshot, live, ShelfRequest(user_id="user-1", category="toys"))
    outside = {row.seen for row in traced.candidates if row.left_out == "category"}
    assert outside >= {"home/kitchen/mugs", "home/garden", ""}
    assert all(row.left_out != "category" for row in traced.candidates if row.shown_at is not None)


def test_the_shelf_in_a_trace_is_the_one_that_the_same_request_is_answered_with(
    snapshot: Snapshot, live: LiveItems
) -> None:
    request, key = ShelfRequest(user_id="user-1", limit=20, price_max_minor=900), b"k" * 16
    traced = trace(snapshot, live, request, request_key=key)
    filled = fill_shelf(snapshot, live, request, request_key=key)
    assert [row.item_id for row in traced.shelf] == [snapshot.item_id(p) for p in filled.positions]
    assert [row.propensity for row in traced.shelf] == filled.propensities
    assert {row.slot_type for row in traced.shelf} == {"ranked", "explore"}


def test_an_erased_or_unknown_user_has_no_candidates(snapshot: Snapshot, live: LiveItems) -> None:
    for traced in (
        trace(snapshot, live, ShelfRequest(user_id="user-1"), personal=False),
        trace(snapshot, live, ShelfRequest(user_id="stranger")),
    ):
        assert not traced.known
        assert traced.candidates == []
        assert len(traced.shelf) == 20
