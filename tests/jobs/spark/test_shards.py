"""User shards in processes of this machine: rows in order, errors as they were raised, and what a kill leaves."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from jobs.lake.lake import Lake
from jobs.lake.tables import SHARDS
from jobs.spark.processes import ProcessEndedError
from jobs.spark.shards import rows_of_shards, write_shards

DS = date(2026, 1, 31)
PAIR = pa.schema([("user_id", pa.string()), ("item_id", pa.string())])
TABLE = "features/session_item"


@dataclass(frozen=True)
class Pairs:
    """Yields one pair for each of the shards but the empty one."""

    empty: int = -1

    def __call__(self, shard: int) -> Iterator[pa.RecordBatch]:
        if shard != self.empty:
            yield pa.record_batch([pa.array([f"u{shard}"]), pa.array([str(os.getpid())])], names=["a", "b"])


@dataclass(frozen=True)
class Sessions:
    """Yields the row of a table for each shard; fails, or ends its process, at one of them."""

    fails_at: int = -1
    dies_at: int = -1

    def __call__(self, shard: int) -> Iterator[pa.RecordBatch]:
        if shard == self.fails_at:
            raise ValueError(f"shard {shard} is odd")
        if shard == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        row = {
            "session_id": f"s{shard}",
            "item_id": "a",
            "item_pos": 0,
            "weight_milli": 1,
            "days_since_last_event": 0,
            "last_event_ts": None,
        }
        yield pa.RecordBatch.from_pylist([row])


def test_rows_come_shard_after_shard_from_other_processes_that_are_kept() -> None:
    rows = rows_of_shards(PAIR, Pairs(empty=3))
    assert rows["user_id"].to_pylist() == [f"u{shard}" for shard in range(SHARDS) if shard != 3]
    processes = set(rows["item_id"].to_pylist())
    assert str(os.getpid()) not in processes
    kept = {str(child.pid) for child in psutil.Process().children(recursive=True)}
    assert processes <= kept


def test_a_table_gets_a_file_a_shard_in_the_types_of_its_contract(lake: Lake) -> None:
    written = write_shards(lake, TABLE, DS, Sessions(), inputs={"made": "here"}, parameters={"of": 1})
    assert (written.row_count, written.inputs, written.parameters) == (SHARDS, {"made": "here"}, {"of": 1})
    assert [lake.shard(TABLE, DS, shard)["session_id"].to_pylist() for shard in range(SHARDS)] == [
        [f"s{shard}"] for shard in range(SHARDS)
    ]


def test_the_error_of_a_shard_is_raised_and_nothing_is_trusted(lake: Lake) -> None:
    write_shards(lake, TABLE, DS, Sessions(), inputs={})
    with pytest.raises(ValueError, match="shard 5 is odd"):
        write_shards(lake, TABLE, DS, Sessions(fails_at=5), inputs={})
    assert lake.find_manifest(TABLE, DS) is None
    assert write_shards(lake, TABLE, DS, Sessions(), inputs={}).row_count == SHARDS


def test_a_killed_process_is_told_with_its_remedy_and_the_same_command_goes_on(lake: Lake) -> None:
    with pytest.raises(ProcessEndedError, match=r"ended from outside.*run the same command again"):
        write_shards(lake, TABLE, DS, Sessions(dies_at=2), inputs={})
    assert lake.find_manifest(TABLE, DS) is None
    assert write_shards(lake, TABLE, DS, Sessions(), inputs={}).row_count == SHARDS


def test_processes_end_with_the_command_that_started_them_however_it_ends(tmp_path: Path) -> None:
    script = tmp_path / "command.py"
    script.write_text(
        "import time\n"
        "from jobs.spark.shards import rows_of_shards\n"
        "from tests.jobs.spark.test_shards import PAIR, Pairs\n"
        "if __name__ == '__main__':\n"
        "    print(*rows_of_shards(PAIR, Pairs())['item_id'].unique().to_pylist(), flush=True)\n"
        "    time.sleep(600)\n"
    )
    root = Path(__file__).parents[3]
    environment = os.environ | {"PYTHONPATH": str(root)}
    command = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment)
    assert command.stdout is not None
    workers = [psutil.Process(int(pid)) for pid in command.stdout.readline().split()]
    assert workers
    command.kill()
    command.wait()
    command.stdout.close()
    assert not psutil.wait_procs(workers, timeout=30)[1]
