"""Build `artifacts/item_lists` for one day: what is bought with each item, and what is looked at next.

    topshelf stage item_lists --ds 2026-01-31

CSR matrices of items x items, in catalogue order, best first: `bought_together_*` (`jobs.models.complements`),
`substitutes_*` (`jobs.models.substitutes`) and `looked_next_*` (`jobs.models.transitions`). They are learned from
staging/interactions of the last days; substitutes also from what products say of themselves.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from jobs.features.event_days import event_days
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest, digest_of
from jobs.lake.tables import CONTENT, INTERACTIONS, ITEM, ITEM_LISTS
from jobs.models.complements import ItemLists, complements
from jobs.models.content import COLUMNS as CONTENT_COLUMNS
from jobs.models.content import tf_idf, words_of
from jobs.models.substitutes import like_by_words, looked_at_instead
from jobs.models.transitions import looked_next, sessions_of
from jobs.numeric.arrays import Flags, Whole, best_in_group
from serving.snapshot.contents import ITEM_LISTS as SNAPSHOT_LISTS

WINDOW_DAYS = 180
"""Events count that happened in so many days and landed in them."""
COLUMNS = ["user_id", "session_id", "item_id", "event_type", "ts", "event_date"]
LOOKS = ("view", "click")
_DAYS = 1 << 20  # more than a day of any date


class Events(NamedTuple):
    """Events of the catalogue's items, one entry an event in each column."""

    visitor: Whole  # a hash of the shopper's id, or of the visit's where nobody is known
    item: Whole  # position in the catalogue
    at_s: Whole
    day: Whole  # days since 1970
    is_purchase: Flags
    is_look: Flags


def read_events(lake: Lake, ds: date, days: Sequence[date]) -> Events:
    """Return the events of the WINDOW_DAYS up to `ds` that landed on `days`, of items of the day's catalogue."""
    ids = lake.arrow(ITEM, ds, ["item_pos", "item_id"]).sort_by("item_pos")["item_id"].combine_chunks()
    since = ds - timedelta(days=WINDOW_DAYS - 1)
    parts = [_events_of(lake.arrow(INTERACTIONS, day, COLUMNS), ids, since, ds) for day in days]
    empty = np.empty(0, np.int64)
    if not parts:
        return Events(empty, empty, empty, empty, empty.astype(bool), empty.astype(bool))
    return Events(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _events_of(rows: pa.Table, ids: pa.Array, since: date, ds: date) -> Events:
    item = pc.index_in(rows["item_id"].cast(ids.type), value_set=ids).fill_null(-1)
    kept = pc.and_(
        pc.greater_equal(rows["event_date"], pa.scalar(since)), pc.less_equal(rows["event_date"], pa.scalar(ds))
    )
    kept = pc.and_(kept, pc.greater_equal(item, 0))
    rows = rows.append_column("item", item).filter(kept)
    visitor = pc.coalesce(rows["user_id"].cast(pa.string()), rows["session_id"].cast(pa.string())).fill_null("")
    event_type = rows["event_type"].cast(pa.string())
    return Events(
        pd.util.hash_array(visitor.to_numpy(zero_copy_only=False)).view(np.int64),
        rows["item"].to_numpy().astype(np.int64),
        pc.cast(rows["ts"], pa.timestamp("s", "UTC"), safe=False).cast(pa.int64()).to_numpy(),
        rows["event_date"].cast(pa.int32()).to_numpy().astype(np.int64),
        pc.equal(event_type, "purchase").to_numpy(),
        pc.is_in(event_type, value_set=pa.array(LOOKS)).to_numpy(),
    )


def item_lists(events: Events, alike: sp.csr_matrix, n_items: int) -> dict[str, Any]:
    """Return the artifact's arrays: `<list>_indptr`, `<list>_indices` and `<list>_data` of each list.

    `alike` [n_items, n_items] is `jobs.models.substitutes.like_by_words`. Of the substitutes those that are alike and
    bought instead come first, then those bought instead, then by likeness.
    """
    visit = np.unique(events.visitor, return_inverse=True)[1] * _DAYS + events.day
    bought = events.is_purchase
    instead = sp.csr_matrix(alike + looked_at_instead(visit, events.item, bought, n_items))
    visitor, item, at_s = (column[events.is_look] for column in (events.visitor, events.item, events.at_s))
    lists = {
        "bought_together": complements(visit[bought], events.item[bought], instead),
        "substitutes": _best_first(instead),
        "looked_next": looked_next(sessions_of(visitor, at_s), item, at_s, n_items),
    }
    return {
        f"{name}_{column}": array
        for name, found in lists.items()
        for column, array in zip(("indptr", "indices", "data"), found, strict=True)
    }


def _best_first(scores: sp.csr_matrix) -> ItemLists:
    """Return the entries of each row, highest first, ties by position."""
    entries = scores.tocoo()
    order = best_in_group(entries.row, entries.data, entries.col, scores.shape[1])
    other, score = entries.col[order].astype(np.uint32), entries.data[order].astype(np.float32)
    return ItemLists(scores.indptr.astype(np.int64), other, score)


def _alike(lake: Lake, ds: date) -> sp.csr_matrix:
    items = lake.arrow(ITEM, ds, CONTENT_COLUMNS).sort_by("item_pos")
    texts = [items[name].fill_null("").to_pylist() for name in ("title", "category", "brand")]
    words = tf_idf([words_of(title, category, brand, None) for title, category, brand in zip(*texts, strict=True)])
    price = items["price_minor"].fill_null(-1).to_numpy()
    near = (lake.array(CONTENT, ds, f"content_{part}") for part in ("indptr", "indices"))
    return like_by_words(words, price, *near)


def build(lake: Lake, ds: date) -> Manifest:
    """Build the artifact of one day, unless it stands already, made of the same.

    Raises:
        MissingPartitionError: staging lacks a day, or the day's features were not built.
    """
    since = ds - timedelta(days=WINDOW_DAYS - 1)
    days = [day for day in event_days(lake, ds) if day >= since]
    inputs = {
        **lake.fingerprints(ds, ITEM, CONTENT),
        f"{INTERACTIONS}/ds={since}..{ds}": digest_of(lake.manifest(INTERACTIONS, day).fingerprint for day in days),
    }
    chosen = {"window_days": WINDOW_DAYS}

    def learn() -> Manifest:
        n_items = lake.manifest(ITEM, ds).row_count or 0
        arrays = item_lists(read_events(lake, ds, days), _alike(lake, ds), n_items)
        metrics = {name: int(np.count_nonzero(np.diff(arrays[f"{name}_indptr"]))) for name in SNAPSHOT_LISTS}
        return lake.write_artifact(ITEM_LISTS, ds, arrays, inputs=inputs, parameters=chosen, metrics=metrics)

    return lake.build_if_stale(ITEM_LISTS, ds, inputs, chosen, learn)
