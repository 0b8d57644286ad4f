"""The DAG's policy, read by Airflow's own loader."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(dag_folder=sys.argv[1])
dag = bag.dags.get("nightly_recommendations")
print("FOUND " + json.dumps({
    "errors": {str(k): str(v) for k, v in bag.import_errors.items()},
    "ids": sorted(bag.dags),
    "tasks": {t.task_id: [t.owner, t.retries, bool(t.execution_timeout), t.bash_command, t.env] for t in dag.tasks},
    "order": [t.task_id for t in dag.topological_sort()],
    "timetable": type(dag.timetable).__name__,
    "doc": bool(dag.doc_md),
}))
"""


@pytest.fixture(scope="module")
def dag(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What Airflow makes of dags/, in a process of its own: its import is heavy and keeps global state."""
    import json
    import os

    home = tmp_path_factory.mktemp("airflow")
    env = {**os.environ, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(ROOT / "dags")], capture_output=True, text=True, env=env, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    assert lines, done.stderr[-2000:]
    found: dict[str, object] = json.loads(lines[-1].removeprefix("FOUND "))
    return found


def test_airflow_loads_the_dag_without_an_error(dag: dict[str, object]) -> None:
    assert dag["errors"] == {}
    assert dag["ids"] == ["nightly_recommendations"]


def test_every_task_has_an_owner_retries_a_timeout_and_gets_the_day_by_its_environment(
    dag: dict[str, object],
) -> None:
    tasks = dag["tasks"]
    assert isinstance(tasks, dict) and tasks
    for name, (owner, retries, has_timeout, command, env) in tasks.items():
        assert (owner, has_timeout) == ("topshelf", True)
        assert retries >= 1
        assert command == f'python -m jobs.{name} --ds "$TOPSHELF_DS"'
        assert "run_type" in env["TOPSHELF_DS"]


def test_the_day_has_a_data_interval_and_the_stages_run_in_the_order_of_the_flow(dag: dict[str, object]) -> None:
    assert dag["timetable"] == "CronDataIntervalTimetable"
    order = dag["order"]
    assert isinstance(order, list)
    assert order[0] == "ingest" and order[-2:] == ["validate", "publish"]
    assert order.index("train_ranker") < order.index("rank")
    assert dag["doc"]


def test_each_task_names_a_job_that_exists(dag: dict[str, object]) -> None:
    tasks = dag["tasks"]
    assert isinstance(tasks, dict)
    for name in tasks:
        assert (ROOT / "jobs" / f"{name}.py").exists()
