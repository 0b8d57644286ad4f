"""The synthetic shop's rows as they land, as Arrow batches: ids, titles, times and prices from arrays of numbers."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.numeric.draws import Flags, Ints, below, bits, uniform
from jobs.synthetic.baskets import staple_sessions, weekly_baskets
from jobs.synthetic.catalogue import Shop, embeddings, item_ids, items, items_of, price_minor, stock, titles, user_ids
from jobs.synthetic.exposures import PLACES, Shelves, clicked, eligible_count, shelves
from jobs.synthetic.shoppers import Shoppers, shoppers
from jobs.synthetic.visits import EVENT_TYPES, Looks, Sessions, events, looks, sessions
from jobs.synthetic.words import AGE_BANDS, BRANDS, LEAVES, REGIONS

POLICY = "segment-popular-1"
DEVICES = ("mobile", "desktop", "tablet")
SELLERS = 40
TIME = pa.timestamp("us", tz="UTC")
MONEY = pa.decimal128(18, 2)

EVENTS = pa.schema(
    [
        *(("event_id", pa.string()), ("user_id", pa.string()), ("session_id", pa.string())),
        *(("item_id", pa.string()), ("event_type", pa.string()), ("ts", TIME), ("value", pa.float64())),
        *(("quantity", pa.int32()), ("unit_price", MONEY), ("request_id", pa.string()), ("position", pa.int32())),
        *(("page", pa.string()), ("device", pa.string()), ("location", pa.string()), ("region", pa.string())),
        ("ds", pa.date32()),
    ]
)
EXPOSURES = pa.schema(
    [
        *(("request_id", pa.string()), ("ts", TIME), ("user_id", pa.string()), ("item_id", pa.string())),
        *(("position", pa.int32()), ("slot_type", pa.string()), ("fill_level", pa.string())),
        *(("policy_version", pa.string()), ("source", pa.string()), ("propensity", pa.float64())),
        *(("eligible_count", pa.int32()), ("price_minor", pa.int64()), ("page", pa.string())),
        *(("device", pa.string()), ("location", pa.string()), ("limit", pa.int32()), ("ds", pa.date32())),
    ]
)
ITEMS = pa.schema(
    [
        *(("item_id", pa.string()), ("title", pa.string()), ("category", pa.string()), ("brand", pa.string())),
        *(("seller_id", pa.string()), ("price", MONEY), ("stock", pa.int32()), ("created_at", TIME)),
        *(("deleted", pa.bool_()), ("ds", pa.date32())),
    ]
)
EMBEDDING = pa.field("embedding", pa.list_(pa.float32()))
USERS = pa.schema(
    [
        *(("user_id", pa.string()), ("region", pa.string()), ("age_band", pa.string()), ("signed_up_at", TIME)),
        *(("preferred_categories", pa.list_(pa.string())), ("ds", pa.date32())),
    ]
)


def event_rows(shop: Shop, number: Ints) -> Iterator[pa.RecordBatch]:
    """Yield the events of the shoppers with those numbers."""
    people = shoppers(shop, number)
    visits = sessions(shop, people)
    shown = shelves(shop, people, visits)
    for seen in (looks(shop, people, visits), clicked(shop, people, visits, shown)):
        yield _event_batch(shop, people, visits, seen)
    again = weekly_baskets if shop.groceries else staple_sessions
    yield _event_batch(shop, people, *again(shop, people))


def _event_batch(shop: Shop, people: Shoppers, visits: Sessions, seen: Looks) -> pa.RecordBatch:
    done = events(shop, people, visits, seen)
    session, item, day = done.session, done.item, visits.day[done.session]
    person, on_shelf = visits.person[session], done.shelf_position >= 0
    price = price_minor(shop, item, items_of(shop).full_price_minor[item], day)
    session_id, request_id = _ids("S", shop, people, visits), _ids("R", shop, people, visits)
    look = np.where(on_shelf, 100 + done.shelf_position, done.look)
    event_id = pc.binary_join_element_wise(
        session_id.take(pa.array(session)),
        pa.array(look).cast(pa.string()),
        pa.array(done.event_type).cast(pa.string()),
        ".",
    )
    region = pa.array(REGIONS).take(pa.array(people.region)).take(pa.array(person))
    return pa.RecordBatch.from_arrays(
        [
            event_id,
            _hidden(_user_ids(people).take(pa.array(person)), visits.is_anonymous[session]),
            session_id.take(pa.array(session)),
            _item_ids(shop).take(pa.array(item)),
            pa.array(EVENT_TYPES).take(pa.array(done.event_type)),
            _times(shop, day, done.at_s),
            pa.array(done.value, mask=done.value < 0),
            pa.array(done.quantity.astype(np.int32), mask=done.quantity < 0),
            _hidden(_money(price), done.quantity < 0),
            _hidden(request_id.take(pa.array(session)), ~on_shelf),
            pa.array(done.shelf_position.astype(np.int32), mask=~on_shelf),
            _either(on_shelf, "home", "product"),
            _devices(shop, people, visits).take(pa.array(session)),
            _hidden(_either(on_shelf, "home_top", "home_top"), ~on_shelf),
            region,
            _days(shop, day),
        ],
        schema=EVENTS,
    )


def exposure_rows(shop: Shop, number: Ints) -> Iterator[pa.RecordBatch]:
    """Yield what the logging policy showed the shoppers with those numbers."""
    people = shoppers(shop, number)
    visits = sessions(shop, people)
    shown: Shelves = shelves(shop, people, visits)
    session, item = np.repeat(shown.session, PLACES), shown.item.ravel()
    day, count = visits.day[session], len(item)
    eligible = np.array([eligible_count(shop, n) if n in set(day.tolist()) else 0 for n in range(shop.days)])
    user_id = _hidden(_user_ids(people).take(pa.array(visits.person[session])), visits.is_anonymous[session])
    explored = shown.explored.ravel()
    yield pa.RecordBatch.from_arrays(
        [
            _ids("R", shop, people, visits).take(pa.array(session)),
            _times(shop, day, visits.start_s[session]),
            user_id,
            _item_ids(shop).take(pa.array(item)),
            pa.array(np.tile(np.arange(PLACES, dtype=np.int32), len(shown.session))),
            _either(explored, "explore", "ranked"),
            _either(explored, "global", "segment"),
            pa.repeat(POLICY, count),
            _either(explored, "explore", "popular"),
            pa.array(shown.propensity.ravel()),
            pa.array(eligible[day].astype(np.int32)),
            pa.array(price_minor(shop, item, items_of(shop).full_price_minor[item], day)),
            pa.repeat("home", count),
            _devices(shop, people, visits).take(pa.array(session)),
            pa.repeat("home_top", count),
            pa.repeat(pa.scalar(PLACES, pa.int32()), count),
            _days(shop, day),
        ],
        schema=EXPOSURES,
    )


def item_schema(shop: Shop) -> pa.Schema:
    """Return the columns of `item_rows`."""
    return ITEMS if shop.embedding_noise is None else ITEMS.append(EMBEDDING)


def item_rows(shop: Shop, number: Ints) -> Iterator[pa.RecordBatch]:
    """Yield the item rows that land: at launch, retirement, a new price, stock out or back, and at a weekly count."""
    attributes = items(shop, number)
    day = np.arange(shop.days)
    numbers, full = number[:, None], attributes.full_price_minor[:, None]
    price, pieces = price_minor(shop, numbers, full, day), stock(shop, numbers, day)
    before_price, before_pieces = price_minor(shop, numbers, full, day - 1), stock(shop, numbers, day - 1)
    listed = (attributes.launch_day[:, None] <= day) & (day <= attributes.retire_day[:, None])
    first = np.maximum(attributes.launch_day, 0)[:, None] == day
    gone = attributes.retire_day[:, None] == day
    counted = (day + below(7, shop.seed, "count day", numbers)) % 7 == 0
    lands = first | gone | counted | (price != before_price) | ((pieces > 0) != (before_pieces > 0))
    row, on_day = np.nonzero(listed & lands)
    seller = below(
        SELLERS, shop.seed, "seller", attributes.brand[row] * 4 + below(4, shop.seed, "branch", number[row])
    )
    created_s = below(86_400, shop.seed, "created", number[row])
    at = pa.array(row)
    schema, vectors = item_schema(shop), []
    if EMBEDDING in schema:
        vectors = [pa.array(list(embeddings(shop, attributes)), EMBEDDING.type).take(at)]
    yield pa.RecordBatch.from_arrays(
        [
            pa.array(item_ids(number)).take(at),
            pa.array(titles(shop, number)).take(at),
            pa.array([leaf.path for leaf in LEAVES]).take(pa.array(attributes.leaf)).take(at),
            pa.array(BRANDS).take(pa.array(attributes.brand)).take(at),
            pa.array([f"seller-{n:02d}" for n in range(SELLERS)]).take(pa.array(seller)),
            _money(price[row, on_day]),
            pa.array(pieces[row, on_day].astype(np.int32)),
            _times(shop, attributes.launch_day[row], created_s),
            pa.array(gone[row, on_day]),
            _days(shop, on_day),
            *vectors,
        ],
        schema=schema,
    )


def user_rows(shop: Shop, number: Ints) -> Iterator[pa.RecordBatch]:
    """Yield one row a shopper, on the day of sign-up or the first day; about half of them name categories."""
    people = shoppers(shop, number)
    drawn = uniform(shop.seed, "onboarding", number)
    preferred: list[list[str] | None] = []
    for share, (first, second) in zip(drawn.tolist(), people.favourites[:, :2].tolist(), strict=True):
        paths = [LEAVES[first].path, LEAVES[second].path.rpartition("/")[0]]
        preferred.append(paths if share < 0.3 else paths[:1] if share < 0.55 else None)
    yield pa.RecordBatch.from_arrays(
        [
            _user_ids(people),
            pa.array(REGIONS).take(pa.array(people.region)),
            _hidden(pa.array(AGE_BANDS).take(pa.array(people.age_band)), uniform(shop.seed, "no age", number) < 0.1),
            _times(shop, people.signup_day, below(6 * 3600, shop.seed, "signup time", number)),
            pa.array(preferred, pa.list_(pa.string())),
            _days(shop, np.maximum(people.signup_day, 0)),
        ],
        schema=USERS,
    )


def _ids(letter: str, shop: Shop, people: Shoppers, visits: Sessions) -> pa.Array:
    """Return ids of visits, or of their requests, which do not reveal the shopper."""
    return pa.array([f"{letter}{drawn:016x}" for drawn in bits(shop.seed, letter, *visits.keys(people)).tolist()])


@lru_cache(maxsize=1)
def _item_ids(shop: Shop) -> pa.Array:
    return pa.array(item_ids(np.arange(shop.items)))


def _user_ids(people: Shoppers) -> pa.Array:
    return pa.array(user_ids(people.number))


def _devices(shop: Shop, people: Shoppers, visits: Sessions) -> pa.Array:
    drawn = uniform(shop.seed, "device", *visits.keys(people))
    return pa.array(DEVICES).take(pa.array(np.searchsorted((0.62, 0.92), drawn, side="right")))


def _hidden(values: pa.Array, is_null: Flags) -> pa.Array:
    return pc.if_else(pa.array(is_null), pa.scalar(None, values.type), values)


def _either(condition: Flags, yes: str, no: str) -> pa.Array:
    return pc.if_else(pa.array(condition), yes, no)


def _money(minor: Ints) -> pa.Array:
    return pc.multiply(pa.array(minor).cast(pa.decimal128(19, 0)), pa.scalar(Decimal("0.01"))).cast(MONEY)


def _times(shop: Shop, day: Ints, second: Ints) -> pa.Array:
    midnight = int(datetime(*shop.first_day.timetuple()[:3], tzinfo=UTC).timestamp())
    return pa.array((midnight + day * 86_400 + second) * 1_000_000).cast(TIME)


def _days(shop: Shop, day: Ints) -> pa.Array:
    return pa.array(np.datetime64(shop.first_day, "D") + day)
