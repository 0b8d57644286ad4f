"""Ways to predict what a session looks at next: the usual baselines, the rules that were tried, and the endpoint."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray

from jobs.config.parameters import Parameters
from jobs.features.strength import interaction_values
from jobs.models.als import CfParameters, Pairs
from jobs.models.collaborative import train_cf
from jobs.models.transitions import looked_next
from jobs.publishing.publish import publish
from serving.shelf.fill import fill_shelf
from serving.shelf.item_state import LiveItems
from serving.shelf.request import ShelfRequest
from serving.shelf.session_items import session_items
from serving.shelf.snapshot import Snapshot
from serving.snapshot.contents import item_list_blobs
from serving.snapshot.record import shard_of
from serving.stores import open_store
from tests.bench.session_cases import PLACES, Case, ItemList, Split, filled
from tests.serving.item_lists import WithBlobs
from tests.serving.small_shop import item_ids, items_table, night

Lists = Callable[[Case], ItemList]
Csr = tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.floating]]
_NEIGHBOUR_SESSIONS, _RECENT_SESSIONS = 500, 5_000  # V-SkNN's k, and how many sessions it looks at
_POPULAR_ITEMS = 200
SHELF_OF_POPULAR = "has-the-popular-shelf"


def popular_items(split: Split) -> Lists:
    """The most popular items of the last 30 days."""
    popular = split.popular()
    return lambda case: filled(popular[:0], case, popular)


def _sessions(split: Split) -> sp.csr_matrix:
    """Which session of `train` has which item, in the order of the sessions' last looks."""
    last = split.train.groupby("session")["at_s"].max().sort_values(kind="stable")
    looks = split.train.drop_duplicates(["session", "item"])
    row = last.index.get_indexer(looks["session"])
    return sp.csr_matrix((np.ones(len(looks)), (row, looks["item"])), (len(last), split.n_items))


def item_knn(split: Split) -> Lists:
    """Items by their cosine with the session's last item, over sessions."""
    sessions = _sessions(split)
    by_item, count = sessions.T.tocsr(), np.maximum(sessions.getnnz(axis=0), 1)
    popular = split.popular()

    def lists(case: Case) -> ItemList:
        item = case.seen[0]
        shared = (by_item[item] @ sessions).tocoo()
        cosine = shared.data / np.sqrt(count[item] * count[shared.col])
        return filled(shared.col[np.lexsort((shared.col, -cosine))], case, popular)

    return lists


class SessionNeighbours:
    """Vector multiplication session-kNN (Ludewig and Jannach 2018), the best simple method of their comparison.

    The session's items weigh by their place, the last one 1. The nearest of the most recent sessions that share an
    item, by cosine, give their items their similarity, divided by how long ago this session had the last shared one.
    """

    def __init__(self, sessions: sp.csr_matrix) -> None:
        """`sessions` [sessions, items] says which session has which item, in the order of their last looks."""
        self._sessions, by_item = sessions, sessions.T.tocsr()
        self._with_item = by_item.indices
        self._ends = np.column_stack([by_item.indptr[:-1], by_item.indptr[1:]])
        self._length = np.diff(sessions.indptr)

    def scores(self, seen: Sequence[int], without: int = -1) -> NDArray[np.floating]:
        """Return a score of each item, given those of a session, latest first; one session may be left `without`."""
        sharing = np.unique(np.concatenate([self._with_item[slice(*self._ends[item])] for item in seen]))
        sharing = sharing[sharing != without][-_RECENT_SESSIONS:]
        if not len(sharing):
            return np.zeros(self._sessions.shape[1])
        weight = np.arange(len(seen), 0, -1) / len(seen)
        shared = self._sessions[sharing][:, np.array(seen)]
        similarity = (shared @ weight) / np.sqrt((weight**2).sum() * self._length[sharing])
        nearest = np.argsort(-similarity, kind="stable")[:_NEIGHBOUR_SESSIONS]
        shared = shared[nearest]
        steps = 1 + np.minimum.reduceat(shared.indices, shared.indptr[:-1])
        return np.asarray((similarity[nearest] / steps) @ self._sessions[sharing[nearest]])


def v_sknn(split: Split, *, idf: bool = False) -> Lists:
    """Session-kNN. With `idf`, an item's score is multiplied by its inverse document frequency."""
    sessions, popular = _sessions(split), split.popular()
    neighbours = SessionNeighbours(sessions)
    rarity = np.log(sessions.shape[0] / np.maximum(1, sessions.getnnz(axis=0))) if idf else np.ones(split.n_items)

    def lists(case: Case) -> ItemList:
        scores = neighbours.scores(case.seen) * rarity
        return filled(np.lexsort((np.arange(len(scores)), -scores))[: (scores > 0).sum()], case, popular)

    return lists


def next_lists(split: Split, most: int | None = None) -> Csr:
    """The lists of jobs.models.transitions."""
    columns = (split.train[name].to_numpy() for name in ("session", "item", "at_s"))
    return looked_next(*columns, split.n_items) if most is None else looked_next(*columns, split.n_items, most)


def faded_lists(split: Split, half_life_days: float, target_power: float) -> Csr:
    """The same where sessions fade with their age, and scores are divided by a power of the target's sessions."""
    blocks = split.train.groupby("day")
    weight = sp.csr_matrix((split.n_items, split.n_items))
    count = np.maximum(split.train.drop_duplicates(["session", "item"]).groupby("item").size(), 1)
    sessions_with = np.ones(split.n_items)
    sessions_with[count.index] = count
    for day, rows in blocks:
        indptr, positions, scores = looked_next(
            *(rows[name].to_numpy() for name in ("session", "item", "at_s")), split.n_items, split.n_items
        )
        own = np.bincount(rows.drop_duplicates(["session", "item"])["item"], minlength=split.n_items)
        counted = scores * np.sqrt(np.repeat(own, np.diff(indptr)))
        faded = 0.5 ** ((split.last_day - int(day)) / half_life_days)
        weight = weight + faded * sp.csr_matrix((counted, positions, indptr), weight.shape)
    weight = weight.tocsr()
    row = np.repeat(np.arange(split.n_items), np.diff(weight.indptr))
    data = weight.data / np.sqrt(sessions_with[row]) / sessions_with[weight.indices] ** target_power
    order = np.lexsort((weight.indices, -data, row))
    return weight.indptr, weight.indices[order], data[order]


class _OneList:
    """The part of a snapshot that session items are read from."""

    def __init__(self, lists: Csr) -> None:
        self._lists = lists

    def item_list(self, _: str, position: int) -> tuple[NDArray[np.integer], NDArray[np.floating]]:
        indptr, positions, scores = self._lists
        rows = slice(indptr[position], indptr[position + 1])
        return positions[rows], scores[rows]


def rules(split: Split, lists_of_items: Csr) -> Lists:
    """Session items of the endpoint from any lists of items, filled up with popular items."""
    snapshot, popular = _OneList(lists_of_items), split.popular()
    return lambda case: filled(session_items(snapshot, case.seen, ()).positions, case, popular)  # type: ignore[arg-type]


@contextmanager
def endpoint(split: Split) -> Iterator[Callable[[bool, bool], Lists]]:
    """What the endpoint answers, from a snapshot of the split's neighbours and popular items.

    Yields a function of two flags: whether the snapshot has lists of what is looked at next; whether the asking
    visitor has a stored shelf, which is the popular one, rather than none.
    """
    popular = split.popular()
    made = replace(
        night(n_users=0, n_items=split.n_items, n_shards=1, top_n=100),
        items=_items(split, popular),
        fallback=_popular_shelf(popular, ("shelf", "shelf_key"), ("global", "")),
        neighbours=_neighbours(split),
        shelves=lambda _: _stored_shelf(popular),
        users=lambda _: pa.table(
            {
                "user_id": [SHELF_OF_POPULAR],
                **{name: pa.nulls(1, pa.string()) for name in ("region", "age_band")},
                "preferred_categories": pa.nulls(1, pa.list_(pa.string())),
            }
        ),
        expected_users=1,
    )
    with TemporaryDirectory() as folder, closing(open_store(f"lmdb://{folder}/store")) as store:
        publish(made, store)
        stored = store.open(made.version)
        blobs = dict(item_list_blobs("looked_next", *next_lists(split), split.n_items))
        plain, listed = Snapshot(stored), Snapshot(WithBlobs(stored, blobs))
        live = LiveItems(plain)

        def answers(has_lists: bool, has_shelf: bool) -> Lists:
            snapshot, user_id = listed if has_lists else plain, SHELF_OF_POPULAR if has_shelf else None
            request = ShelfRequest(user_id=user_id, limit=PLACES)
            return lambda case: np.array(fill_shelf(snapshot, live, request, actions=case.actions).positions)

        yield answers


def _items(split: Split, popular: ItemList) -> pa.Table:
    """The catalogue: everything can be bought, and is as popular as the data says."""
    items = items_table(split.n_items)
    ranks = np.empty(split.n_items, np.int64)
    ranks[popular] = np.arange(split.n_items)
    for name, column in (
        ("stock", pa.nulls(split.n_items, pa.int32())),
        ("purchaser_count_30d", pa.array(split.n_items - ranks)),
    ):
        items = items.set_column(items.column_names.index(name), name, column)
    return items


def _popular_shelf(popular: ItemList, names: tuple[str, ...], values: tuple[str, ...]) -> pa.Table:
    ids, shown = item_ids(len(popular)), popular[:_POPULAR_ITEMS].tolist()
    columns = {name: [value] * len(shown) for name, value in zip(names, values, strict=True)}
    ranks = pa.array(range(1, len(shown) + 1), pa.int32())
    scores = pa.array([1.0 / rank for rank in range(1, len(shown) + 1)])
    return pa.table({**columns, "rank": ranks, "item_id": [ids[item] for item in shown], "score": scores})


def _stored_shelf(popular: ItemList) -> pa.Table:
    assert shard_of(SHELF_OF_POPULAR.encode(), 1) == 0
    columns = ("variant", "user_id", "source", "reason_code")
    shelf = _popular_shelf(popular, columns, ("base", SHELF_OF_POPULAR, "popular", "popular")).slice(0, 100)
    return shelf.append_column("reason_item_id", pa.nulls(100, pa.string()))


def _neighbours(split: Split) -> Csr:
    """The neighbours that a night trains, by the visitors' weights of events."""
    parameters = Parameters()
    weights = parameters.features.event_weight_milli
    rows = split.train.assign(weight_milli=split.train["kind"].map(lambda kind: getattr(weights, kind)))
    pairs = rows.groupby(["visitor", "item"], as_index=False)["weight_milli"].sum()
    visitor = np.unique(pairs["visitor"], return_inverse=True)[1]
    shape = int(visitor.max()) + 1, split.n_items
    strength = sp.csr_matrix((interaction_values(pairs["weight_milli"].to_numpy()), (visitor, pairs["item"])), shape)
    days = sp.csr_matrix((np.ones(len(pairs), np.float32), (visitor, pairs["item"])), shape)
    no_factors = np.zeros((split.n_items, 1), np.float32)
    arrays = train_cf(Pairs(strength, days, days, shape[0]), CfParameters.of(parameters), no_factors)
    return tuple(arrays[f"item_item_{part}"] for part in ("indptr", "indices", "data"))  # type: ignore[return-value]
