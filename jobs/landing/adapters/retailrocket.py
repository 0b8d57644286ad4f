"""Land the RetailRocket web shop: views, carts and purchases of visitors, from either form of the data.

    topshelf land retailrocket SRC --landing data/landing
    topshelf land retailrocket-buyers SRC --landing data/landing

The raw form is the published one: `events.csv`, `category_tree.csv`, `item_properties_part1.csv` and `..._part2.csv`,
each also as `.csv.gz`. Only events must be there. Without the tree an item's category is its bare id; without one
or both parts, what they say of an item (category, availability, price) is not known, and the summary says so.
The buyers form (`--buyers`) is one `events.csv` with `user,item,event,ts` and knows no item properties at all.

- Every item gets a row on the day it is first seen, in an event or a property, and one on each day on which a
  property that we can read changes: a night knows of an item what had been published by then.
- `categoryid` becomes the path from the tree's root to it, `213/1016`; `available` becomes stock 1 or 0.
- Property names are hashed by the publisher. Property 790 is held to be the price by those who worked with the
  data; it is taken as that where it is a single number (`n32880.000`). The publisher says that a number carries
  three digits after its point, so 32880.000 is 32880.00 in an unknown currency. All other properties are ignored.
- A transaction's id becomes its `session_id`. Exact duplicates stay in.
"""

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from jobs.landing.adapters.writer import (
    EVENTS,
    ITEMS,
    SourceError,
    Summary,
    landed,
    published_file,
    read_published,
    write_days,
)

BUYERS_EVENT_TYPES = {"view": "view", "cart": "add_to_cart", "buy": "purchase"}
RAW_EVENT_TYPES = {"view": "view", "addtocart": "add_to_cart", "transaction": "purchase"}
PROPERTIES = {"categoryid": "category", "available": "stock", "790": "price"}
WITHOUT = ("item titles, brands and sellers", "users' regions and age bands", "quantities and prices paid")


def retailrocket_buyers(src: Path, landing: Path) -> Summary:
    """Land the buyers form at `src` (its folder or its events file) below `landing`.

    Raises SourceError when there are no events to read.
    """
    path = src if src.is_file() else _events_file(src)
    rows = read_published(path, ["user", "item", "event", "ts"])
    rows = rows.rename(columns={"user": "user_id", "item": "item_id"}).assign(session_id="")
    events, left_out = known_events(rows, BUYERS_EVENT_TYPES, ts_unit="s")
    without = ["item categories, prices and stock", *WITHOUT]
    summary = _summary("retailrocket-buyers", path, events, left_out, without)
    return _land(events, item_changes(events, {}), summary, landing)


def retailrocket(src: Path, landing: Path) -> Summary:
    """Land the raw published files in the folder `src` below `landing`.

    Raises SourceError when there are no events to read; other files may be absent.
    """
    path = _events_file(src)
    rows = read_published(path, ["timestamp", "visitorid", "event", "itemid", "transactionid"])
    names = {"timestamp": "ts", "visitorid": "user_id", "itemid": "item_id", "transactionid": "session_id"}
    events, left_out = known_events(rows.rename(columns=names), RAW_EVENT_TYPES, ts_unit="ms")
    tree = published_file(src, "category_tree")
    parts = {f"item_properties_part{n}": published_file(src, f"item_properties_part{n}") for n in (1, 2)}
    without = [f"{name}.csv: items it alone describes" for name, part in parts.items() if part is None]
    if tree is None:
        without.append("category_tree.csv: a category is its bare id")
    if not any(parts.values()):
        without.append("item categories, prices and stock")
    paths = category_paths(tree) if tree else {}
    states = property_states([part for part in parts.values() if part], paths, left_out)
    summary = _summary("retailrocket", path, events, left_out, [*without, *WITHOUT])
    return _land(events, item_changes(events, states), summary, landing)


def _events_file(src: Path) -> Path:
    path = published_file(src, "events")
    if path is None:
        raise SourceError(f"{src} holds no events.csv or events.csv.gz; give the folder of the published files")
    return path


def _summary(name: str, path: Path, events: pd.DataFrame, left_out: dict[str, int], without: list[str]) -> Summary:
    if events.empty:
        raise SourceError(f"{path} holds no event that can be read ({left_out}); get the published file again")
    days = events["day"]
    return Summary(name, days.iloc[0].date(), days.iloc[-1].date(), left_out=left_out, without=without)


def _land(events: pd.DataFrame, items: pd.DataFrame, summary: Summary, landing: Path) -> Summary:
    tables = [landed("events", events, EVENTS), landed("items", items, ITEMS)]
    return write_days(landing, tables, f"{summary.source.replace('-', '_')}.parquet", summary)


def known_events(
    rows: pd.DataFrame, event_types: Mapping[str, str], ts_unit: str
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the events in landing's columns, by time, and the count of rows left out by reason.

    `rows` is text: ts (whole `ts_unit` since 1970), user_id, item_id, event, session_id ('' if none).
    """
    ts = pd.to_datetime(pd.to_numeric(rows["ts"], errors="coerce"), unit=ts_unit, utc=True, errors="coerce")
    event_type = rows["event"].map(event_types)
    left_out: dict[str, int] = {}
    kept = pd.Series(True, index=rows.index)
    for reason, is_so in {
        "unreadable time": ts.isna(),
        "unknown event": event_type.isna(),
        "no visitor or item": (rows["user_id"] == "") | (rows["item_id"] == ""),
    }.items():
        left_out[reason] = int((kept & is_so).sum())
        kept &= ~is_so
    events = rows.loc[kept, ["user_id", "session_id", "item_id"]].assign(
        event_type=event_type[kept], ts=ts[kept], day=ts[kept].dt.tz_localize(None).dt.normalize()
    )
    order = ["ts", "user_id", "item_id", "event_type", "session_id"]
    events = events.sort_values(order, kind="stable", ignore_index=True)
    events["session_id"] = events["session_id"].where(events["session_id"] != "", None)
    return events, left_out


def category_paths(tree: Path) -> dict[str, str]:
    """Return each category's path from its root, `213/1016`.

    Raises SourceError when a category is its own ancestor.
    """
    rows = read_published(tree, ["categoryid", "parentid"])
    parent = dict(zip(rows["categoryid"], rows["parentid"].str.removesuffix(".0"), strict=True))
    paths: dict[str, str] = {}
    for leaf in parent:
        branch = [leaf]
        while above := parent.get(branch[-1], ""):
            if above in branch:
                raise SourceError(f"{tree}: category {leaf} is its own ancestor; get the published file again")
            branch.append(above)
        paths[leaf] = "/".join(reversed(branch))
    return paths


def property_states(parts: list[Path], paths: Mapping[str, str], left_out: dict[str, int]) -> dict[str, pd.Series]:
    """Return for category, stock and price the value published last on each (item_id, day) that says any.

    A category that `paths` does not know stands as its bare id. Values that cannot be read are counted in
    `left_out`, and what was known before stays.
    """

    def readable(block: pa.RecordBatch) -> pa.RecordBatch:
        return block.filter(pc.is_in(block.column("property"), value_set=pa.array(list(PROPERTIES))))

    if not parts:
        return {}
    columns = ["timestamp", "itemid", "property", "value"]
    rows = pd.concat([read_published(part, columns, keep=readable) for part in parts], ignore_index=True)
    rows["ts"] = pd.to_datetime(pd.to_numeric(rows["timestamp"], errors="coerce"), unit="ms", errors="coerce")
    rows = rows.rename(columns={"itemid": "item_id"}).sort_values(["ts", "item_id", "property", "value"])
    rows["day"] = rows["ts"].dt.normalize()
    states = {}
    for hashed, name in PROPERTIES.items():
        told = rows[rows["property"] == hashed]
        told = told.assign(value=_property_values(name, told["value"].str.strip(), paths))
        is_readable = told["value"].notna() & told["ts"].notna()
        left_out[f"unreadable item property: {name}"] = int((~is_readable).sum())
        last = told[is_readable].drop_duplicates(["item_id", "day"], keep="last")
        states[name] = last.set_index(["item_id", "day"])["value"]
    return states


def _property_values(name: str, published: pd.Series, paths: Mapping[str, str]) -> pd.Series:
    """Read published property values, by way of the distinct ones; what cannot be read becomes missing."""
    distinct = pd.Series(published.unique(), dtype=object)
    if name == "category":
        read = {value: paths.get(value, value) for value in distinct if value}
    elif name == "stock":
        read = {"0": 0, "1": 1}
    else:
        prices = distinct[distinct.str.fullmatch(r"n\d{1,15}(\.\d+)?")]
        read = {value: Decimal(value[1:]).quantize(Decimal("0.01"), ROUND_HALF_UP) for value in prices}
    return published.map(read).astype(object)


def item_changes(events: pd.DataFrame, states: Mapping[str, pd.Series]) -> pd.DataFrame:
    """Return item rows (day, item_id, and a column a state), one on each day that changed what is known."""
    first = events.drop_duplicates("item_id")[["item_id", "day"]]
    known = pd.concat([first, *(state.index.to_frame(index=False) for state in states.values())])
    known = known.drop_duplicates().sort_values(["item_id", "day"], kind="stable", ignore_index=True)
    keys = pd.MultiIndex.from_frame(known[["item_id", "day"]])
    is_change = ~known["item_id"].duplicated()
    for name, state in states.items():
        known[name] = state.reindex(keys).to_numpy()
        known[name] = known.groupby("item_id")[name].ffill()
        before = known.groupby("item_id")[name].shift()
        is_change |= known[name].notna() & (before.isna() | (known[name] != before))
    changed = known[is_change].sort_values(["day", "item_id"], kind="stable", ignore_index=True)
    return changed.assign(
        **{name: changed[name].astype(object).where(changed[name].notna(), None) for name in states}
    )
