"""What Airflow makes of dags/, read once by its own loader in a process of its own: its import is heavy."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import json, sys
from pathlib import Path
from airflow.dag_processing.dagbag import BundleDagBag

before = set(sys.modules)
bag = BundleDagBag(dag_folder=sys.argv[1], bundle_path=Path(sys.argv[1]))

def seconds(delta):
    return delta.total_seconds() if delta else None

def task(t):
    return {
        "kind": type(t).__name__, "owner": t.owner,
        "retries": t.retries, "backoff": bool(t.retry_exponential_backoff),
        "timeout_s": seconds(t.execution_timeout), "pool": t.pool, "doc": t.doc_md or "",
        "command": getattr(t, "bash_command", None), "env": getattr(t, "env", None),
        "after": sorted(t.upstream_task_ids),
        "deferrable": getattr(t, "deferrable", False), "timeout_of_wait_s": getattr(t, "timeout", None),
        "tells_of_failure": [type(c).__name__ for c in t.on_failure_callback or []],
        "tells_of_skip": [getattr(c, "event", "") for c in t.on_skipped_callback or []],
        "outlets": [a.name for a in t.outlets],
    }

def dag(d):
    return {
        "doc": d.doc_md or "", "description": d.description or "",
        "catchup": d.catchup, "max_active_runs": d.max_active_runs,
        "timetable": type(d.timetable).__name__, "schedule": d.timetable.summary, "params": sorted(d.params),
        "deadlines_s": [seconds(alert.interval) for alert in d.deadline or []], "start": str(d.start_date.date()),
        "order": [t.task_id for t in d.topological_sort()], "tasks": {t.task_id: task(t) for t in d.tasks},
    }

print("FOUND " + json.dumps({
    "statuses": {name: vars(sys.modules["topshelf_outcome"])[name] for name in ("REFUSED_STATUS", "NOT_YET_STATUS")},
    "notices": sorted(sys.modules["topshelf_alerts"].EVENTS),
    "errors": {str(k): str(v) for k, v in bag.import_errors.items()},
    "dags": {name: dag(d) for name, d in bag.dags.items()},
    "imported": sorted({name.split(".")[0] for name in set(sys.modules) - before}),
}))
"""


def load(home: Path, **variables: str) -> dict[str, Any]:
    """Return what Airflow's loader finds in dags/ with these variables set."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("TOPSHELF_")} | variables
    env |= {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    # As infra/airflow/start.sh has them.
    path = os.pathsep.join([str(ROOT / "dags/plugins"), variables.get("PYTHONPATH", "")])
    env |= {"PYTHONPATH": path, "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "dags/plugins")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(ROOT / "dags")], capture_output=True, text=True, env=env, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    assert lines, done.stderr[-2000:]
    return dict(json.loads(lines[-1].removeprefix("FOUND ")))


@pytest.fixture(scope="session")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("airflow")


@pytest.fixture(scope="session")
def found(airflow_home: Path) -> dict[str, Any]:
    """All DAGs as a deployment that sets nothing sees them."""
    return load(airflow_home)
