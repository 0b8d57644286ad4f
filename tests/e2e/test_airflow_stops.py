"""`start.sh all` is ended while a task runs: it ends soon, and Airflow knows that the task is to be tried again."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.dying_with_tests import dying_with_tests
from tests.e2e.airflow_stack import START, Stack, needs_airflow_and_postgres, wait_until

JOB = "sleep 3141"
DAGS = f"""
import datetime
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
with DAG("long", schedule=None, start_date=datetime.datetime(2026, 1, 1)):
    BashOperator(task_id="sleeps", bash_command="exec {JOB}", retries=2)
"""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    needs_airflow_and_postgres()
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "long.py").write_text(DAGS)
    paused = {"AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False"}
    running = Stack(tmp_path, {"AIRFLOW__CORE__DAGS_FOLDER": str(dags)} | paused)
    running.postgres.start()
    running.command("init")
    yield running
    running.stop()


def jobs_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the jobs that run below a command."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            found += [child] if " ".join(child.cmdline()) == JOB else []
        except psutil.Error:  # it has ended meanwhile
            continue
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_end_in_the_midst_of_a_task_is_soon_and_the_task_is_tried_again(stack: Stack, tmp_path: Path) -> None:
    log = tmp_path / "all.log"
    with log.open("ab") as output:
        command = dying_with_tests([str(START), "all"])
        process = subprocess.Popen(command, env=stack.env, stdout=output, stderr=output, start_new_session=True)
    stack.running["all"] = process
    wait_until(stack._answers, "Airflow's API", 180)
    wait_until(lambda: stack.api("GET", "/dags")["total_entries"] > 0, "the DAG processor")
    run = stack.api("POST", "/dags/long/dagRuns", {"logical_date": None})["dag_run_id"]
    (job,) = wait_until(lambda: jobs_of(process), "the job", 180)

    os.kill(process.pid, signal.SIGINT)
    assert process.wait(120) == 128 + signal.SIGINT
    assert not job.is_running() or job.status() == psutil.STATUS_ZOMBIE
    assert "a task still runs" in log.read_text()
    assert "Connection refused" not in log.read_text()

    told = stack.command("cli", "tasks", "states-for-dag-run", "long", run, "--output", "json")
    (task,) = json.loads(told[told.index("[{") :])
    assert (task["task_id"], task["state"]) == ("sleeps", "up_for_retry")
