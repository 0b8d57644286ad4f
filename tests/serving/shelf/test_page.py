from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.publishing.publish import publish
from serving.shelf.fill import fill_shelf, read_stored_shelf
from serving.shelf.filled_shelf import FilledShelf
from serving.shelf.filters import Filters
from serving.shelf.item_state import LiveItems
from serving.shelf.page import ForYou, PageShelf, by_worth, fill_page
from serving.shelf.page_context import PageContext
from serving.shelf.placements import Page, Placement, built_in
from serving.shelf.recent_actions import ACTION_KINDS, LastActions
from serving.shelf.request import ShelfRequest
from serving.shelf.snapshot import ScoredPositions, Snapshot
from serving.snapshot.own_lists import OwnLists
from serving.stores import open_store
from tests.serving.item_lists import with_item_lists
from tests.serving.small_shop import item_ids, night

N_ITEMS = 200
KINDS = {kind: number for number, kind in enumerate(ACTION_KINDS)}
TOGETHER = {item: [((item + step) % N_ITEMS, 1 / step) for step in (3, 5, 7, 9)] for item in range(N_ITEMS)}
NEXT = {item: [((item + step) % N_ITEMS, 1 / step) for step in range(1, 20)] for item in range(0, N_ITEMS, 2)}
PAGES = built_in()


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snapshot]:
    folder: Path = tmp_path_factory.mktemp("page")
    shop = night(n_items=N_ITEMS, explores=True)
    ids = item_ids(N_ITEMS)
    listed = [("on_sale", "", range(0, 60, 2)), ("best_sellers_30d", "", range(50)), ("new", "", range(100, 120))]
    listed += [("best_sellers_30d", "toys", range(3, N_ITEMS, 10)), ("most_viewed_30d", "", range(9, 90, 3))]
    rows = [(shelf, key, rank, ids[p], 1.0) for shelf, key, found in listed for rank, p in enumerate(found, 1)]
    added = pa.table(dict(zip(shop.fallback.column_names, zip(*rows, strict=True), strict=True)))
    fallback = pa.concat_tables([shop.fallback, added.cast(shop.fallback.schema)])
    usual = pa.table({"item_id": ids[:60:2], "usual_price_minor": [100_000] * 30})
    with closing(open_store(f"lmdb://{folder}/store")) as store:
        publish(replace(shop, fallback=fallback, usual_prices=usual), store)
        stored = store.open(str(store.pointer().live))
        yield Snapshot(
            with_item_lists(
                stored,
                {
                    "bought_together": TOGETHER,
                    "looked_next": NEXT,
                    "substitutes": {101: [(106, 1.0)], 112: [(114, 1.6), (150, 0.5)]},
                },
            )
        )


def stocked(snapshot: Snapshot) -> LiveItems:
    """Return live state in which everything is in stock."""
    live = LiveItems(snapshot)
    for position in range(N_ITEMS):
        live.set(position, -2, 5, 0)
    return live


def context_of(
    snapshot: Snapshot, request: ShelfRequest, live: LiveItems | None = None, **given: object
) -> PageContext:
    stored = read_stored_shelf(snapshot, request.user_id, "base", []) if request.user_id else None
    item = -1 if request.item_id is None else snapshot.position(request.item_id)
    basket = tuple(snapshot.position(item_id) for item_id in request.basket)
    made = PageContext(snapshot, live or stocked(snapshot), request, None, stored, item=item, sent_basket=basket)
    return replace(made, **given)  # type: ignore[arg-type]


def for_you_of(context: PageContext) -> ForYou:
    def for_you(request: ShelfRequest, filters: Filters, taken: set[int]) -> FilledShelf:
        return fill_shelf(
            context.snapshot,
            context.live,
            request,
            actions=context.actions,
            request_key=b"0123456789abcdef",
            filters=filters,
            taken=taken,
        )

    return for_you


def filled_page(context: PageContext, page: Page, most: int | None = None) -> list[PageShelf]:
    return fill_page(context, page, for_you_of(context), most)


def shelves_of(context: PageContext, *placements: Placement) -> dict[str, list[int]]:
    return {shelf.placement.called: shelf.filled.positions for shelf in filled_page(context, Page(placements))}


def acted(snapshot: Snapshot, **kinds: list[int]) -> LastActions:
    rows = [(position, KINDS[kind]) for kind, positions in kinds.items() for position in positions]
    return LastActions([row[0] for row in rows], [row[1] for row in rows], [60.0] * len(rows))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(PAGES)),
    user=st.sampled_from([None, "user-1", "user 0 ✓", "stranger"]),
    item=st.sampled_from([None, "item-00010", "item-00033", "unknown"]),
    basket=st.lists(st.sampled_from(item_ids(N_ITEMS)), max_size=4, unique=True),
    category=st.sampled_from([None, "home", "toys", "nowhere"]),
    gone=st.integers(0, 7),
    seed=st.integers(0, 1_000),
    viewed=st.lists(st.integers(0, N_ITEMS - 1), max_size=5, unique=True),
    prices=st.one_of(st.none(), st.tuples(st.integers(0, 150), st.integers(150, 300))),
    order=st.sampled_from(["file", "worth"]),
)
def test_no_product_stands_twice_and_each_shelf_is_full_or_has_all_there_is(
    snapshot: Snapshot,
    name: str,
    user: str | None,
    item: str | None,
    basket: list[str],
    category: str | None,
    gone: int,
    seed: int,
    viewed: list[int],
    prices: tuple[int, int] | None,
    order: str,
) -> None:
    live = LiveItems(snapshot)
    for position in np.random.default_rng(seed).permutation(N_ITEMS)[: N_ITEMS * gone // 10].tolist():
        live.set(position, -2, 0, 0)
    lowest, highest = prices or (None, None)
    request = ShelfRequest(
        user, item_id=item, basket=tuple(basket), category=category, price_min_minor=lowest, price_max_minor=highest
    )
    context = context_of(snapshot, request, live, actions=acted(snapshot, view=viewed) if viewed else None)
    shelves = filled_page(context, msgspec.structs.replace(PAGES[name], order=order))
    shown = [position for shelf in shelves for position in shelf.filled.positions]
    assert len(shown) == len(set(shown))
    assert context.page_items().isdisjoint(shown)
    assert all(live.servable[position] for position in shown)
    if prices is not None:
        assert all(prices[0] <= live.price_minor[position] <= prices[1] for position in shown)
    for shelf in shelves:
        count = len(shelf.filled.positions)
        assert shelf.placement.least <= count <= shelf.placement.limit
        if shelf.placement.is_filled and not shelf.filled.short:
            assert count == shelf.placement.limit
        if shelf.filled.short:  # nothing that it may show is left for it
            filters = Filters(prices, snapshot.category_nodes(shelf.category) if shelf.category else None)
            every = np.arange(N_ITEMS)
            left = every[filters.eligible(snapshot, live, every)].tolist()
            assert set(left) <= {*shown, *context.page_items()}


def test_what_goes_with_the_basket_is_none_of_it_and_costs_no_more_than_its_share(snapshot: Snapshot) -> None:
    basket = ("item-00101", "item-00102")  # 2.01 and 2.02
    context = context_of(snapshot, ShelfRequest(basket=basket))
    together = Placement("bought_together", goes_with="basket", limit=8)
    found = shelves_of(context, together)["bought_together"]
    assert set(found) == {104, 105, 107, 108, 109, 110, 111}  # 106 stands for 101
    assert found[:2] == [104, 105]
    cheap = msgspec.structs.replace(together, price_max_share=Decimal("0.51"))
    assert shelves_of(context, cheap)["bought_together"] == [104, 105]


def test_of_products_that_stand_for_each_other_one_in_stock_is_offered(snapshot: Snapshot) -> None:
    together = Placement("bought_together", goes_with="item", limit=8)
    live = stocked(snapshot)
    request = ShelfRequest(item_id="item-00109")
    assert shelves_of(context_of(snapshot, request, live), together)["bought_together"] == [112, 116, 118]
    live.set(112, -2, 0, 0)
    assert shelves_of(context_of(snapshot, request, live), together)["bought_together"] == [114, 116, 118]


def test_alternatives_are_what_stands_for_the_product_and_is_in_stock(snapshot: Snapshot) -> None:
    live = stocked(snapshot)
    alternatives = Placement("alternatives")
    context = context_of(snapshot, ShelfRequest(item_id="item-00112"), live)
    (shelf,) = filled_page(context, Page((alternatives,)))
    assert (shelf.item, shelf.filled.positions, shelf.filled.reason_positions) == (112, [114, 150], [112, 112])
    live.set(114, -2, 0, 0)
    assert shelves_of(context, alternatives) == {"alternatives": [150]}
    assert shelves_of(context_of(snapshot, ShelfRequest(item_id="item-00113"), live), alternatives) == {}
    assert shelves_of(context_of(snapshot, ShelfRequest(), live), alternatives) == {}


def test_a_basket_that_is_not_sent_is_what_the_last_actions_put_in_and_did_not_buy(snapshot: Snapshot) -> None:
    context = context_of(snapshot, ShelfRequest(), actions=acted(snapshot, purchase=[102], add_to_cart=[102, 101]))
    assert context.basket == (101,)


def test_the_first_item_viewed_that_brings_enough_names_the_shelf(snapshot: Snapshot) -> None:
    live = stocked(snapshot)
    for position in (51, 52):
        live.set(position, -2, 0, 0)
    context = context_of(snapshot, ShelfRequest(), live, actions=acted(snapshot, view=[50, 70]))
    (shelf,) = filled_page(context, Page((Placement("because_you_viewed", limit=2, least=2),)))
    assert (shelf.item, shelf.filled.positions, shelf.filled.reason_positions) == (70, [71, 72], [70, 70])


def test_own_lists_leave_out_what_was_just_bought_and_newer_views_come_first(snapshot: Snapshot) -> None:
    def scored(*positions: int) -> ScoredPositions:
        return np.array(positions, np.uint32), np.ones(len(positions), np.float32)

    own = OwnLists(scored(5, 6, 7), scored(8, 9, 31))
    actions = acted(snapshot, purchase=[6], view=[31, 41])
    context = context_of(snapshot, ShelfRequest(), own=own, actions=actions)
    found = shelves_of(context, Placement("buy_again"), Placement("recently_viewed"))
    assert found == {"buy_again": [5, 7], "recently_viewed": [31, 41, 8, 9]}


def test_on_sale_is_what_costs_less_than_usual_now(snapshot: Snapshot) -> None:
    live = stocked(snapshot)
    live.set(2, 100_000, 5, 0)  # its usual price again
    live.set(4, 95_000, 5, 0)
    live.set(6, 95_001, 5, 0)
    found = shelves_of(context_of(snapshot, ShelfRequest(), live), Placement("on_sale", limit=30))["on_sale"]
    assert not {2, 6} & set(found)
    assert {0, 4} <= set(found)
    live.set(150, 1, 5, 0)  # cut since the night; its usual price is its price of the night
    stored = context_of(snapshot, ShelfRequest("user-1"), live)
    own = stored.stored.positions(20).tolist() if stored.stored else []
    live.set(own[0], 1, 5, 0)
    assert shelves_of(stored, Placement("on_sale", limit=30))["on_sale"][0] == own[0]


def test_new_products_of_the_shoppers_categories_come_first(snapshot: Snapshot) -> None:
    toys = [position for position in range(100, 120) if position % 5 == 3]
    context = context_of(snapshot, ShelfRequest(), actions=acted(snapshot, view=[3]))
    found = shelves_of(context, Placement("new_for_you", limit=20, fill=False))["new_for_you"]
    assert found[: len(toys)] == toys
    assert len(found) == 20


def test_a_shelf_with_fewer_than_its_least_is_left_out_and_takes_nothing_from_those_below(snapshot: Snapshot) -> None:
    together = Placement("bought_together", goes_with="item", limit=8, least=5)
    also = Placement("also_viewed", limit=8, name="others")
    found = shelves_of(context_of(snapshot, ShelfRequest(item_id="item-00100")), together, also)
    assert found == {"others": [101, 102, 103, 104, 105, 106, 107, 108]}


def test_a_category_page_keeps_to_its_category_and_leaves_out_what_it_must(snapshot: Snapshot) -> None:
    context = context_of(snapshot, ShelfRequest("user-1", category="home"))
    own = Placement("for_you", within="category", without_categories=("home/kitchen",), limit=12)
    best = Placement("best_sellers", category="toys", limit=5)
    found = shelves_of(context, own, best)
    assert {snapshot.category(position) for position in found["for_you"]} == {"home/garden"}
    assert found["best_sellers"] == [3, 13, 23, 33, 43]


def test_shelves_stand_by_worth_where_that_is_asked_for(snapshot: Snapshot) -> None:
    context = context_of(snapshot, ShelfRequest("user-1"))
    page = Page((Placement("best_sellers", limit=5), Placement("for_you", limit=5)), order="worth")
    assert [shelf.placement.shelf for shelf in filled_page(context, page)] == ["for_you", "best_sellers"]
    stranger = context_of(snapshot, ShelfRequest("stranger"))
    assert [shelf.placement.shelf for shelf in filled_page(stranger, page)] == ["best_sellers", "for_you"]
    assert by_worth(context, []) == []


def test_a_request_may_ask_for_shorter_shelves(snapshot: Snapshot) -> None:
    context = context_of(snapshot, ShelfRequest("user-1"))
    assert [len(shelf.filled.positions) for shelf in filled_page(context, PAGES["homepage"], 2)][:1] == [2]
