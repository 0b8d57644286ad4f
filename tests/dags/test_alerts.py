"""Notices reach a webhook with the day, the task, the reason and the runbook's line; a dead one fails nothing."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.dags.conftest import ROOT

# In a process of its own, as Airflow's import is heavy and keeps global state.
PROGRAM = """
import asyncio, json, sys
from types import SimpleNamespace
sys.path.insert(0, sys.argv[1])
from topshelf_alerts import Notice, night_late

run = SimpleNamespace(dag_id="nightly_recommendations", run_id="scheduled__1", run_type="scheduled",
                      logical_date="2026-01-31T00:00:00+00:00", conf={})
task = SimpleNamespace(task_id="ingest", try_number=4, log_url="http://airflow/log")
Notice("task_failed").notify({"dag_run": run, "ti": task, "exception": "exit status 1: landing/events has no ds"})
asyncio.run(night_late({"dag_run": {"dag_id": "nightly_recommendations", "dag_run_id": "manual__1",
                                    "run_type": "manual",
                                    "logical_date": "2026-02-09T10:00:00Z", "conf": {"ds": "2026-02-01"}},
                        "deadline": {"id": "1", "deadline_time": "2026-02-02 06:00"}}))
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
    taken: list[dict[str, Any]] = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Webhook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        told(airflow_home, TOPSHELF_ALERT_WEBHOOK=f"http://127.0.0.1:{server.server_port}/")
        server.shutdown()
    failed, late = taken
    assert failed["text"] == (
        "Topshelf: nightly_recommendations ingest of 2026-01-31 failed, after all its retries. "
        "exit status 1: landing/events has no ds"
    )
    assert (failed["ds"], failed["task_id"], failed["try_number"]) == ("2026-01-31", "ingest", "4")
    assert failed["runbook"] == "docs/runbook.md#task-failed"
    assert (late["event"], late["ds"], late["run_id"]) == ("night_late", "2026-02-01", "manual__1")
    assert "2026-02-02 06:00" in late["reason"]


@pytest.mark.parametrize("webhook", ["", "http://127.0.0.1:9/nobody-listens"])
def test_without_a_webhook_that_answers_the_run_goes_on(airflow_home: Path, webhook: str) -> None:
    assert "WENT ON" in told(airflow_home, TOPSHELF_ALERT_WEBHOOK=webhook)
