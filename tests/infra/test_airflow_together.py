"""infra/airflow/together.py ends the API server last, says what ended by itself, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
WAIT_S = 60.0
STARTS = """#!/bin/sh
echo $$ > "$FOLDER/$1"
trap 'echo "$1" >> "$FOLDER/ended"; exit 0' TERM
[ -e "$FOLDER/$1.ends" ] && exit 3
[ -e "$FOLDER/$1.ignores" ] && trap '' TERM
sleep 1000 &
while :; do wait; done
"""


def wait_for(what: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < until
        time.sleep(0.05)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Leave out those that only wait for the machine's first process to take note of their end."""
    return [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


class Together:
    """A run whose components are scripts that write their pid, and in what order they were ended."""

    names = ("api-server", "scheduler", "dag-processor", "triggerer")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        start = folder / "start.sh"
        start.write_text(STARTS)
        start.chmod(0o755)
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "infra/airflow/together.py"), str(start)],
            env=os.environ | {"FOLDER": str(folder)}, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def started(self) -> list[psutil.Process]:
        """Wait until each component runs what it starts; return all of them."""
        children = psutil.Process(self.process.pid).children
        wait_for(lambda: len(children(recursive=True)) == 2 * len(self.names))
        found: list[psutil.Process] = children(recursive=True)
        return found

    def ended(self) -> tuple[int, str]:
        _, said = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_api_server_last_and_all_they_started(tmp_path: Path, number: signal.Signals) -> None:
    together = Together(tmp_path)
    processes = together.started()
    together.process.send_signal(number)
    assert together.ended() == (128 + number, "")
    order = (tmp_path / "ended").read_text().split()
    assert sorted(order) == sorted(Together.names)
    assert order[-1] == "api-server"
    wait_for(lambda: not alive(processes))  # a killed one takes a moment to be gone


def test_one_that_ends_by_itself_is_named_and_ends_the_others(tmp_path: Path) -> None:
    (tmp_path / "dag-processor.ends").touch()
    together = Together(tmp_path)
    status, said = together.ended()
    assert (status, said) == (1, "start.sh: dag-processor has ended; the others are ended too\n")
    for name in Together.names:
        assert not psutil.pid_exists(int((tmp_path / name).read_text()))


def test_a_second_signal_kills_what_does_not_end(tmp_path: Path) -> None:
    (tmp_path / "triggerer.ignores").touch()
    together = Together(tmp_path)
    processes = together.started()
    together.process.send_signal(signal.SIGTERM)
    wait_for(lambda: (tmp_path / "ended").exists() and len((tmp_path / "ended").read_text().split()) == 2)
    together.process.send_signal(signal.SIGTERM)
    status, said = together.ended()
    assert status == 128 + signal.SIGTERM
    assert "start.sh: signalled again: everything is killed" in said
    assert "start.sh: triggerer did not end, and is killed" in said
    wait_for(lambda: not alive(processes))  # a killed one takes a moment to be gone
