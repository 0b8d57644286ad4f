"""Notices reach a webhook with the day, the task, the reason and the runbook's line; a dead one fails nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dags.conftest import ROOT
from tests.webhook import webhook

# In a process of its own, as Airflow's import is heavy and keeps global state.
PROGRAM = """
import asyncio, json, sys
from types import SimpleNamespace
sys.path.insert(0, sys.argv[1])
from topshelf_alerts import Notice, night_late, night_slow

run = SimpleNamespace(dag_id="nightly_recommendations", run_id="scheduled__1", run_type="scheduled",
                      logical_date="2026-01-31T00:00:00+00:00", conf={})
for tries in (4, 1):
    task = SimpleNamespace(task_id="ingest", try_number=tries, max_tries=3, log_url="http://airflow/log")
    Notice("task_failed").notify({"dag_run": run, "ti": task, "exception": "exit status 1: landing/events has no ds"})
run = {"dag_id": "nightly_recommendations", "dag_run_id": "run_1", "logical_date": "2026-02-09T00:00:00Z"}
deadline = {"id": "1", "deadline_time": "2026-02-10 06:00"}
for tell, kind in ((night_late, "backfill"), (night_late, "manual"), (night_slow, "scheduled")):
    run |= {"run_type": kind, "conf": {"ds": "2026-02-01"}}
    asyncio.run(tell({"dag_run": run, "deadline": deadline}))
print("WENT ON")
"""


def told(home: Path, **variables: str) -> str:
    env = {**os.environ, "AIRFLOW_HOME": str(home), **variables}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(ROOT / "dags")], capture_output=True, text=True, env=env, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_a_notice_says_the_day_the_task_the_reason_and_where_the_runbook_tells_more(airflow_home: Path) -> None:
    with webhook() as (port, taken):
        told(
            airflow_home,
            TOPSHELF_ALERT_WEBHOOK=f"http://127.0.0.1:{port}/",
            TOPSHELF_LANDING=f"{airflow_home}/landing",
        )
    failed, lasting, late, slow = taken  # a backfill is never late
    assert failed["text"] == (
        "Topshelf: nightly_recommendations ingest of 2026-01-31 failed, after all its retries. "
        "exit status 1: landing/events has no ds"
    )
    assert lasting["text"].startswith(
        "Topshelf: nightly_recommendations ingest of 2026-01-31 failed, and is not tried again by itself. exit"
    )
    assert (failed["ds"], failed["task_id"], failed["try_number"]) == ("2026-01-31", "ingest", "4")
    assert failed["runbook"] == f"{(ROOT / 'docs/runbook.md').as_uri()}#task-failed"
    assert (late["event"], late["ds"], late["run_id"]) == ("night_late", "2026-02-01", "run_1")
    assert (slow["event"], slow["ds"]) == ("night_slow", "2026-02-09")
    mark = f"{airflow_home}/landing/events/ds=2026-02-09/_SUCCESS"
    assert slow["reason"] == f"It was due at 2026-02-10 06:00. It waits for the shop: {mark} is not there."


@pytest.mark.parametrize("webhook", ["", "http://127.0.0.1:9/nobody-listens"])
def test_without_a_webhook_that_answers_the_run_goes_on(airflow_home: Path, webhook: str) -> None:
    assert "WENT ON" in told(airflow_home, TOPSHELF_ALERT_WEBHOOK=webhook)
