"""What rules withhold is served to nobody, but from a shelf that the night made for somebody of age."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.intraday.overlay import write_overlay
from jobs.publishing.publish import publish
from serving.shelf.fill import fill_shelf
from serving.shelf.fill_levels import LEVELS
from serving.shelf.item_state import LiveItems
from serving.shelf.overlaid import with_overlay
from serving.shelf.recent_actions import ACTION_KINDS, LastActions
from serving.shelf.request import Policy, ShelfRequest
from serving.shelf.similar import similar_items
from serving.shelf.snapshot import Snapshot
from serving.snapshot.overlay import OverlayItem, overlay_url
from serving.stores import open_store
from tests.serving.small_shop import item_ids, night

N_ITEMS = 100
WITHHELD = np.arange(N_ITEMS) % 4 == 1
IDS = pa.array([name for name, held in zip(item_ids(N_ITEMS), WITHHELD.tolist(), strict=True) if held])
TOY, WHISKY = "item-00003", "item-00001"


def shown(table: pa.Table) -> pa.Table:
    """A table of lists as the night builds it under rules."""
    return table.filter(pc.invert(pc.is_in(table["item_id"], value_set=IDS)))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snapshot]:
    """A night whose rules withhold every fourth item, with an overlay that would bring some of them back."""
    folder: Path = tmp_path_factory.mktemp("withheld")
    plain = night(n_items=N_ITEMS, explores=True)
    assert plain.exploration is not None
    ruled = replace(plain, withheld=WITHHELD, fallback=shown(plain.fallback), exploration=shown(plain.exploration))
    url = f"lmdb://{folder}/store"
    with closing(open_store(url)) as store, closing(open_store(overlay_url(url))) as overlays:
        version = publish(ruled, store).manifest.version
        fresh = OverlayItem(item_id="fresh", category="toys", neighbours=[(WHISKY, 0.9), (TOY, 0.8)])
        over = write_overlay(url, version, trending=[(WHISKY, 9.0), ("fresh", 8.0), (TOY, 7.0)], new_items=[fresh])
        yield with_overlay(Snapshot(store.open(version)), overlays.open(over))


asks = st.builds(
    ShelfRequest,
    user_id=st.sampled_from([None, "user-1", "user 0 ✓", "stranger"]),
    limit=st.integers(1, 120),
    category=st.sampled_from([None, "home", "home/kitchen/mugs", "toys"]),
    price_max_minor=st.sampled_from([None, 150]),
    region=st.sampled_from([None, "DE"]),
    age_band=st.sampled_from([None, "18-24"]),
    categories=st.sampled_from([(), ("toys",)]),
)
actions = st.lists(
    st.tuples(st.integers(0, N_ITEMS), st.integers(0, len(ACTION_KINDS) - 1), st.sampled_from([0.0, 3600.0])),
    max_size=8,
).map(lambda rows: LastActions(*(list(column) for column in zip(*rows, strict=True))) if rows else None)


@settings(max_examples=150, deadline=None)
@given(asks, actions, st.sampled_from([Policy(), Policy(explore_share=1.0)]))
def test_no_level_but_the_users_own_shelf_shows_what_is_withheld(
    shop: Snapshot, shelf_request: ShelfRequest, done: LastActions | None, policy: Policy
) -> None:
    out = fill_shelf(shop, LiveItems(shop), shelf_request, actions=done, request_key=b"key", policy=policy)
    levels = [LEVELS[level] for level in out.levels]
    held = [position < N_ITEMS and bool(WITHHELD[position]) for position in out.positions]
    assert not [level for level, is_held in zip(levels, held, strict=True) if is_held and level != "user"]
    if shelf_request.category is None and shelf_request.price_max_minor is None:
        servable = int(LiveItems(shop).servable[:N_ITEMS][~WITHHELD].sum())
        assert len(out.positions) >= min(shelf_request.limit, servable - len(done.positions if done else []))


def test_similar_items_trends_and_new_items_leave_out_what_is_withheld(shop: Snapshot) -> None:
    for position in range(N_ITEMS + 1):
        found = similar_items(shop, LiveItems(shop), position, 100)
        assert not WITHHELD[[p for p in found.positions if p < N_ITEMS]].any()
    assert [shop.item_ids[p] for p in shop.similar(N_ITEMS)[0]] == [TOY]
    trending = shop.fallback("trending")
    assert trending is not None
    assert [shop.item_ids[p] for p in trending[0]] == ["fresh", TOY]


def test_a_night_without_rules_has_no_blob_of_them(tmp_path: Path) -> None:
    with closing(open_store(f"lmdb://{tmp_path}/store")) as store:
        plain = publish(night(), store).manifest
        assert "withheld" not in plain.blobs
        assert "withheld_items" not in plain.metrics
        assert (
            publish(replace(night("2026-02-01"), withheld=np.zeros(100, bool)), store).manifest.blobs == plain.blobs
        )
