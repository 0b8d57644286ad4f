"""The example of TOPSHELF_JOB_COMMAND keeps its contract: words, output, status, outcome, an end when it is ended.

An `ssh` of our own runs what it is given as sshd does: by a shell, in another folder, without Airflow's environment.
"""

import os
import shlex
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.dags.conftest import ROOT
from tests.dags.test_job import JOBS, MEANT, a_job, came_to
from tests.serving.running import SOON_S, within

SCRIPT = "infra/airflow/job_by_ssh.sh"

SSH = """#!/bin/bash
[ "$1 $2 $3" = "-o BatchMode=yes night@elsewhere" ] || { echo "ssh: Connection refused" >&2; exit 255; }
echo "Warning: Permanently added 'elsewhere' to the list of known hosts." >&2
exec 4< <(cat)  # what is typed here is read there through a pipe, which ends with this process
typing=$!
cd / && setsid --wait env -i PATH=/usr/bin:/bin sh -c "$4" <&4
status=$?
kill $typing
exit $status
"""


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a clone, in which `.venv/bin/python -m jobs` is `job`; `ssh` leads to it."""
    clone, tools = tmp_path / "a clone", tmp_path / "tools"
    for folder in (clone / ".venv/bin", clone / "infra/airflow", tools):
        folder.mkdir(parents=True)
    (clone / SCRIPT).write_text((ROOT / SCRIPT).read_text())
    (tools / "ssh").write_text(SSH)
    (clone / ".venv/bin/python").write_text(f'#!/bin/sh\nshift 2\nexec {shlex.quote(str(clone / "job"))} "$@"\n')
    for program in (clone / SCRIPT, tools / "ssh", clone / ".venv/bin/python"):
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    return clone


def command(clone: Path) -> str:
    return f"{ROOT / SCRIPT} night@elsewhere {clone}"


def test_a_job_elsewhere_ends_as_its_task(elsewhere: Path, tmp_path: Path) -> None:
    a_job(elsewhere)
    # The command's words are split at blanks, so a folder with one is quoted by a link without.
    link = tmp_path / "clone"
    link.symlink_to(elsewhere)
    found = came_to(tmp_path / "airflow", *JOBS, TOPSHELF_JOB_COMMAND=command(link))
    assert found == MEANT


def test_a_machine_that_cannot_be_reached_is_said_by_ssh_and_is_tried_again(elsewhere: Path) -> None:
    words = [str(ROOT / SCRIPT), "nobody@elsewhere", str(elsewhere), "landed", "--ds", "2026-01-31"]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 255  # neither refused, nor a usage error
    assert done.stderr == "ssh: Connection refused\n"


def test_a_task_that_is_ended_ends_its_job(elsewhere: Path) -> None:
    (elsewhere / "job").write_text("#!/bin/sh\necho $$\nexec sleep 600\n")
    (elsewhere / "job").chmod(0o755)
    words = [str(ROOT / SCRIPT), "night@elsewhere", str(elsewhere), "trending"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        job = int(process.stdout.readline())
        os.killpg(process.pid, signal.SIGTERM)  # as Airflow's operator does
        assert within(SOON_S, lambda: not psutil.pid_exists(job))
