"""What every test may ask for: one Spark session for the whole run, a lake and a landing folder of its own."""

import gzip
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from jobs.lake.lake import Lake
from jobs.spark.session import session

os.environ.setdefault(
    "TOPSHELF_PERTURB_SHARE", "0"
)  # an endpoint answers in the order of rank, but where a test asks


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """The embedded session that a night runs in: starting one takes seconds, so the run shares it."""
    running = session("topshelf-tests")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def nothing_compiled(spark: SparkSession) -> Iterator[None]:
    """Compiling a night's queries takes longer than running them on a handful of rows."""
    chosen = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
    before = {name: spark.conf.get(name) for name in chosen}
    for name, value in chosen.items():
        spark.conf.set(name, value)
    yield
    for name, old in before.items():
        spark.conf.set(name, old or "")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake on this machine."""
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    """An empty landing folder; `str(landing)` is what the jobs take."""
    folder = tmp_path / "landing"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def shop_data() -> Path:
    """The folder of published shop data that TOPSHELF_DATA names; without it the test skips, and in CI it fails."""
    data = os.environ.get("TOPSHELF_DATA")
    if data:
        return Path(data)
    missing = "TOPSHELF_DATA does not name the folder of published shop data"
    if os.environ.get("TOPSHELF_REQUIRE_DATA"):
        pytest.fail(missing)
    pytest.skip(missing)


Land = Callable[..., Path]


@pytest.fixture
def land(landing: Path) -> Land:
    """Put a day's file into `landing` and mark the day: `land("events", "2026-01-01", "a.csv", content)`.

    The content is text, bytes, an Arrow table, or rows as dicts, written as the name's ending says. Without a name
    the day is an empty one.
    """

    def put(
        table: str,
        ds: str,
        name: str = "",
        content: str | bytes | pa.Table | Sequence[Mapping[str, object]] = b"",
        *,
        mark: bool = True,
    ) -> Path:
        folder = landing / table / f"ds={ds}"
        folder.mkdir(parents=True, exist_ok=True)
        if name:
            (folder / name).write_bytes(_file_bytes(name, content))
        if mark:
            (folder / "_SUCCESS").touch()
        return folder / name

    return put


def _file_bytes(name: str, content: str | bytes | pa.Table | Sequence[Mapping[str, object]]) -> bytes:
    if isinstance(content, bytes):
        return content
    if name.endswith(".parquet"):
        table = content if isinstance(content, pa.Table) else pa.Table.from_pylist(list(content))  # type: ignore[arg-type]
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        return buffer.getvalue()
    if not isinstance(content, str):
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content)
    raw = content.encode()
    return gzip.compress(raw, mtime=0) if name.endswith(".gz") else raw
