"""A job's end is a task's end, whether it ran beside Airflow, by another command, or in a pod of Kubernetes."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.dags.conftest import ROOT
from tests.dags.pods_as_processes import Cluster, pods_as_processes

GIVEN = ["torn", "--ds", "2026-01-31", "--stages", "a,b"]
"""The words of the last job."""

# What a job may come to: its words, its status, and its outcome's file.
JOBS = {
    "quiet": ("landed nothing\nthe last line", 0, None),
    "promoted": ("live", 0, {"reason": "r", "promoted": True, "version": "v", "day": "d", "users": 8, "items": 12}),
    "stored": ("stored", 0, {"reason": "r", "promoted": False, "version": "v", "day": "d", "users": 8, "items": 12}),
    "refused": ("not live", 3, {"reason": "overlap: 1% is below 2%", "promoted": False}),
    "lasting": ("topshelf: a.csv is cut off", 1, {"reason": "a.csv is cut off; land it again", "lasting": True}),
    "passing": ("topshelf: no connection", 1, {"reason": "no connection to Redis", "lasting": False}),
    "usage": ("No such option: --dsx", 2, None),
    "killed": ("reading", 137, None),
    "torn": ("half a file", 1, '{"reason": "the outcome is cut'),
}
MEANT = {
    "quiet": ["returned", "the last line", []],
    "promoted": ["returned", "live", [{"version": "v", "day": "d", "users": 8, "items": 12}]],
    "stored": ["returned", "stored", []],
    "refused": ["AirflowSkipException", "overlap: 1% is below 2%", []],
    "lasting": ["AirflowFailException", "a.csv is cut off; land it again", []],
    "passing": ["AirflowException", "exit status 1: no connection to Redis", []],
    "usage": ["AirflowFailException", "No such option: --dsx", []],
    "killed": ["AirflowException", "exit status 137: reading", []],
    "torn": ["AirflowException", "exit status 1: half a file", []],
}

A_JOB = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path
here = Path(__file__).parent
said, status, outcome = json.loads((here / "jobs.json").read_text())[sys.argv[1]]
(here / "seen").write_text(json.dumps([sys.argv[1:], os.environ.get("TOPSHELF_DS"), os.getcwd()]))
if outcome:
    Path(os.environ["TOPSHELF_OUTCOME"]).write_text(outcome if isinstance(outcome, str) else json.dumps(outcome))
print(said, flush=True)
sys.exit(status)
"""

# Airflow's import is heavy: one process runs every job, and says what became of each task.
PROGRAM = """
import json, sys
from types import SimpleNamespace
sys.path.insert(0, sys.argv[1])
from topshelf_alerts import notice_of
from topshelf_job import job_task
from topshelf_outcome import PROMOTION

class Events(list):
    def add(self, asset, extra):
        assert asset.name == "top_n_published"
        self.append(extra)

found = {}
for number, job in enumerate(sys.argv[2:]):
    task = job_task(job, task_id=job, arguments=["--stages", "a,b"], outlets=[PROMOTION])
    (task.env_vars if hasattr(task, "env_vars") else task.env)["TOPSHELF_DS"] = "2026-01-31"
    pushed = {}
    ti = SimpleNamespace(dag_id="night", task_id=job, run_id=f"run-{number}", try_number=1, map_index=-1,
                         xcom_push=lambda key, value: pushed.update({key: value}))
    context = {"ti": ti, "run_id": f"run-{number}", "dag": SimpleNamespace(dag_id="night"),
               "outlet_events": {PROMOTION: Events()}}
    try:
        came_to = ["returned", task.execute(context)]
    except Exception as error:
        came_to = [type(error).__name__, str(error)]
        if came_to[0] == "AirflowSkipException":
            context["exception"] = None  # as Airflow does before it calls what a skip is told to
            assert notice_of("publish_refused", context)["reason"] == str(error)
    found[job] = [*came_to, context["outlet_events"][PROMOTION]]
print("FOUND " + json.dumps(found))
"""


LOOK = """
import json, sys
sys.path.insert(0, sys.argv[1])
from topshelf_job import LandedSensor
print("FOUND " + json.dumps({"landed": LandedSensor(task_id="wait", day="2026-01-31").poke({})}))
"""


# As Airflow wakes a sensor that it let wait for too long.
IN_VAIN = """
import json, sys
sys.path.insert(0, sys.argv[1])
from airflow.sdk.bases.operator import TriggerFailureReason
from topshelf_job import LandedFileSensor
sensor = LandedFileSensor(task_id="wait", day="2026-01-31")
try:
    came_to = sensor.resume_execution("__fail__", {"error": TriggerFailureReason.TRIGGER_TIMEOUT}, {})
except Exception as error:
    came_to = [type(error).__name__, str(error)]
print("FOUND " + json.dumps({"came_to": came_to}))
"""


def provider(module: str, group: str) -> str:
    """Where Python finds an optional provider of Airflow; without it the test skips, and in CI it fails."""
    beside = ROOT / "build" / group
    try:
        found = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a package above it
        found = False
    if not found and not beside.joinpath(*module.split(".")).is_dir():
        give_up = pytest.fail if os.environ.get("TOPSHELF_REQUIRE_GROUPS") else pytest.skip
        give_up(f"{module} is missing: run uv pip install --no-deps --target {beside} -r requirements-{group}.lock")
    return str(beside)


def kubernetes_provider() -> str:
    return provider("kubernetes", "airflow-kubernetes")


def came_to(home: Path, *jobs: str, **variables: str) -> dict[str, Any]:
    """Run jobs as tasks; return what became of each."""
    return said(PROGRAM, home, *jobs, **variables)


def said(program: str, home: Path, *jobs: str, **variables: str) -> dict[str, Any]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("TOPSHELF_")} | variables
    env["AIRFLOW_HOME"] = str(home)
    command = [sys.executable, "-c", program, str(ROOT / "dags"), *jobs]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    assert lines, done.stdout[-1000:] + done.stderr[-3000:]
    return dict(json.loads(lines[-1].removeprefix("FOUND ")))


def a_job(folder: Path) -> Path:
    """A program in the jobs' place. What it was given stands in `folder/seen`."""
    (folder / "jobs.json").write_text(json.dumps(JOBS))
    program = folder / "job"
    program.write_text(A_JOB)
    program.chmod(0o755)
    return program


@contextmanager
def jobs_in_pods(folder: Path, image: str = "topshelf-jobs") -> Iterator[tuple[Cluster, dict[str, str]]]:
    """A cluster that runs `a_job` in each pod, and the variables by which Airflow's tasks run there."""
    pod = yaml.safe_load((ROOT / "infra/kubernetes/night-pod.yaml").read_text())
    pod["spec"]["containers"][0] |= {"command": [str(a_job(folder))], "image": image}
    (folder / "pod.yaml").write_text(yaml.safe_dump(pod))
    variables = {"PYTHONPATH": kubernetes_provider(), "TOPSHELF_RUN_JOBS_IN": "kubernetes"}
    variables |= {"TOPSHELF_POD_TEMPLATE": str(folder / "pod.yaml"), "KUBECONFIG": str(folder / "kubeconfig")}
    with pods_as_processes(folder) as cluster:
        yield cluster, variables


def test_a_job_beside_airflow_ends_as_its_task(airflow_home: Path, tmp_path: Path) -> None:
    command = f"env A=b {a_job(tmp_path)}"  # several words
    assert came_to(airflow_home, *JOBS, TOPSHELF_JOB_COMMAND=command) == MEANT
    assert json.loads((tmp_path / "seen").read_text()) == [GIVEN, "2026-01-31", str(ROOT)]


@pytest.mark.parametrize(("status", "landed"), [(0, True), (4, False)])
def test_the_same_command_is_asked_whether_a_day_has_landed(
    status: int, landed: bool, airflow_home: Path, tmp_path: Path
) -> None:
    asked = tmp_path / "asked"
    command = tmp_path / "command"
    command.write_text(f'#!/bin/sh\necho "$@" >{asked}\nexit {status}\n')
    command.chmod(0o755)
    assert said(LOOK, airflow_home, TOPSHELF_JOB_COMMAND=str(command)) == {"landed": landed}
    assert asked.read_text() == "landed --ds 2026-01-31\n"


def test_a_wait_in_vain_says_which_mark_is_missing_and_the_remedy(airflow_home: Path, tmp_path: Path) -> None:
    found = said(IN_VAIN, airflow_home, TOPSHELF_LANDING=str(tmp_path))
    mark = f"{tmp_path}/events/ds=2026-01-31/_SUCCESS"
    remedy = "land the day and mark it, an empty day too, then clear this task"
    assert found == {"came_to": ["AirflowSensorTimeout", f"{mark} is not there after 6 hours; {remedy}"]}


def test_a_job_in_a_pod_ends_as_its_task(airflow_home: Path, tmp_path: Path) -> None:
    with jobs_in_pods(tmp_path) as (cluster, variables):
        meant = MEANT | {"killed": ["AirflowException", "exit status 137: OOMKilled: out of memory. reading", []]}
        assert came_to(airflow_home, *JOBS, **variables) == meant
        assert json.loads((tmp_path / "seen").read_text())[:2] == [GIVEN, "2026-01-31"]
        assert len(cluster.asked) == len(JOBS)
        assert not cluster.pods  # none is left behind
        (container,) = cluster.asked[0]["spec"]["containers"]
        assert {"name": "TOPSHELF_LAKE", "value": "s3://topshelf-lake/lake"} in container["env"]
        assert cluster.asked[0]["spec"]["serviceAccountName"] == "topshelf-night"


def test_a_pod_that_cannot_start_says_why(airflow_home: Path, tmp_path: Path) -> None:
    with jobs_in_pods(tmp_path, image="no-such-image") as (cluster, variables):
        (name, reason, _), *_ = came_to(airflow_home, "quiet", **variables).values()
        assert name == "AirflowException"
        assert "Image cannot be pulled" in reason and "no such image" in reason
        assert not cluster.pods
