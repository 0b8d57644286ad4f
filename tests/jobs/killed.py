"""Programs that are killed while they write: what kill -9 leaves."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from jobs.lake.code_version import SOURCE_ROOT
from jobs.lake.lake import Lake


def kill_once_there_is(pattern: str, lake: Lake, program: str) -> None:
    """Run `program` on the lake and kill it with its children as soon as a file is being written."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE_ROOT)}
    running = subprocess.Popen([sys.executable, "-c", program, lake.root], env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 180
        while not any(found.stat().st_size for found in Path(lake.root).glob(pattern)):
            assert running.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline, "it never began to write"
            time.sleep(0.005)
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
