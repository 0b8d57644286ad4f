"""How full answers are, and what fills them, while more and more of the catalogue is out of stock.

    python -m tests.bench fill --out figures/
    python -m tests.bench.bench_fill docs      # writes docs/fill.md and docs/fill.svg again

A shop of 50,000 items and 4,000 users with shelves of 100; requests of seven kinds, 20 items each. Items go out of
stock at random, or the most popular first, which takes the fallback shelves before anything else. Seeds are fixed.
"""

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.publishing.publish import publish
from jobs.publishing.snapshot_columns import catalogue_of
from serving.shelf.fill import fill_shelf
from serving.shelf.fill_levels import LEVELS
from serving.shelf.filled_shelf import FilledShelf
from serving.shelf.item_state import LiveItems
from serving.shelf.request import ShelfRequest, request_filters
from serving.shelf.snapshot import Snapshot
from serving.stores import open_store
from tests.bench.figures import Figure
from tests.bench.shop import many, user_id
from tests.serving.small_shop import exploration_table

USERS, ITEMS, REQUESTS, LIMIT = 4_000, 50_000, 2_100, 20
SHARES = (0.0, 0.1, 0.3, 0.5, 0.7)
WAYS = ("at random", "most popular first")
SHOWN_LEVELS = tuple(level for level in LEVELS if level not in ("recent", "similar"))


@dataclass
class Filled:
    """What a share of the catalogue out of stock came to."""

    way: str
    share: float
    full: float  # share of answers with LIMIT items
    items: Counter[str]  # by level
    own: Counter[str]  # the same of users with a shelf and no filter
    wrong: int = 0  # items shown that may not be

    def of(self, level: str) -> float:
        """The share of all items shown that came from a level."""
        return self.items[level] / sum(self.items.values())


@contextmanager
def shop() -> Iterator[Snapshot]:
    """The bench's shop, published and opened."""
    night = many(USERS, n_items=ITEMS)
    night = replace(night, fallback=fallback(night.items), exploration=exploration(night.items))
    with tempfile.TemporaryDirectory() as folder, closing(open_store(f"lmdb://{folder}/store")) as store:
        publish(night, store)
        snapshot = Snapshot(store.open(night.version))
        yield snapshot
        snapshot.close()


def fallback(items: pa.Table) -> pa.Table:
    """Shelves of 200: the most popular overall and of each path, and a draw from the popular for the others."""
    catalogue, rng = catalogue_of(items), np.random.default_rng(1)
    popular = catalogue.popularity.astype(np.int64)
    shelves = {("global", ""): popular[:200]}
    for kind, key in (
        ("trending", ""),
        ("region", "DE"),
        ("region", "FR"),
        ("age_band", "18-24"),
        ("age_band", "25-34"),
    ):
        shelves[kind, key] = rng.choice(popular[:2_000], 200, replace=False)
    paths = np.array(catalogue.categories)
    for path in ("home", "home/kitchen", "home/kitchen/mugs", "home/kitchen/pans", "home/garden", "toys"):
        inside = np.char.startswith(np.char.add(paths[popular], "/"), f"{path}/")
        shelves["category", path] = popular[inside][:200]
    rows = [
        (kind, key, rank, catalogue.item_ids[position], 1.0 / rank)
        for (kind, key), positions in shelves.items()
        for rank, position in enumerate(positions.tolist(), 1)
    ]
    names = ("shelf", "shelf_key", "rank", "item_id", "score")
    return pa.table({name: [row[at] for row in rows] for at, name in enumerate(names)})


def exploration(items: pa.Table) -> pa.Table:
    """Pools whose items lie anywhere in the catalogue, and so at any price."""
    table, ids = exploration_table(ITEMS), items["item_id"]
    of_home = pc.starts_with(items["category"], "home").fill_null(False)
    rng, parts = np.random.default_rng(2), []
    for pool, among in (("", ids), ("home", ids.filter(of_home))):
        rows = table.filter(pc.equal(table["pool"], pool))
        drawn = among.take(pa.array(rng.choice(len(among), len(rows), replace=False)))
        parts.append(rows.set_column(rows.column_names.index("item_id"), "item_id", drawn))
    return pa.concat_tables(parts)


def asks() -> list[tuple[str, ShelfRequest]]:
    """The requests: seven kinds in equal parts."""
    rng = np.random.default_rng(20260101)
    found: list[tuple[str, ShelfRequest]] = []
    for number in range(REQUESTS // 7):
        user = user_id(int(rng.integers(USERS)))
        low = int(rng.integers(100, ITEMS // 2))
        band = {"price_min_minor": low, "price_max_minor": low + ITEMS // 20}
        path = ("home", "home/kitchen", "home/kitchen/mugs", "toys")[number % 4]
        found += [
            ("user", ShelfRequest(user_id=user)),
            ("user, category", ShelfRequest(user_id=user, category=path)),
            ("user, price", ShelfRequest(user_id=user, **band)),
            ("user, category and price", ShelfRequest(user_id=user, category=path, **band)),
            ("new, region and age", ShelfRequest(user_id=f"new-{number}", region="DE", age_band="18-24")),
            ("new, chosen categories", ShelfRequest(user_id=f"new-{number}", categories=("toys", "home/garden"))),
            ("unknown", ShelfRequest()),
        ]
    return found


def with_out_of_stock(snapshot: Snapshot, way: str, share: float) -> LiveItems:
    """The shop's live state with a share of its items out of stock; everything else is there."""
    live = LiveItems(snapshot)
    order = np.random.default_rng(7).permutation(ITEMS) if way == WAYS[0] else snapshot.popularity
    stock = np.ones(ITEMS, np.int32)
    stock[order[: int(share * ITEMS)]] = 0
    for position, count in enumerate(stock.tolist()):
        live.set(position, -2, count, 0)
    return live


def may_be_shown(snapshot: Snapshot, live: LiveItems, request: ShelfRequest, filled: FilledShelf) -> bool:
    """Whether every item of an answer is in stock, in the price range and the category now."""
    positions = np.array(filled.positions, np.int64)
    return bool(
        request_filters(snapshot, request).eligible(snapshot, live, positions).all()
        and (live.stock[positions] > 0).all()
    )


def measure(snapshot: Snapshot, way: str, share: float) -> Filled:
    """Answer all requests over one state of the shop."""
    live = with_out_of_stock(snapshot, way, share)
    found, full = Filled(way, share, 0.0, Counter(), Counter()), 0
    requests = asks()
    for number, (kind, request) in enumerate(requests):
        filled = fill_shelf(snapshot, live, request, request_key=number.to_bytes(16, "big"))
        full += len(set(filled.positions)) == LIMIT
        found.wrong += not may_be_shown(snapshot, live, request, filled)
        levels = [LEVELS[level] for level in filled.levels]
        found.items.update(levels)
        if kind == "user":
            found.own.update(levels)
    found.full = full / len(requests)
    return found


def measure_all() -> list[Filled]:
    """Every way and share. Holds the promise: every answer is full, and nothing is shown that may not be."""
    with shop() as snapshot:
        results = [measure(snapshot, way, share) for way in WAYS for share in SHARES]
    for found in results:
        assert found.full == 1.0 and found.wrong == 0, found
    return results


def main() -> list[Figure]:
    """Measure every way and share."""
    figures = []
    for found in measure_all():
        what = f"full answers, {found.share:.0%} out of stock {found.way}"
        figures.append(Figure(what, found.full * 100, "%", wanted="100"))
        figures.append(Figure("  of their items from the user's own shelf", found.of("user") * 100, "%"))
    return figures


def write_docs(folder: Path) -> None:
    """Write fill.md, its tables and its plot."""
    results = measure_all()
    lines = (folder / "fill.md").read_text().split("<!-- figures -->")
    tables = [table(results, way) for way in WAYS]
    (folder / "fill.md").write_text(f"{lines[0]}<!-- figures -->\n\n" + "\n\n".join(tables) + "\n")
    plot(results, folder / "fill.svg")


def table(results: list[Filled], way: str) -> str:
    """One way as a Markdown table: a row each share out of stock."""
    rows = [f"Out of stock {way}:", "", "| out of stock | full answers | " + " | ".join(SHOWN_LEVELS) + " |"]
    rows.append("| ---: " * (len(SHOWN_LEVELS) + 2) + "|")
    for found in (result for result in results if result.way == way):
        cells = [f"{found.of(level):.1%}" for level in SHOWN_LEVELS]
        rows.append(f"| {found.share:.0%} | {found.full:.2%} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def plot(results: list[Filled], path: Path) -> None:
    """Stacked bars: where the items of full answers came from."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "fill"  # the same bytes from the same figures
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(WAYS), figsize=(10, 4), sharey=True, layout="constrained")
    for axis, way in zip(axes, WAYS, strict=True):
        of = [result for result in results if result.way == way]
        bottom = np.zeros(len(of))
        for number, level in enumerate(SHOWN_LEVELS):
            heights = np.array([result.of(level) * 100 for result in of])
            color = plt.get_cmap("tab10")(number)
            axis.bar([f"{result.share:.0%}" for result in of], heights, bottom=bottom, label=level, color=color)
            bottom += heights
        axis.set(title=f"out of stock {way}", xlabel="of the catalogue out of stock")
    axes[0].set_ylabel("items of all answers, %")
    axes[-1].legend(title="filled from", bbox_to_anchor=(1.02, 1), loc="upper left", reverse=True)
    figure.savefig(path, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    write_docs(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
