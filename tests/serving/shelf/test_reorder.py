from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from jobs.publishing.publish import publish
from serving.shelf.fill import fill_shelf
from serving.shelf.fill_levels import LEVELS
from serving.shelf.item_state import LiveItems
from serving.shelf.recent_actions import ACTION_KINDS, LastActions
from serving.shelf.reorder import brought_items, moved_back, steps_back, waiting_items
from serving.shelf.request import ShelfRequest
from serving.shelf.snapshot import Snapshot
from serving.snapshot.record import REASON_CODES, SOURCES
from serving.stores import open_store
from tests.serving.item_lists import with_item_lists
from tests.serving.small_shop import night

HOUR_S = 3600.0


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snapshot]:
    """A shop whose items have the next two items of the catalogue as neighbours."""
    folder: Path = tmp_path_factory.mktemp("actions")
    with closing(open_store(f"lmdb://{folder}/store")) as store:
        publish(night(n_items=300, top_n=60), store)
        yield Snapshot(store.open(str(store.pointer().live)))


@pytest.fixture(scope="module")
def listed(snapshot: Snapshot) -> Snapshot:
    """The same shop, where visits go on from 50 to 90 and 91, and from 60 to 91 and 92."""
    lists = {50: [(90, 1.0), (91, 0.4)], 60: [(91, 1.0), (92, 0.9), (50, 0.8)]}
    return Snapshot(with_item_lists(snapshot._stored, {"looked_next": lists}))


@pytest.fixture
def live(snapshot: Snapshot) -> LiveItems:
    """Everything is there."""
    live = LiveItems(snapshot)
    for position in range(len(snapshot)):
        live.set(position, -2, 9, 0)
    return live


def did(*acts: tuple[str, int, float]) -> LastActions:
    return LastActions(
        [position for _, position, _ in acts],
        [ACTION_KINDS.index(kind) for kind, _, _ in acts],
        [a for *_, a in acts],
    )


def test_a_view_steps_twenty_places_back_and_fades_over_a_day() -> None:
    acts = did(("view", 1, 0), ("click", 2, 12 * HOUR_S), ("rating", 3, 24 * HOUR_S), ("impression", 4, 0))
    assert steps_back(acts) == {1: 20.0, 2: 10.0, 4: 5.0}
    assert steps_back(did(("view", 1, 0), ("impression", 1, 0))) == {1: 25.0}


def test_seen_items_step_behind_those_that_follow_them_and_the_others_keep_their_order() -> None:
    positions = list(range(100, 130))
    order = moved_back(positions, {102: 5.0, 110: 25.0})
    assert [positions[row] for row in order] == [
        *(100, 101, 103, 104, 105, 106, 107, 102, 108, 109),
        *range(111, 130),
        110,
    ]
    assert moved_back(positions, {7: 20.0}) == list(range(30))


def test_what_was_bought_or_lies_in_the_basket_waits() -> None:
    acts = did(("purchase", 5, 0), ("view", 6, 0), ("add_to_cart", 7, 0), ("purchase", 5, 9))
    assert waiting_items(acts) == [5, 7]


def test_neighbours_of_the_last_three_items_looked_at_take_turns_and_say_why(snapshot: Snapshot) -> None:
    acts = did(("view", 50, 0), ("purchase", 90, 1), ("add_to_cart", 60, 2), ("click", 70, 3), ("view", 80, 4))
    positions, scores, reasons, seeds = brought_items(snapshot, acts)
    assert positions.tolist() == [51, 61, 71, 52, 62, 72]
    assert seeds == [50, 60, 70, 50, 60, 70]
    assert [REASON_CODES[reason] for reason in reasons] == ["viewed", "carted", "viewed"] * 2
    assert scores == pytest.approx([0.9] * 3 + [0.5] * 3)


def test_what_visits_look_at_next_comes_before_the_neighbours(listed: Snapshot) -> None:
    positions, scores, reasons, seeds = brought_items(listed, did(("view", 50, 0), ("add_to_cart", 60, 2)))
    assert positions.tolist() == [90, 91, 92, 51, 61, 52, 62]
    assert scores == pytest.approx([1.0, 0.4 + 0.5, 0.45, 0.9, 0.9, 0.5, 0.5])
    assert seeds == [50, 60, 60, 50, 60, 50, 60]
    assert [REASON_CODES[reason] for reason in reasons[:3]] == ["viewed", "carted", "carted"]


def test_an_item_that_visits_do_not_go_on_from_brings_its_neighbours(listed: Snapshot) -> None:
    assert brought_items(listed, did(("view", 70, 0), ("view", 50, 1)))[0].tolist() == [90, 91, 71, 51, 72, 52]


@pytest.mark.parametrize("user_id", [None, "nobody"])
def test_a_visitor_without_a_stored_shelf_sees_first_what_goes_with_their_actions(
    listed: Snapshot, live: LiveItems, user_id: str | None
) -> None:
    live.set(91, -2, 0, 0)
    request = ShelfRequest(user_id=user_id, limit=8)
    filled = fill_shelf(listed, live, request, actions=did(("view", 50, 0), ("view", 60, 9)))
    assert filled.positions[:6] == [90, 92, 51, 61, 52, 62]
    assert [LEVELS[level] for level in filled.levels] == ["recent"] * 6 + ["trending"] * 2
    assert filled.reason_positions[:3] == [50, 60, 50]
    plain = fill_shelf(listed, live, request)
    assert filled.positions[6:] == plain.positions[:2]


def test_a_newcomer_whose_record_has_no_items_sees_them_first_too(tmp_path: Path) -> None:
    with closing(open_store(f"lmdb://{tmp_path}/store")) as store:
        publish(night(n_items=300, newcomers=[("newcomer", "DE", None, None)]), store)
        snapshot = Snapshot(store.open(str(store.pointer().live)))
    request = ShelfRequest(user_id="newcomer", limit=4)
    filled = fill_shelf(snapshot, LiveItems(snapshot), request, actions=did(("view", 50, 0)))
    assert filled.positions[0] == 51


def test_an_item_looked_at_is_no_neighbour_of_another(snapshot: Snapshot) -> None:
    assert brought_items(snapshot, did(("view", 50, 0), ("view", 51, 1)))[0].tolist() == [52, 53]


def test_neighbours_come_in_at_every_third_place_from_the_second(snapshot: Snapshot, live: LiveItems) -> None:
    own = snapshot.shelf("user-1")
    assert own is not None
    seed = next(p for p in range(300) if not {p, p + 1, p + 2} & set(own.positions.tolist()))
    plain = fill_shelf(snapshot, live, ShelfRequest(user_id="user-1", limit=12))
    filled = fill_shelf(snapshot, live, ShelfRequest(user_id="user-1", limit=12), actions=did(("view", seed, 30)))
    assert [LEVELS[level] for level in filled.levels] == [
        "recent" if place in (1, 4) else "user" for place in range(12)
    ]
    assert (filled.positions[1], filled.positions[4]) == (seed + 1, seed + 2)
    assert filled.reason_positions[1] == seed
    assert SOURCES[filled.sources[1]] == "session"
    assert [p for p, level in zip(filled.positions, filled.levels, strict=True) if LEVELS[level] == "user"] == (
        plain.positions[:10]
    )


def test_neighbours_out_of_stock_do_not_come_in(snapshot: Snapshot, live: LiveItems) -> None:
    live.set(51, -2, 0, 0)
    live.set(52, -2, 0, 1)
    filled = fill_shelf(snapshot, live, ShelfRequest(limit=12), actions=did(("view", 50, 30)))
    assert "recent" not in {LEVELS[level] for level in filled.levels}
    assert len(filled.positions) == 12


def test_a_bought_item_is_shown_only_when_nothing_else_is_left(snapshot: Snapshot, live: LiveItems) -> None:
    own = snapshot.shelf("user-1")
    assert own is not None
    bought = int(own.positions[0])
    filled = fill_shelf(
        snapshot, live, ShelfRequest(user_id="user-1", limit=299), actions=did(("purchase", bought, 0))
    )
    assert bought not in filled.positions
    everything = fill_shelf(
        snapshot, live, ShelfRequest(user_id="user-1", limit=300), actions=did(("purchase", bought, 0))
    )
    assert everything.positions[-1] == bought
    assert len(everything.positions) == 300
    assert not everything.short


def test_a_new_users_actions_move_the_fallback_shelves_too(snapshot: Snapshot, live: LiveItems) -> None:
    plain = fill_shelf(snapshot, live, ShelfRequest(limit=10, region="DE"))
    first = plain.positions[0]
    filled = fill_shelf(snapshot, live, ShelfRequest(limit=10, region="DE"), actions=did(("impression", first, 0)))
    assert filled.positions == [*plain.positions[1:6], first, *plain.positions[6:]]
