"""The compose file: each service gets what it needs and no more."""

import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.exceptions import ClientError

from tests.infra.compose_file import ROOT, environment, example_variables, mounts, services
from tests.serving import servers

AIRFLOW = {f"airflow-{name}" for name in ("init", "api-server", "scheduler", "dag-processor", "triggerer")}
HOLDERS = {
    "POSTGRES_PASSWORD": AIRFLOW | {"postgres"},
    "TOPSHELF_AIRFLOW_SECRET": AIRFLOW,
    "TOPSHELF_AIRFLOW_FERNET_KEY": AIRFLOW,
    "TOPSHELF_AIRFLOW_ADMIN_PASSWORD": {"airflow-init"},
    "AWS_ACCESS_KEY_ID": {"airflow-scheduler", "s3-account"},
    "AWS_SECRET_ACCESS_KEY": {"airflow-scheduler", "s3-account"},
    "S3_ROOT_ACCESS_KEY": {"s3", "s3-account"},
    "S3_ROOT_SECRET_KEY": {"s3", "s3-account"},
    "TOPSHELF_GRAFANA_PASSWORD": {"grafana"},
    "TOPSHELF_ALERT_WEBHOOK": {"airflow-scheduler", "airflow-dag-processor", "airflow-triggerer"},
    "TOPSHELF_ALERTMANAGER_WEBHOOK": {"alertmanager"},
}


def test_each_secret_goes_to_the_services_that_need_it_alone() -> None:
    marks = {name: f"the-{name}-itself" for name in HOLDERS}
    read = services(example_variables() | marks)
    assert not [name for name, service in read.items() if "env_file" in service]
    for secret, mark in marks.items():
        assert {name for name, service in read.items() if mark in str(service)} == HOLDERS[secret], secret


def test_every_value_of_the_example_that_must_be_changed_is_one_of_these_secrets() -> None:
    assert {name for name, value in example_variables().items() if value == "change-me"} <= HOLDERS.keys()


def test_what_dags_read_is_given_to_each_component_that_loads_them() -> None:
    of_the_image = {"TOPSHELF_PYTHON", "TOPSHELF_HOME"}  # start.sh sets the first; the second is where dags/ is
    elsewhere = {"TOPSHELF_RUN_JOBS_IN", "TOPSHELF_POD_TEMPLATE"}  # here jobs run where Airflow's tasks do
    texts = "".join(path.read_text() for path in (ROOT / "dags").glob("*.py"))
    asked = set(re.findall(r"environ(?:\.get\(|\[)\s*\"(TOPSHELF_\w+)", texts)) - of_the_image - elsewhere
    read = services(example_variables() | dict.fromkeys(asked, "given"))
    for name in ("airflow-scheduler", "airflow-dag-processor", "airflow-triggerer"):
        assert asked <= environment(read[name]).keys(), name


def test_what_is_mounted_exists() -> None:
    declared = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["volumes"]
    for service in services(example_variables()).values():
        for source in mounts(service).values():
            assert (ROOT / source).is_file() if source.startswith("./") else source in declared, source


def test_the_metrics_key_is_in_its_maker_and_in_prometheus_alone() -> None:
    read = services(example_variables())
    assert {name for name in read if "prometheus-key" in mounts(read[name]).values()} == {
        "volumes-init",
        "endpoint-init",
        "prometheus",
    }


@pytest.mark.parametrize(("image", "copied"), [("jobs", "--from=jars"), ("airflow", "--from=topshelf-jobs")])
@pytest.mark.parametrize("variable", ["TOPSHELF_S3A_JARS", "TOPSHELF_KAFKA_JARS"])
def test_images_that_run_spark_have_jars_where_they_say(image: str, copied: str, variable: str) -> None:
    text = (ROOT / "infra" / "images" / f"{image}.Dockerfile").read_text()
    (folder,) = re.findall(rf"{variable}=(\S+)", text)
    assert f"COPY {copied} {folder} {folder}\n" in text


def test_what_streams_add_is_not_there_without_their_profile() -> None:
    read = services(example_variables())
    assert {name for name, service in read.items() if service.get("profiles") == ["streams"]} == {
        "kafka",
        "stream-events",
        "stream-items",
    }
    for name in ("stream-events", "stream-items"):
        given = environment(read[name])
        assert given["TOPSHELF_KAFKA"] == "kafka:9092"
        assert {
            key: environment(read["endpoint"])[key] for key in ("TOPSHELF_STORE", "TOPSHELF_STATE")
        }.items() <= given.items()


def test_what_is_mounted_as_a_command_may_be_run() -> None:
    for name in ("s3-account.sh", "monitoring/alertmanager.sh", "serving/start.sh"):
        assert (ROOT / "infra" / name).stat().st_mode & stat.S_IXOTH, name


def test_the_archives_account_owns_its_bucket_and_makes_no_other(tmp_path: Path) -> None:
    gateway = servers.need(servers.installed() / "bin" / f"versitygw-{servers.VERSITYGW_VERSION}")
    port = servers.free_port()
    for name in ("data", "accounts"):
        (tmp_path / name).mkdir()
    (tmp_path / "versitygw").symlink_to(gateway)
    address = f"http://127.0.0.1:{port}"
    root, own = ("root", "root-secret"), ("night", "night-secret")
    serve = [gateway, "--access", root[0], "--secret", root[1], "--port", f"127.0.0.1:{port}", "--quiet"]
    command = [*serve, "--iam-dir", str(tmp_path / "accounts"), "posix", str(tmp_path / "data")]

    def client(access: str, secret: str) -> Any:
        named = {"endpoint_url": address, "region_name": "us-east-1"}
        return boto3.client("s3", **named, aws_access_key_id=access, aws_secret_access_key=secret)

    with servers.running(command, tmp_path) as process:
        servers.wait_for(lambda: client(*root).list_buckets() is not None, "versitygw", process)
        for secret in ("-an-older-secret", own[1]):  # a changed secret is taken over
            variables = {
                "PATH": f"{tmp_path}:/usr/bin:/bin",
                "ADMIN_ACCESS_KEY": root[0],
                "ADMIN_SECRET_KEY": root[1],
                "ADMIN_ENDPOINT_URL": address,
                "AWS_ACCESS_KEY_ID": own[0],
                "AWS_SECRET_ACCESS_KEY": secret,
            }
            subprocess.run([ROOT / "infra" / "s3-account.sh"], env=variables, check=True, capture_output=True)
        s3 = client(*own)
        s3.put_object(Bucket="topshelf", Key="archive/x", Body=b"1")
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.create_bucket(Bucket="another")
