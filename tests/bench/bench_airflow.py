"""What a night costs more under Airflow than by one command, and where that goes; and what reading the DAGs costs.

Same tiny shop, same day, three lakes: by one command, by the commands of the DAG's tasks, by Airflow itself.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from jobs.config.configuration import Configuration
from jobs.config.console import as_toml
from jobs.config.settings import Settings
from jobs.spark.session import session
from jobs.synthetic.shop import synthetic_shop
from tests.bench.figures import Figure
from tests.e2e.airflow_nights import DAG, PARAMETERS, all_green, backfill_by_rest
from tests.e2e.airflow_stack import ROOT, Stack, needs_airflow_and_postgres, wait_until

DAY = datetime.now(UTC).date() - timedelta(days=1)
PARSE = """
import importlib, json, sys, time
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.sensors.filesystem import FileSensor
from airflow.sdk import DAG, Asset, BaseNotifier, Param
from airflow.sdk.exceptions import AirflowException
from airflow.timetables.interval import CronDataIntervalTimetable
from airflow.timetables.trigger import CronTriggerTimetable
sys.path[:0] = ["dags", "dags/plugins"]
took = {}
for name in ("nightly_recommendations", "trending_refresh", "new_items", "maintenance"):
    began = time.perf_counter()
    importlib.import_module(name)
    took[name] = time.perf_counter() - began
print("TOOK " + json.dumps(took))
"""


def main() -> list[Figure]:
    """Measure."""
    needs_airflow_and_postgres()
    with tempfile.TemporaryDirectory(prefix="topshelf-airflow-") as name:
        folder = Path(name)
        landing = folder / "landing"
        synthetic_shop(session(), landing, folder / "truth", 60, 80, 1_200, DAY - timedelta(days=6), DAY, 7)
        session().stop()
        (folder / "topshelf.toml").write_text(as_toml(Configuration(Settings.below(folder), PARAMETERS)))
        return [*parsing(folder), *night(folder)]


def parsing(folder: Path) -> list[Figure]:
    env = os.environ | {"AIRFLOW_HOME": str(folder / "home"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    done = subprocess.run(
        [sys.executable, "-c", PARSE], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    took: dict[str, float] = json.loads(done.stdout.split("TOOK ")[1])
    return [
        Figure(f"reading dags/{name}.py, beyond Airflow's own import", value, "s", wanted="under 1")
        for name, value in took.items()
    ]


def places(folder: Path, name: str) -> dict[str, str]:
    """The environment of a night whose lake and store are its own."""
    return {
        "PYTHONPATH": str(ROOT),
        "TOPSHELF_LANDING": str(folder / "landing"),
        "TOPSHELF_LAKE": str(folder / name / "lake"),
        "TOPSHELF_STORE": f"lmdb://{folder / name / 'store'}",
        "TOPSHELF_CONFIG": str(folder / "topshelf.toml"),
    }


def command(variables: dict[str, str], stages: list[str]) -> float:
    began = time.perf_counter()
    words = [
        sys.executable,
        "-m",
        "jobs",
        "nightly",
        "--ds",
        str(DAY),
        *(["--stages", ",".join(stages)] if stages else []),
    ]
    subprocess.run(words, env=os.environ | variables, cwd=ROOT, capture_output=True, check=True)
    return time.perf_counter() - began


def night(folder: Path) -> list[Figure]:
    one = command(places(folder, "one"), [])
    stack = Stack(folder, places(folder, "airflow"))
    try:
        stack.start()
        wait_until(lambda: stack.api("GET", "/dags")["total_entries"] > 0, "the DAG processor")
        # Unpaused, a DAG without a first night runs its latest day at once: the backfill is then one run too many.
        stack.api("PATCH", f"/dags/{DAG}", {"is_paused": False})
        if not wait_for_any_run(stack):
            backfill_by_rest(stack, DAY)
        wait_until(lambda: any(all_green(stack, kind, [DAY]) for kind in ("scheduled", "backfill")), "the night", 900)
        run = stack.runs(DAG)[0]
        tasks = stack.api("GET", f"/dags/{DAG}/dagRuns/{run['dag_run_id']}/taskInstances")["task_instances"]
    finally:
        stack.stop()
    commands = {
        task["task_id"]: command(places(folder, "tasks"), stages)
        for task in sorted(tasks, key=lambda task: str(task["start_date"]))
        if (stages := stages_of(task))
    }
    by_airflow = seconds(run["start_date"], run["end_date"])
    in_tasks = sum(seconds(task["start_date"], task["end_date"]) for task in tasks)
    by_commands = sum(commands.values())
    floor = {"floor": one, "floor_is": "topshelf nightly of the same day, one process and one Spark session"}
    return [
        Figure("a night by Airflow, first task's start to last one's end", by_airflow, "s", **floor),
        Figure("the same by the commands of its tasks, one after the other", by_commands, "s", **floor),
        *(Figure(f"of that, {task}", took, "s") for task, took in commands.items()),
        Figure("in tasks beyond their commands: Airflow's own process of each", in_tasks - by_commands, "s"),
        Figure("between tasks: scheduling", by_airflow - in_tasks, "s"),
    ]


def wait_for_any_run(stack: Stack) -> bool:
    began = time.monotonic()
    while time.monotonic() - began < 15:
        if stack.runs(DAG):
            return True
        time.sleep(1)
    return False


def stages_of(task: dict[str, Any]) -> list[str]:
    """The stages in a task's rendered command."""
    told = str((task.get("rendered_fields") or {}).get("bash_command", ""))
    return told.partition("--stages ")[2].replace(",", " ").split()


def seconds(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
