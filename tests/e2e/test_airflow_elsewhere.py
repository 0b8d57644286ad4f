"""Airflow runs a job in a pod and keeps the task's log on S3: real components, a stand-in for the cluster, a real S3.

The other tests of Airflow run jobs beside it and keep logs in a folder.
"""

import json
import sys
from pathlib import Path

import boto3
import pytest
import yaml

from tests.dags.pods_as_processes import pods_as_processes
from tests.dags.test_job import provider
from tests.e2e.airflow_stack import ENDED, ROOT, Stack, needs_airflow_and_postgres, wait_until
from tests.serving import servers

DAG, TASK = "trending_refresh", "refresh"
NOTHING_LIVE = "nothing is live"


def pod(folder: Path) -> Path:
    """The pod of this deployment: the jobs of this clone, with a store of their own in which nothing is live."""
    template = yaml.safe_load((ROOT / "infra/kubernetes/night-pod.yaml").read_text())
    (container,) = template["spec"]["containers"]
    container["command"] = [sys.executable, "-m", "jobs"]
    places = {"PYTHONPATH": ROOT, "TOPSHELF_STORE": f"lmdb://{folder}/store", "TOPSHELF_LANDING": folder / "landing"}
    container["env"] = [{"name": name, "value": str(value)} for name, value in places.items()]
    file = folder / "pod.yaml"
    file.write_text(yaml.safe_dump(template))
    return file


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_in_a_pod_has_its_log_on_s3(tmp_path: Path) -> None:
    needs_airflow_and_postgres()
    groups = [provider("kubernetes", "airflow-kubernetes"), provider("airflow.providers.amazon", "airflow-aws")]
    (tmp_path / "s3").mkdir()
    with pods_as_processes(tmp_path) as cluster, servers.s3_server(tmp_path / "s3") as (port, _):
        address = f"http://127.0.0.1:{port}"
        keys = servers.S3_KEYS
        aws = {
            "conn_type": "aws",
            "login": keys["AWS_ACCESS_KEY_ID"],
            "password": keys["AWS_SECRET_ACCESS_KEY"],
            "extra": {"endpoint_url": address, "region_name": keys["AWS_DEFAULT_REGION"]},
        }
        stack = Stack(
            tmp_path,
            {
                "PYTHONPATH": ":".join([str(ROOT), *groups]),
                "TOPSHELF_RUN_JOBS_IN": "kubernetes",
                "TOPSHELF_POD_TEMPLATE": str(pod(tmp_path)),
                "KUBECONFIG": str(tmp_path / "kubeconfig"),
                "AIRFLOW__LOGGING__REMOTE_LOGGING": "True",
                "AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER": "s3://topshelf/airflow",
                "AIRFLOW__LOGGING__REMOTE_LOG_CONN_ID": "aws_default",
                "AIRFLOW__LOGGING__DELETE_LOCAL_LOGS": "True",
                "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(aws),
            },
        )
        try:
            stack.start()
            wait_until(lambda: stack.api("GET", "/dags")["total_entries"] == 4, "the DAG processor", 180)
            stack.api("PATCH", f"/dags/{DAG}", {"is_paused": False})
            run = stack.api("POST", f"/dags/{DAG}/dagRuns", {"logical_date": None})["dag_run_id"]
            wait_until(lambda: stack.task_states(DAG, run)[TASK] in ENDED, "the run", 300)
            assert stack.task_states(DAG, run) == {TASK: "success"}
            key = f"airflow/dag_id={DAG}/run_id={run}/task_id={TASK}/attempt=1.log"

            def log() -> str:
                return json.dumps(stack.api("GET", f"/dags/{DAG}/dagRuns/{run}/taskInstances/{TASK}/logs/1"))

            # A task has ended a moment before its log is away; from then on, Airflow's pages read it from there.
            told = wait_until(lambda: f"s3://topshelf/{key}" in (told := log()) and told, "the log on S3", 60)
        finally:
            stack.stop()
        assert cluster.asked and not cluster.pods
        s3 = boto3.client(
            "s3", endpoint_url=address, aws_access_key_id=aws["login"], aws_secret_access_key=aws["password"]
        )
        kept = s3.get_object(Bucket="topshelf", Key=key)["Body"].read().decode()
        assert NOTHING_LIVE in kept
        assert NOTHING_LIVE in told
