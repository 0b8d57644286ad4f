"""What a visit is about: which actions tell it, and what it does to the order of a stored shelf."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from jobs.publishing.publish import publish
from serving.shelf.fill import fill_shelf
from serving.shelf.fill_levels import USER
from serving.shelf.item_state import LiveItems
from serving.shelf.recent_actions import ACTION_KINDS, LastActions
from serving.shelf.request import ShelfRequest
from serving.shelf.snapshot import Snapshot
from serving.shelf.visit import category_shares, tilted
from serving.stores import open_store
from tests.serving.small_shop import night

VIEW, IMPRESSION = (ACTION_KINDS.index(kind) for kind in ("view", "impression"))


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snapshot]:
    folder: Path = tmp_path_factory.mktemp("visit")
    with closing(open_store(f"lmdb://{folder}/store")) as store:
        publish(night(n_items=60), store)
        yield Snapshot(store.open(str(store.pointer().live)))


def of_category(snapshot: Snapshot, path: str) -> list[int]:
    return [position for position in range(60) if snapshot.category(position) == path]


def test_only_what_was_looked_at_in_the_last_half_hour_counts(snapshot: Snapshot) -> None:
    (mug, *_), (toy, *_) = of_category(snapshot, "home/kitchen/mugs"), of_category(snapshot, "toys")
    kinds, ages_s = [VIEW, VIEW, VIEW, IMPRESSION, VIEW], [5.0, 60.0, 1800.0, 5.0, 1801.0]
    acted = LastActions([mug, mug, toy, toy, toy], kinds, ages_s)
    nodes = {snapshot.item_category[position]: position for position in (mug, toy)}
    shares = {nodes[node]: share for node, share in category_shares(snapshot, acted).items()}
    assert shares == {mug: pytest.approx(2 / 3), toy: pytest.approx(1 / 3)}
    assert category_shares(snapshot, LastActions([toy], [VIEW], [2000.0])) == {}


def test_an_item_comes_forward_by_its_category_s_share_and_others_keep_their_order(snapshot: Snapshot) -> None:
    mugs, toys = of_category(snapshot, "home/kitchen/mugs")[:3], of_category(snapshot, "toys")[:3]
    stored = np.array([*toys, *mugs])
    shares = {int(snapshot.item_category[mugs[0]]): 1.0}
    assert stored[tilted(snapshot, stored, shares)].tolist() == [*mugs, *toys]  # places 4 to 6, over 9
    half = {int(snapshot.item_category[mugs[0]]): 0.1}
    assert stored[tilted(snapshot, stored, half)].tolist() == [toys[0], toys[1], mugs[0], mugs[1], toys[2], mugs[2]]
    assert stored[tilted(snapshot, stored, {})].tolist() == stored.tolist()


def test_a_shelf_asked_for_in_mid_visit_leads_with_what_the_visit_is_about(snapshot: Snapshot) -> None:
    asked, live = ShelfRequest(user_id="user-1", limit=9), LiveItems(snapshot)
    before = fill_shelf(snapshot, live, asked).positions
    category = snapshot.category(before[6])
    seen = next(position for position in of_category(snapshot, category) if position not in before)
    acted = LastActions([seen], [VIEW], [10.0])
    after = fill_shelf(snapshot, live, asked, actions=acted).positions

    def of_visit(shelf: list[int]) -> int:
        return sum(snapshot.category(position) == category for position in shelf)

    assert of_visit(after) > of_visit(before)
    long_ago = fill_shelf(snapshot, live, asked, actions=LastActions([seen], [VIEW], [3_600.0]))
    own = [position for position, level in zip(long_ago.positions, long_ago.levels, strict=True) if level == USER]
    assert own == [position for position in before if position in own]
