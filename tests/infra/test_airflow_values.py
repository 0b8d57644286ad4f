"""The values for Airflow's official chart name what is there: scripts, settings, the pod's template, one secret.

The chart itself is not at hand here; docs/platforms.md tells what was rendered with it.
"""

import re
from typing import Any

import pytest
import yaml

from jobs.config.reference import variables
from tests.dags.conftest import ROOT

VALUES: dict[str, Any] = yaml.safe_load((ROOT / "infra/kubernetes/airflow-values.yaml").read_text())
COMPONENTS = {
    "apiServer": "api-server",
    "scheduler": "scheduler",
    "dagProcessor": "dag-processor",
    "triggerer": "triggerer",
    "migrateDatabaseJob": "init",
}


@pytest.mark.parametrize(("part", "component"), COMPONENTS.items())
def test_each_component_is_started_by_our_script(part: str, component: str) -> None:
    assert VALUES[part]["args"] == ["infra/airflow/start.sh", component]
    assert re.search(
        rf"^  (\w[\w-]* \| )?{component}( \| \w[\w-]*)?\)", (ROOT / "infra/airflow/start.sh").read_text(), re.M
    )


def test_what_the_script_needs_is_there_and_every_setting_is_known() -> None:
    given = {one["envName"] for one in VALUES["secret"]} | {one["name"] for one in VALUES["env"]}
    needed = {"TOPSHELF_AIRFLOW_DB", "TOPSHELF_AIRFLOW_SECRET", "TOPSHELF_AIRFLOW_FERNET_KEY"}
    assert needed | {"TOPSHELF_RUN_JOBS_IN", "TOPSHELF_POD_TEMPLATE"} <= given
    known = {variable.name for variable in variables()} | {"TOPSHELF_LANDING"}
    assert {name for name in given if name.startswith("TOPSHELF_")} <= known
    assert {one["secretName"] for one in VALUES["secret"]} == {"topshelf-airflow"}


def test_the_images_user_and_home_are_those_of_the_chart() -> None:
    text = (ROOT / "infra/images/airflow.Dockerfile").read_text()
    assert f"--uid {VALUES['uid']} topshelf" in text
    assert f"AIRFLOW_HOME={VALUES['airflowHome']} " in text
    assert "PATH=/opt/airflow/bin:$PATH" in text  # the chart waits for migrations by the word airflow


def test_night_and_scheduler_look_at_the_same_landing() -> None:
    pod = yaml.safe_load((ROOT / "infra/kubernetes/night-pod.yaml").read_text())
    (landing,) = [one["value"] for one in pod["spec"]["containers"][0]["env"] if one["name"] == "TOPSHELF_LANDING"]
    assert {"name": "TOPSHELF_LANDING", "value": landing} in VALUES["env"]
