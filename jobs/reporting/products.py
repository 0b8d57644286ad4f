"""Read what a person wants to see of a few products: title, category, price and picture.

>>> products(lake, date(2026, 1, 31), ["i1"])["i1"].title
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

from jobs.lake.lake import Lake
from jobs.lake.tables import ITEM, ITEMS
from serving.money import to_decimal

IMAGE = "image_url"


@dataclass(frozen=True)
class Product:
    """One product; a text is empty where the shop does not say."""

    title: str
    """The product's id where it has no title."""
    category: str = ""
    price_minor: int | None = None
    image_url: str = ""


def products(lake: Lake, ds: date, item_ids: Collection[str]) -> dict[str, Product]:
    """Return the products of the day's catalogue by id; one that left the catalogue has its id alone."""
    wanted = set(item_ids)
    columns = ["item_id", "title", "category", "price_minor"]
    rows = {row["item_id"]: row for row in lake.arrow_where(ITEM, ds, "item_id", wanted, columns).to_pylist()}
    pictures = image_urls(lake, ds, wanted)
    return {
        item_id: Product(
            title=row.get("title") or item_id,
            category=row.get("category") or "",
            price_minor=row.get("price_minor"),
            image_url=pictures.get(item_id, ""),
        )
        for item_id, row in ((item_id, rows.get(item_id, {})) for item_id in sorted(wanted))
    }


def image_urls(lake: Lake, ds: date, item_ids: Collection[str]) -> dict[str, str]:
    """Return the pictures' addresses by product, as the newest row up to `ds` that has the column says.

    Only addresses of the web are given; a product without one is left out. Days are read back until all is known.
    """
    waiting, found = set(item_ids), dict[str, str]()
    for day in reversed([day for day in lake.days(ITEMS) if day <= ds]):
        if not waiting:
            break
        for row in lake.arrow_where(ITEMS, day, "item_id", waiting, ["item_id", IMAGE, "absent"]).to_pylist():
            if IMAGE not in (row["absent"] or ()):
                waiting.discard(row["item_id"])
                url = row[IMAGE] or ""
                if url.startswith(("https://", "http://")):
                    found[row["item_id"]] = url
    return found


def money(minor: int | None, currency: str) -> str:
    """Return an amount such as `€1,234.50`, `EUR 1,234.50`, or `1,234.50` without a currency; empty for None."""
    if minor is None:
        return ""
    gap = "\N{NO-BREAK SPACE}" if currency[-1:].isalpha() else ""
    return f"{currency}{gap}{to_decimal(minor):,.2f}"
