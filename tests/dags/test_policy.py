"""What every DAG and every task here owes its operators."""

from pathlib import Path
from typing import Any

import typer
import yaml

from jobs.cli import app
from tests.dags.conftest import load
from tests.dags.test_job import kubernetes_provider

ROOT = Path(__file__).resolve().parents[2]
Found = dict[str, Any]
HEAVY = {
    "pyspark",
    "pandas",
    "numpy",
    "lightgbm",
    "implicit",
    "faiss",
    "jobs",
    "serving",
    "boto3",
    "great_expectations",
    "kubernetes",
}


def tasks(found: Found) -> dict[str, dict[str, Any]]:
    return {f"{dag}.{name}": task for dag, of in found["dags"].items() for name, task in of["tasks"].items()}


def test_airflow_loads_just_these_dags_without_an_error(found: Found) -> None:
    assert found["errors"] == {}
    assert set(found["dags"]) == {"nightly_recommendations", "trending_refresh", "new_items", "maintenance"}


def test_every_task_has_an_owner_retries_with_back_off_and_a_timeout(found: Found) -> None:
    for name, task in tasks(found).items():
        assert task["owner"] == "topshelf", name
        assert task["retries"] >= 1 and task["backoff"], name
        assert 0 < task["timeout_s"] <= 8 * 3600, name


def test_every_dag_and_task_has_a_page_and_tells_of_its_failure(found: Found) -> None:
    for dag in found["dags"].values():
        assert len(dag["doc"]) > 200
        assert 20 < len(dag["description"]) < 120
        assert "|" not in dag["doc"]  # a table is a word a line in Airflow's narrow panel
    for name, task in tasks(found).items():
        assert task["doc"], name
        assert task["tells_of_failure"] == ["Notice"], name


def test_a_days_name_reaches_a_job_by_its_environment_alone(found: Found) -> None:
    for name, task in tasks(found).items():
        if command := task["command"]:
            assert "{{" not in command, name
            assert ('"$TOPSHELF_DS"' in command) == ("TOPSHELF_DS" in (task["env"] or {})), name


def test_each_command_names_a_job_that_exists(found: Found) -> None:
    jobs = {command.name for command in typer.main.get_group(app).commands.values()}
    named = {
        command.split("} ")[1].split()[0]
        for task in tasks(found).values()
        if "jobs}" in (command := task["command"] or "")
    }
    assert named == {"nightly", "maintain", "new-items", "trending"} & jobs


def test_no_dag_runs_two_of_its_scheduled_runs_at_once(found: Found) -> None:
    assert {dag["max_active_runs"] for dag in found["dags"].values()} == {1}
    assert not any(dag["catchup"] for dag in found["dags"].values())


def test_loading_the_dags_imports_nothing_heavy(found: Found) -> None:
    assert not HEAVY & set(found["imported"])


def test_every_alert_and_every_notice_has_its_place_in_the_runbook(found: dict[str, Any]) -> None:
    rules = yaml.safe_load((ROOT / "infra/monitoring/rules.yml").read_text())
    alerts = [rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule]
    runbook = (ROOT / "docs/runbook.md").read_text()
    headings = {line.lstrip("# ").lower() for line in runbook.splitlines() if line.startswith("### ")}
    assert {"task_failed", "night_slow", "night_late", "publish_refused"} <= set(found["notices"])
    assert {notice.replace("_", "-") for notice in found["notices"]} <= headings
    for alert in alerts:
        assert alert["alert"].lower() in headings
        assert alert["annotations"]["runbook"] == f"docs/runbook.md#{alert['alert'].lower()}"


def test_topics_are_landed_every_quarter_of_an_hour_where_some_are_named(found: Found, airflow_home: Path) -> None:
    there = load(airflow_home, TOPSHELF_KAFKA_TOPICS="events=shop.events items=shop.catalogue")
    assert there["errors"] == {}
    assert there["dags"].keys() - found["dags"].keys() == {"topic_landing"}
    dag = there["dags"]["topic_landing"]
    assert (dag["schedule"], dag["max_active_runs"], dag["catchup"]) == ("*/15 * * * *", 1, False)
    assert 20 < len(dag["description"]) < 120 < len(dag["doc"])
    commands = {name: task["command"].split("jobs} ")[1] for name, task in dag["tasks"].items()}
    assert commands == {
        "land_events": "landing topic events --topic shop.events",
        "land_items": "landing topic items --topic shop.catalogue",
    }
    assert dag["tasks"]["land_items"]["after"] == ["land_events"]
    for task in dag["tasks"].values():
        assert task["retries"] and task["backoff"] and task["doc"] and task["tells_of_failure"] == ["Notice"]


def test_a_list_of_topics_that_cannot_be_meant_is_told(airflow_home: Path) -> None:
    for given in ("shop.events", "users=shop.users", "events="):
        (error,) = load(airflow_home, TOPSHELF_KAFKA_TOPICS=given)["errors"].values()
        assert f"TOPSHELF_KAFKA_TOPICS has '{given}'; give events=TOPIC or items=TOPIC" in error


def test_trends_come_every_five_minutes_new_items_within_the_hour_maintenance_weekly(found: Found) -> None:
    schedules = {name: dag["schedule"] for name, dag in found["dags"].items()}
    assert schedules["trending_refresh"] == "*/5 * * * *"
    assert schedules["new_items"] == "*/15 * * * *"
    assert schedules["maintenance"] == "0 4 * * 0"


def test_by_one_setting_every_job_is_a_pod_and_nothing_else_changes(found: Found, airflow_home: Path) -> None:
    there = load(airflow_home, TOPSHELF_RUN_JOBS_IN="kubernetes", PYTHONPATH=kubernetes_provider())
    assert there["errors"] == {}
    pods, processes = tasks(there), tasks(found)
    assert {name for name, task in pods.items() if task["kind"] == "JobPodOperator"} == {
        name for name, task in processes.items() if task["kind"] == "JobOperator"
    }
    own = dict.fromkeys(("kind", "command", "env"))
    assert {name: task | own for name, task in pods.items()} == {name: task | own for name, task in processes.items()}


def test_a_place_for_jobs_that_is_not_known_stops_every_dag_that_runs_some(airflow_home: Path) -> None:
    there = load(airflow_home, TOPSHELF_RUN_JOBS_IN="k8s")
    assert len(there["errors"]) == 4
    assert all("TOPSHELF_RUN_JOBS_IN is 'k8s'; give kubernetes" in error for error in there["errors"].values())
