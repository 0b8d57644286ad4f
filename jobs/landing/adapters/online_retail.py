"""Land UCI Online Retail (invoice lines of a UK homeware shop) as events, items and users.

    topshelf land online-retail SRC --landing data/landing

SRC is a folder of by-day files (`2010-12-01.csv.gz`, ...), a folder with the published csv, or that file. The columns
of Online Retail II (`Invoice`, `Price`, `Customer ID`) are read as well.

- A line becomes one `purchase` if its quantity and price are above zero and it is no cancellation. Exact duplicates
  and codes that are no goods (`POST`, `M`) stay in. Events have no `event_id`: two equal lines are two purchases.
- A line without a customer becomes an anonymous event: no `user_id`, the invoice as `session_id`.
- `item_id` is the stock code as published. Only anonymous lines sometimes have a product's letters in lower case
  (`85123a`). They are changed to the code of customers' lines, or one product would become two.
- An item's price is the one on most of the day's lines with a customer. Lines without a customer mostly come from
  another channel at about twice the price. They set a price only for an item that has none yet.
- Prices are in whole pence: the four lines at 0.001 land as 0.01.
- There is no category, stock or sign-up date.
- Dates are ISO 8601, or month and day as in Kaggle's copy (`12/1/2010 8:26`), or day and month where the file's dates
  show it.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from jobs.landing.adapters.published import SourceError, read_published, rows_to_keep
from jobs.landing.adapters.writer import EVENTS, ITEMS, USERS, LandingSummary, RowsByDay, write_days
from jobs.landing.adapters.written_dates import DateOrderError, times_of
from serving import money

COLUMNS = [
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
]
RENAMED = {"Invoice": "InvoiceNo", "Price": "UnitPrice", "Customer ID": "CustomerID"}
FILE_NAME = "online_retail.parquet"
UNREADABLE = {"InvoiceDate": "unreadable date", "Quantity": "unreadable quantity", "UnitPrice": "unreadable price"}
"""Reasons to leave a line out for a column that cannot be read."""
WITHOUT = [
    "item categories, brands, sellers and stock",
    "views, carts and ratings: every event is a purchase",
]


def online_retail(src: Path, landing: Path) -> LandingSummary:
    """Land the invoice lines at `src` below `landing`; return what was landed and left out.

    Raises:
        SourceError: there is no sale to land, or a file is not the published one.
    """
    published = read_lines(src)
    lines, left_out = sale_lines(published)
    if lines.empty:
        raise SourceError(f"{src} holds no sale: {_why_none(published, left_out)}")
    summary = LandingSummary(
        "online-retail",
        lines["day"].iloc[0].date(),
        lines["day"].iloc[-1].date(),
        anonymous_events=int(lines["user_id"].isna().sum()),
        left_out=left_out,
        without=list(WITHOUT),
    )
    tables = [
        RowsByDay.from_frame("events", lines, EVENTS),
        RowsByDay.from_frame("items", item_changes(lines), ITEMS),
        RowsByDay.from_frame("users", user_changes(lines), USERS),
    ]
    return write_days(landing, tables, FILE_NAME, summary)


def published_files(src: Path) -> list[Path]:
    """Return the csv files in `src`, or else one level below: the by-day files if there are any, else all.

    Raises:
        SourceError: there is none, or a file is there both as .csv and as .csv.gz.
    """
    if src.is_file():
        return [src]
    for pattern in ("*", "*/*"):
        paths = sorted(path for path in src.glob(pattern) if path.name.endswith((".csv", ".csv.gz")))
        by_day = [path for path in paths if re.match(r"\d{4}-\d\d-\d\d\.csv", path.name)]
        if paths:
            return _refuse_repeated(by_day or paths)
    raise SourceError(f"{src} holds no .csv or .csv.gz; give the folder of by-day files or the published csv")


def _refuse_repeated(paths: list[Path]) -> list[Path]:
    seen: dict[str, Path] = {}
    for path in paths:
        stem = path.name.removesuffix(".gz")
        if stem in seen:
            raise SourceError(f"{seen[stem]} and {path} are the same file twice; remove one of them")
        seen[stem] = path
    return paths


def read_lines(src: Path) -> pd.DataFrame:
    """Return every published line at `src` as text, with its time in `ts`, ordered by `ts` and all fields.

    Raises:
        SourceError: a file is not the published one, or its dates may be read in two ways.
    """
    files = published_files(src)
    frame = pd.concat([read_published(path, COLUMNS, RENAMED) for path in files], ignore_index=True)
    try:
        ts = times_of(frame["InvoiceDate"])
    except DateOrderError as error:
        raise SourceError(f"{src}, InvoiceDate: {error}; write dates as 2010-12-01 08:26:00") from error
    # A total order: the same lines land the same bytes, in one file or in many.
    return frame.assign(ts=ts).sort_values(["ts", *COLUMNS], kind="stable", ignore_index=True)


def sale_lines(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the lines that are sales, in landing's columns, and how many others there are by reason."""
    quantity, price = _quantity(frame), _price_minor(frame)
    faults = {
        **{UNREADABLE[column]: is_unreadable for column, is_unreadable in _unreadable(frame).items()},
        "no stock code": frame["StockCode"] == "",
        "cancellation": frame["InvoiceNo"].str.startswith("C"),
        "bad debt adjustment": frame["InvoiceNo"].str.startswith("A"),
        "quantity not above zero": quantity <= 0,
        "price not above zero": price <= 0,
    }
    kept, left_out = rows_to_keep(faults)
    sales = frame[kept]
    customer = sales["CustomerID"].str.removesuffix(".0")
    is_anonymous = customer == ""
    code = sales["StockCode"]
    folded = code.where(~(is_anonymous & code.str.fullmatch(r"\d{5}[A-Za-z]+")), code.str.upper())
    lines = pd.DataFrame(
        {
            "user_id": customer.where(~is_anonymous, None),
            "session_id": sales["InvoiceNo"],
            "item_id": folded,
            "event_type": "purchase",
            "ts": sales["ts"].dt.tz_localize("UTC"),
            "quantity": quantity[kept].astype("int32"),
            "unit_price": price[kept].map({minor: money.to_decimal(int(minor)) for minor in price[kept].unique()}),
            "region": sales["Country"].where(sales["Country"] != "", None),
            "title": sales["Description"].str.split().str.join(" "),
            "day": sales["ts"].dt.normalize(),
        }
    )
    return lines.reset_index(drop=True), left_out


def _quantity(frame: pd.DataFrame) -> pd.Series:
    return pd.to_numeric(frame["Quantity"], errors="coerce")


def _price_minor(frame: pd.DataFrame) -> pd.Series:
    return frame["UnitPrice"].map({text: money.minor_units(text) for text in frame["UnitPrice"].unique()})


def _unreadable(frame: pd.DataFrame) -> dict[str, pd.Series]:
    """Return, for each column of UNREADABLE, which lines cannot be read for it."""
    read = {"InvoiceDate": frame["ts"], "Quantity": _quantity(frame), "UnitPrice": _price_minor(frame)}
    return {column: values.isna() for column, values in read.items()}


def _why_none(published: pd.DataFrame, left_out: Mapping[str, int]) -> str:
    """Return in words why not one of the published lines is a sale."""
    counts = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items() if count)
    for column, is_unreadable in _unreadable(published).items():
        if left_out[UNREADABLE[column]]:
            example = published.loc[is_unreadable, column].iloc[0]
            remedy = "write dates as 2010-12-01 08:26:00, and numbers as 1234.50"
            return f"of {len(published):,} lines, {counts}, such as {column} {example!r}; {remedy}"
    return f"of {len(published):,} lines, {counts or 'none'}; check the files"


def item_changes(lines: pd.DataFrame) -> pd.DataFrame:
    """Return item rows (day, item_id, title, price), one on each day that changed the title or the price.

    A day's title is its last non-empty description. The module's docstring says which price is taken.
    """
    titles = lines[lines["title"] != ""].groupby(["day", "item_id"])["title"].last()
    named = lines["user_id"].notna()
    prices = pd.DataFrame(
        {"customer": _usual_price(lines[named]), "anonymous": _usual_price(lines[~named]), "title": titles}
    )
    state = prices.reset_index().sort_values(["item_id", "day"], kind="stable", ignore_index=True)
    item = state["item_id"]
    known = state.groupby("item_id")["customer"].ffill()
    # Before the first line with a customer, the first price without one is taken.
    state["price"] = known.fillna(state.groupby("item_id")["anonymous"].transform("first"))
    state["title"] = state.groupby("item_id")["title"].ffill()
    before = state[["title", "price"]].shift().where(item == item.shift())
    same = (state["title"].eq(before["title"]) | (state["title"].isna() & before["title"].isna())) & (
        state["price"] == before["price"]
    )
    changed = state[~(same & (item == item.shift()))]
    changed = changed.assign(title=changed["title"].where(changed["title"].notna(), None))
    return changed.sort_values(["day", "item_id"], kind="stable", ignore_index=True)


def _usual_price(lines: pd.DataFrame) -> pd.Series:
    """Return the price on most lines of each (day, item_id); of equally frequent ones the highest: no discount."""
    counts = lines.groupby(["day", "item_id", "unit_price"]).size().rename("line_count").reset_index()
    counts = counts.sort_values(["day", "item_id", "line_count", "unit_price"], ascending=[True, True, False, False])
    return counts.drop_duplicates(["day", "item_id"]).set_index(["day", "item_id"])["unit_price"]


def user_changes(lines: pd.DataFrame) -> pd.DataFrame:
    """Return user rows (day, user_id, region): one on a customer's first day, and one on each change of country."""
    named = lines[lines["user_id"].notna()]
    last = named.groupby(["user_id", "day"])["region"].last().reset_index()
    before = last.groupby("user_id")["region"].shift()
    changed = last["region"].fillna("").ne(before.fillna("")) | ~last["user_id"].duplicated()
    return last[changed].sort_values(["day", "user_id"], kind="stable", ignore_index=True)
