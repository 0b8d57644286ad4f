"""A command that does its step again and again: it outlives a step that fails, and ends when it is told to."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.dying_with_tests import dying_with_tests
from tests.serving.running import SOON_S, publish_night, within

PROGRAM = """
import sys
from jobs.intraday.repeated import repeat

done = []

def step():
    done.append(1)
    if len(done) == 2:
        raise OSError("the disk is full")
    return f"step {len(done)}"

repeat(step, 0.05)
"""


def test_a_step_that_fails_is_told_and_the_next_follows_until_it_is_ended(tmp_path: Path) -> None:
    command = dying_with_tests([sys.executable, "-c", PROGRAM])
    with (tmp_path / "out").open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    assert within(SOON_S, lambda: "step 4" in (tmp_path / "out").read_text())
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    lines = (tmp_path / "out").read_text().splitlines()
    assert lines[:3] == ["step 1", "OSError: the disk is full; tried again in 0.05 s", "step 3"]


def test_trends_follow_what_lands_without_airflow(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    folder = tmp_path / "landing" / "events" / f"ds={now[:10]}"
    command = [sys.executable, "-m", "jobs", "trending", "--landing", f"{tmp_path}/landing", "--every", "1"]
    command = dying_with_tests([*command, "--store", f"lmdb://{tmp_path}/store"])
    with (tmp_path / "out").open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=os.environ)
    assert within(SOON_S, lambda: "no event of the last 24 hours" in (tmp_path / "out").read_text())
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_text(f'{{"user_id":"u","item_id":"item-00003","event_type":"view","ts":"{now}"}}\n')
    assert within(SOON_S, lambda: "1 items trend, item-00003 most" in (tmp_path / "out").read_text())
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
