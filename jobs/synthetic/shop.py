r"""Make a synthetic shop: landing folders of events, items, users and exposures, and the truth behind them.

    topshelf synthetic-shop --users 2000 --items 1000 --events 50000 --from 2026-01-01 --to 2026-02-14 \
        --landing data/landing --truth data/truth --seed 7

Spark distributes numbers of shoppers and items. What they are and do is a function of the seed and these numbers
(`jobs.synthetic.catalogue`, `shoppers`, `visits`, `exposures`). So the same arguments give the same rows on a laptop
and on a cluster, and ten times the shoppers cost ten times the work. Everything is simulated, stock included.

The truth folder holds what no real shop knows: `shop.json`, and as parquet `users` (tastes, favourites, staples),
`items` (style, quality, price level) and `seasons`. `jobs.synthetic.truth` computes the true value of a shelf.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from jobs.landing.folders import SUCCESS
from jobs.numeric.draws import Ints
from jobs.synthetic import rows, truth_rows
from jobs.synthetic.catalogue import Shop
from jobs.synthetic.truth import SHOP_FILE

MARKER = "_synthetic_shop.json"
USERS_A_BATCH = 4096  # large enough that the arithmetic is in arrays, small enough for 200 MB a worker
EVENTS_A_TASK = 250_000
EVENTS_A_FILE = 2_000_000
TABLES = ("events", "items", "users", "exposures")
SORT_COLUMNS = ("ds", "ts", "event_id", "request_id", "position", "item_id", "user_id")
"""Those of them that a table has are a total order of its rows."""
MakeRows = Callable[[Shop, Ints], Iterator[pa.RecordBatch]]


class LandingInUseError(Exception):
    """The landing folder holds tables that the synthetic shop did not make."""


@dataclass(frozen=True)
class ShopSummary:
    """What was landed. `was_made` is False if the same shop was there already and nothing was changed."""

    first_day: date
    last_day: date
    rows: dict[str, int]
    was_made: bool

    def lines(self) -> list[str]:
        """Return the summary as lines for a terminal."""
        counts = ", ".join(f"{count:,} {table}" for table, count in self.rows.items())
        outcome = "landed" if self.was_made else "already there, nothing changed:"
        return [f"synthetic shop: {self.first_day} to {self.last_day}", f"{outcome} {counts}"]


class _Marker(msgspec.Struct, omit_defaults=True):
    """What the marker file in a landing folder says: the shop, and its rows once it is complete."""

    shop: str
    """The description and the code of the shop; see `_identity`."""
    rows: dict[str, int] | None = None


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
    embedding_noise: float | None = None,
    groceries: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> ShopSummary:
    """Write a shop of that size to `landing` and its truth to `truth`; `say` gets a line for each step.

    There will be about `events_target` events (within a few percent from some thousand users on). Making the same
    shop again changes nothing; another shop replaces one that was made in the same folder before.

    Raises:
        LandingInUseError: `landing` has tables that were not made here.
        ShopSizeError: no shop can have that size or those days.
    """
    shop = Shop(users, items, events_target, first_day, last_day, seed, embedding_noise, groceries)
    identity, marker = _identity(shop), _read_marker(landing)
    if marker and marker.shop == identity and marker.rows and (truth / SHOP_FILE).exists():
        return ShopSummary(first_day, last_day, marker.rows, was_made=False)
    landing.mkdir(parents=True, exist_ok=True)
    _write_json(landing / MARKER, _Marker(identity))  # without rows, until all is written
    for table in TABLES:  # tables of two shops must never be mixed, not even after a crash
        shutil.rmtree(landing / table, ignore_errors=True)
    counts = {}
    for table, make, schema, size in (
        ("events", rows.event_rows, rows.EVENTS, users),
        ("items", rows.item_rows, rows.item_schema(shop), items),
        ("users", rows.user_rows, rows.USERS, users),
        ("exposures", rows.exposure_rows, rows.EXPOSURES, users),
    ):
        say(f"synthetic shop: {table}")
        counts[table] = _land(_distributed(spark, shop, make, schema, size), landing / table, shop)
    say("synthetic shop: truth")
    _write_truth(spark, shop, truth)
    _write_json(landing / MARKER, _Marker(identity, counts))
    return ShopSummary(first_day, last_day, counts, was_made=True)


def _distributed(spark: SparkSession, shop: Shop, make: MakeRows, schema: pa.Schema, size: int) -> DataFrame:
    """Return the rows that `make` yields for the numbers 0 to `size` - 1, whatever the partitions."""
    tasks = max(1, min(-(-shop.events_target // EVENTS_A_TASK), -(-size // USERS_A_BATCH), 10_000))

    def rows_of_ranges(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for start, end in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield from make(shop, np.arange(start, end, dtype=np.int64))

    ranges = spark.range(0, size, USERS_A_BATCH, max(tasks, 1)).select(
        F.col("id").alias("start"), F.least(F.col("id") + USERS_A_BATCH, F.lit(size)).alias("end")
    )
    return ranges.mapInArrow(rows_of_ranges, from_arrow_schema(schema))


def _land(table: DataFrame, folder: Path, shop: Shop) -> int:
    """Write `table` as day folders, marked once all are complete; return its number of rows."""
    order = [column for column in SORT_COLUMNS if column in table.columns]
    files_a_day = -(-shop.events_target // shop.days // EVENTS_A_FILE) or 1
    share = F.pmod(F.xxhash64(*order), F.lit(files_a_day))
    partitions = min(max(8, shop.events_target // 1_000_000), 2_000)
    by_day = table.repartition(partitions, "ds", share).sortWithinPartitions(*order)
    with _utc_timestamps(table.sparkSession):
        by_day.write.mode("overwrite").partitionBy("ds").parquet(str(folder))
    (folder / SUCCESS).unlink(missing_ok=True)  # Spark's own, for the whole table
    if folder.name == "events":  # a day without events is a marked folder too
        for number in range(shop.days):
            (folder / f"ds={shop.day(number)}").mkdir(parents=True, exist_ok=True)
    for day in sorted(folder.glob("ds=*")):
        _name_files(day)
        (day / SUCCESS).touch()
    return sum(pq.read_metadata(path).num_rows for path in folder.glob("ds=*/*.parquet"))


def _name_files(day: Path) -> None:
    """Rename Spark's files, so that the same shop has the same names: a night's identity includes them."""
    for checksum in day.glob(".*.crc"):
        checksum.unlink()
    for number, path in enumerate(sorted(day.glob("part-*.parquet"))):
        path.rename(day / f"synthetic-{number:05d}.parquet")


@contextmanager
def _utc_timestamps(spark: SparkSession) -> Iterator[None]:
    """Write times as UTC microseconds: other readers take Spark's default, 96 bits without a zone, differently."""
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
        _distributed(spark, shop, make, schema, size).write.mode("overwrite").parquet(str(truth / table))
    (truth / "seasons").mkdir(exist_ok=True)
    pq.write_table(truth_rows.seasons(shop), truth / "seasons" / "seasons.parquet")
    _write_json(truth / SHOP_FILE, shop)


def _identity(shop: Shop) -> str:
    """The shop's description and the code that makes it, as JSON: equal texts, equal rows."""
    code = hashlib.sha256()
    for module in sorted(Path(__file__).parent.glob("*.py")):
        code.update(module.read_bytes())
    return json.dumps({"shop": msgspec.to_builtins(shop), "code": code.hexdigest()}, sort_keys=True)


def _write_json(path: Path, record: _Marker | Shop) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(msgspec.to_builtins(record), indent=1, sort_keys=True) + "\n")
    temporary.replace(path)


def _read_marker(landing: Path) -> _Marker | None:
    """Return what an earlier synthetic shop wrote into `landing`, None if there was none.

    Raises:
        LandingInUseError: there was none, but tables are there.
    """
    marker = landing / MARKER
    if marker.exists():
        return msgspec.json.decode(marker.read_bytes(), type=_Marker)
    strangers = [name for name in TABLES if (landing / name).exists()]
    if strangers:
        raise LandingInUseError(
            f"{landing} already holds {', '.join(strangers)}, which the synthetic shop did not make; "
            "give another --landing, or remove them"
        )
    return None
