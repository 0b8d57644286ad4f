"""Land the RetailRocket web shop: views, carts and purchases of visitors, from either form of the data.

    topshelf land retailrocket SRC --landing data/landing
    topshelf land retailrocket-buyers SRC --landing data/landing

`retailrocket` reads the published files: `events.csv`, `category_tree.csv`, `item_properties_part1.csv` and
`..._part2.csv`, each also as `.csv.gz`. Only events are required. Without the tree an item's category is its bare id.
Without a properties file, what it says of items (category, availability, price) is unknown. The summary names what is
missing. `retailrocket-buyers` reads one `events.csv` with `user,item,event,ts`, which has no item properties.

- An item gets a row on the day when it is first seen, in an event or a property, and one on each day when a property
  that we can read changes. So a night knows of an item what had been published by then.
- `categoryid` becomes the path from the tree's root, `213/1016`; `available` becomes stock 1 or 0.
- The publisher hashed the names of properties. Others who worked with the data take property 790 for the price; here
  it is the price where it is a single number (`n32880.000`). The publisher says that a number has three digits after
  its point, so 32880.000 is 32880.00 in an unknown currency. All other properties are ignored.
- A transaction's id becomes its `session_id`. Exact duplicates stay in.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from jobs.landing.adapters.published import SourceError, published_file, read_published, rows_to_keep
from jobs.landing.adapters.writer import EVENTS, ITEMS, LandingSummary, RowsByDay, write_days
from serving import money

BUYERS_EVENT_TYPES = {"view": "view", "cart": "add_to_cart", "buy": "purchase"}
RAW_EVENT_TYPES = {"view": "view", "addtocart": "add_to_cart", "transaction": "purchase"}
PROPERTIES = {"categoryid": "category", "available": "stock", "790": "price"}
WITHOUT = ("item titles, brands and sellers", "users' regions and age bands", "quantities and prices paid")


def retailrocket_buyers(src: Path, landing: Path) -> LandingSummary:
    """Land the buyers' extract at `src` (its folder or its events file) below `landing`.

    Raises:
        SourceError: there are no events to read.
    """
    path = src if src.is_file() else _events_file(src)
    rows = read_published(path, ["user", "item", "event", "ts"])
    rows = rows.rename(columns={"user": "user_id", "item": "item_id"}).assign(session_id="")
    events, left_out = known_events(rows, BUYERS_EVENT_TYPES, ts_unit="s")
    without = ["item categories, prices and stock", *WITHOUT]
    summary = _summary("retailrocket-buyers", path, events, left_out, without)
    return _land(events, item_changes(events, {}), summary, landing)


def retailrocket(src: Path, landing: Path) -> LandingSummary:
    """Land the published files in the folder `src` below `landing`; all but the events may be absent.

    Raises:
        SourceError: there are no events to read, or a file is not the published one.
    """
    path = _events_file(src)
    rows = read_published(path, ["timestamp", "visitorid", "event", "itemid", "transactionid"])
    names = {"timestamp": "ts", "visitorid": "user_id", "itemid": "item_id", "transactionid": "session_id"}
    events, left_out = known_events(rows.rename(columns=names), RAW_EVENT_TYPES, ts_unit="ms")
    tree = published_file(src, "category_tree")
    properties = {name: published_file(src, name) for name in ("item_properties_part1", "item_properties_part2")}
    without = [f"{name}.csv: items it alone describes" for name, file in properties.items() if file is None]
    if tree is None:
        without.append("category_tree.csv: a category is its bare id")
    if not any(properties.values()):
        without.append("item categories, prices and stock")
    paths = category_paths(tree) if tree else {}
    states = property_states([file for file in properties.values() if file], paths, left_out)
    summary = _summary("retailrocket", path, events, left_out, [*without, *WITHOUT])
    return _land(events, item_changes(events, states), summary, landing)


def _events_file(src: Path) -> Path:
    path = published_file(src, "events")
    if path is None:
        raise SourceError(f"{src} holds no events.csv or events.csv.gz; give the folder of the published files")
    return path


def _summary(
    name: str, path: Path, events: pd.DataFrame, left_out: dict[str, int], without: list[str]
) -> LandingSummary:
    if events.empty:
        raise SourceError(f"{path} holds no event that can be read ({left_out}); get the published file again")
    days = events["day"]
    return LandingSummary(name, days.iloc[0].date(), days.iloc[-1].date(), left_out=left_out, without=without)


def _land(events: pd.DataFrame, items: pd.DataFrame, summary: LandingSummary, landing: Path) -> LandingSummary:
    tables = [RowsByDay.from_frame("events", events, EVENTS), RowsByDay.from_frame("items", items, ITEMS)]
    return write_days(landing, tables, f"{summary.source.replace('-', '_')}.parquet", summary)


def known_events(
    rows: pd.DataFrame, event_types: Mapping[str, str], ts_unit: str
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the events in landing's columns, ordered by time, and how many rows are left out by reason.

    All columns of `rows` are text: ts (whole `ts_unit` since 1970), user_id, item_id, event, session_id ('' if none).
    """
    ts = pd.to_datetime(pd.to_numeric(rows["ts"], errors="coerce"), unit=ts_unit, utc=True, errors="coerce")
    event_type = rows["event"].map(event_types)
    faults = {
        "unreadable time": ts.isna(),
        "unknown event": event_type.isna(),
        "no visitor or item": (rows["user_id"] == "") | (rows["item_id"] == ""),
    }
    kept, left_out = rows_to_keep(faults)
    events = rows.loc[kept, ["user_id", "session_id", "item_id"]].assign(
        event_type=event_type[kept], ts=ts[kept], day=ts[kept].dt.tz_localize(None).dt.normalize()
    )
    order = ["ts", "user_id", "item_id", "event_type", "session_id"]
    events = events.sort_values(order, kind="stable", ignore_index=True)
    events["session_id"] = events["session_id"].where(events["session_id"] != "", None)
    return events, left_out


def category_paths(tree: Path) -> dict[str, str]:
    """Return each category's path from its root, `213/1016`.

    Raises:
        SourceError: a category is its own ancestor.
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


def property_states(files: list[Path], paths: Mapping[str, str], left_out: dict[str, int]) -> dict[str, pd.Series]:
    """Return, for each of category, stock and price, the last value that each (item_id, day) has.

    A category that `paths` does not know is its bare id. Values that cannot be read are counted in `left_out` and
    change nothing.
    """

    def with_known_property(block: pa.RecordBatch) -> pa.RecordBatch:
        return block.filter(pc.is_in(block.column("property"), value_set=pa.array(list(PROPERTIES))))

    if not files:
        return {}
    columns = ["timestamp", "itemid", "property", "value"]
    rows = pd.concat([read_published(file, columns, keep=with_known_property) for file in files], ignore_index=True)
    rows["ts"] = pd.to_datetime(pd.to_numeric(rows["timestamp"], errors="coerce"), unit="ms", errors="coerce")
    rows = rows.rename(columns={"itemid": "item_id"}).sort_values(["ts", "item_id", "property", "value"])
    rows["day"] = rows["ts"].dt.normalize()
    states = {}
    for hashed, name in PROPERTIES.items():
        changes = rows[rows["property"] == hashed]
        changes = changes.assign(value=_property_values(name, changes["value"].str.strip(), paths))
        is_readable = changes["value"].notna() & changes["ts"].notna()
        left_out[f"unreadable item property: {name}"] = int((~is_readable).sum())
        last = changes[is_readable].drop_duplicates(["item_id", "day"], keep="last")
        states[name] = last.set_index(["item_id", "day"])["value"]
    return states


def _property_values(name: str, published: pd.Series, paths: Mapping[str, str]) -> pd.Series:
    """Return published values as those of `name`, missing where they cannot be read; converts distinct ones once."""
    distinct = pd.Series(published.unique(), dtype=object)
    if name == "category":
        values = {value: paths.get(value, value) for value in distinct if value}
    elif name == "stock":
        values = {"0": 0, "1": 1}
    else:
        prices = distinct[distinct.str.fullmatch(r"n\d+(\.\d+)?")]
        minor = {value: money.minor_units(value[1:]) for value in prices}
        values = {value: money.to_decimal(amount) for value, amount in minor.items() if amount is not None}
    return published.map(values).astype(object)


def item_changes(events: pd.DataFrame, states: Mapping[str, pd.Series]) -> pd.DataFrame:
    """Return item rows (day, item_id and a column for each of `states`), one on each day that changed a column."""
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
