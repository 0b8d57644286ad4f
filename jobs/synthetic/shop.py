r"""Make a synthetic shop: landing folders of events, items, users and exposures, and the truth behind them.

    topshelf synthetic-shop --users 2000 --items 1000 --events 50000 --from 2026-01-01 --to 2026-02-14 \
        --landing data/landing --truth data/truth --seed 7

Spark hands out numbers of shoppers and items; what they are and do is a function of the seed and those numbers
(`synthetic_catalogue`, `synthetic_shoppers`, `synthetic_visits`, `synthetic_exposures`), so the same arguments give
the same rows on a laptop and on a cluster, and ten times the shoppers cost ten times the work. Everything in it is
simulated, stock included.

The truth folder holds what no shop knows: `shop.json`, and as parquet `users` (tastes, favourites, staples), `items`
(style, quality, price level) and `seasons`. `synthetic_truth` computes the true value of a shelf from it.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from jobs.landing.folders import SUCCESS
from jobs.synthetic import rows, truth_rows
from jobs.synthetic.catalogue import Shop
from jobs.synthetic.draws import Ints
from jobs.synthetic.truth import SHOP_FILE

MARKER = "_synthetic_shop.json"
USERS_A_BATCH = 4096  # large enough that the arithmetic is in arrays, small enough for 200 MB a worker
EVENTS_A_TASK = 250_000
EVENTS_A_FILE = 2_000_000
TABLES = ("events", "items", "users", "exposures")
KEYS = ("ds", "ts", "event_id", "request_id", "position", "item_id", "user_id")  # together a total order of any table
Make = Callable[[Shop, Ints], Iterator[pa.RecordBatch]]


class LandingInUseError(Exception):
    """The landing folder holds tables that the synthetic shop did not make."""


@dataclass(frozen=True)
class ShopSummary:
    """What was landed. `was_made` is False when the same shop lay there already and nothing was touched."""

    first_day: date
    last_day: date
    rows: dict[str, int]
    was_made: bool

    def lines(self) -> list[str]:
        """The summary as lines for a terminal."""
        told = ", ".join(f"{count:,} {table}" for table, count in self.rows.items())
        done = "landed" if self.was_made else "already there, nothing changed:"
        return [f"synthetic shop: {self.first_day} to {self.last_day}", f"{done} {told}"]


def synthetic_shop(
    spark: SparkSession,
    landing: Path,
    truth: Path,
    users: int,
    items: int,
    events_target: int,
    first_day: date,
    last_day: date,
    seed: int,
    say: Callable[[str], None] = lambda _: None,
) -> ShopSummary:
    """Land a shop of that size below `landing`, and what is true of it in `truth`; `say` is told each step.

    About `events_target` events come out (within a few percent from some thousand users on). The same shop again
    changes nothing; another shop replaces one made here before.

    Raises:
        LandingInUseError: `landing` has tables of another origin.
        ShopSizeError: no shop can have that size or those days.
    """
    shop = Shop(users, items, events_target, first_day, last_day, seed)
    found = _found(landing)
    if found and found.get("shop") == _identity(shop) and found.get("rows") and (truth / SHOP_FILE).exists():
        return ShopSummary(first_day, last_day, found["rows"], was_made=False)
    landing.mkdir(parents=True, exist_ok=True)
    _write_json(landing / MARKER, {"shop": _identity(shop)})  # without rows: begun and not finished
    for table in TABLES:  # two shops must never stand beside each other, not even after a crash
        shutil.rmtree(landing / table, ignore_errors=True)
    counts = {}
    for table, make, schema, size in (
        ("events", rows.event_rows, rows.EVENTS, users),
        ("items", rows.item_rows, rows.ITEMS, items),
        ("users", rows.user_rows, rows.USERS, users),
        ("exposures", rows.exposure_rows, rows.EXPOSURES, users),
    ):
        say(f"synthetic shop: {table}")
        counts[table] = _land(made(spark, shop, make, schema, size), landing / table, shop)
    say("synthetic shop: truth")
    _write_truth(spark, shop, truth)
    _write_json(landing / MARKER, {"shop": _identity(shop), "rows": counts})
    return ShopSummary(first_day, last_day, counts, was_made=True)


def made(spark: SparkSession, shop: Shop, make: Make, schema: pa.Schema, size: int) -> DataFrame:
    """Return the rows that `make` yields for the numbers 0 to `size` - 1, whatever the partitions."""
    tasks = max(1, min(-(-shop.events_target // EVENTS_A_TASK), -(-size // USERS_A_BATCH), 10_000))

    def of_numbers(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for start, end in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield from make(shop, np.arange(start, end, dtype=np.int64))

    ranges = spark.range(0, size, USERS_A_BATCH, max(tasks, 1)).select(
        F.col("id").alias("start"), F.least(F.col("id") + USERS_A_BATCH, F.lit(size)).alias("end")
    )
    return ranges.mapInArrow(of_numbers, from_arrow_schema(schema))


def _land(table: DataFrame, folder: Path, shop: Shop) -> int:
    """Write `table` as day folders, each marked when all are whole; return its rows."""
    order = [column for column in KEYS if column in table.columns]
    files_a_day = -(-shop.events_target // shop.days // EVENTS_A_FILE) or 1
    share = F.pmod(F.xxhash64(*order), F.lit(files_a_day))
    partitions = min(max(8, shop.events_target // 1_000_000), 2_000)
    by_day = table.repartition(partitions, "ds", share).sortWithinPartitions(*order)
    with _utc_timestamps(table.sparkSession):
        by_day.write.mode("overwrite").partitionBy("ds").parquet(str(folder))
    (folder / SUCCESS).unlink(missing_ok=True)  # Spark's own, for the whole table
    if folder.name == "events":  # a day on which nobody came is a marked folder too
        for number in range(shop.days):
            (folder / f"ds={shop.day(number)}").mkdir(parents=True, exist_ok=True)
    for day in sorted(folder.glob("ds=*")):
        _name_files(day)
        (day / SUCCESS).touch()
    return sum(pq.read_metadata(path).num_rows for path in folder.glob("ds=*/*.parquet"))


def _name_files(day: Path) -> None:
    """Give Spark's files names that the same shop has each time: a night's identity covers names, too."""
    for checksum in day.glob(".*.crc"):
        checksum.unlink()
    for number, path in enumerate(sorted(day.glob("part-*.parquet"))):
        path.rename(day / f"synthetic-{number:05d}.parquet")


@contextmanager
def _utc_timestamps(spark: SparkSession) -> Iterator[None]:
    """Write times as UTC microseconds: Spark's own form, 96 bits without a zone, is read differently elsewhere."""
    name = "spark.sql.parquet.outputTimestampType"
    before = spark.conf.get(name)
    spark.conf.set(name, "TIMESTAMP_MICROS")
    try:
        yield
    finally:
        spark.conf.set(name, before or "INT96")


def _write_truth(spark: SparkSession, shop: Shop, truth: Path) -> None:
    truth.mkdir(parents=True, exist_ok=True)
    (truth / SHOP_FILE).unlink(missing_ok=True)
    for table, make, schema, size in (
        ("users", truth_rows.user_rows, truth_rows.USERS, shop.users),
        ("items", truth_rows.item_rows, truth_rows.ITEMS, shop.items),
    ):
        made(spark, shop, make, schema, size).write.mode("overwrite").parquet(str(truth / table))
    (truth / "seasons").mkdir(exist_ok=True)
    pq.write_table(truth_rows.seasons(shop), truth / "seasons" / "seasons.parquet")
    _write_json(truth / SHOP_FILE, json.loads(_identity(shop))["shop"])


def _identity(shop: Shop) -> str:
    """The shop's description and the code that makes it, as JSON: equal texts, equal rows."""
    code = hashlib.sha256()
    for module in sorted(Path(__file__).parent.glob("*.py")):
        code.update(module.read_bytes())
    described = {name: str(told) if isinstance(told, date) else told for name, told in asdict(shop).items()}
    return json.dumps({"shop": described, "code": code.hexdigest()}, sort_keys=True)


def _write_json(path: Path, told: object) -> None:
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")
    beside.replace(path)


def _found(landing: Path) -> dict[str, Any]:
    """What an earlier synthetic shop says of `landing`; empty where there was none."""
    marker = landing / MARKER
    if marker.exists():
        told: dict[str, Any] = json.loads(marker.read_text())
        return told
    strangers = [name for name in TABLES if (landing / name).exists()]
    if strangers:
        raise LandingInUseError(
            f"{landing} already holds {', '.join(strangers)}, which the synthetic shop did not make; "
            "give another --landing, or remove them"
        )
    return {}
