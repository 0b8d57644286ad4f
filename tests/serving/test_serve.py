"""`python -m serving serve`: when it refuses to start, and how it ends."""

import subprocess
import sys
from pathlib import Path

from tests.serving.disks import fill, small_disk
from tests.serving.running import publish_night, serving
from tests.serving.servers import free_port


def refused(folder: Path) -> str:
    """Start an endpoint that is to end at once; return what it says."""
    command = [sys.executable, "-m", "serving", "serve", "--port", str(free_port())]
    command += ["--store", f"lmdb://{folder}/store", "--landing", f"{folder}/landing", "--state", f"{folder}/state"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    return done.stderr


def test_it_does_not_start_on_a_full_disk_and_says_what_helps(tmp_path: Path) -> None:
    with small_disk(tmp_path / "state", 1) as state:
        fill(state)
        message = refused(tmp_path)
    assert f"{tmp_path}/state cannot be written: No space left on device; free disk space" in message


def test_a_second_one_on_a_state_folder_does_not_start_and_leaves_the_first_alone(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path) as server:
        server.shelf()
        message = refused(tmp_path)
        assert f"another endpoint uses {tmp_path}/state; stop it" in message
        assert server.metric("topshelf_requests_total", status="200") >= 1  # its metrics were not wiped
