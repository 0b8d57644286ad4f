"""A job that spark-submit starts runs on the Spark that it was given, and leaves status and outcome in a bucket."""

import json
import os
import subprocess
import sys
from pathlib import Path

import boto3
import pyspark
import pytest

from jobs.spark.session import SPARK_JAVA_HOME, java_home
from tests.dags.conftest import ROOT
from tests.serving import servers


@pytest.mark.slow
def test_a_submitted_job_leaves_what_it_came_to_where_it_was_told(tmp_path: Path) -> None:
    (tmp_path / "s3").mkdir()
    landed = tmp_path / "landing/events/ds=2026-01-31"
    landed.mkdir(parents=True)
    (landed / "events.csv").write_text("user_id,item_id,event_type,ts\nanna,mug,view,never\n")
    (landed / "_SUCCESS").touch()
    with servers.s3_server(tmp_path / "s3") as (port, _):
        address = f"http://127.0.0.1:{port}"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TOPSHELF_")}
        environment |= servers.S3_KEYS | {
            "JAVA_HOME": str(SPARK_JAVA_HOME),
            "TOPSHELF_JAVA": str(java_home() / "bin/java"),
            "PYSPARK_PYTHON": sys.executable,
            "PYTHONPATH": str(ROOT),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "AWS_ENDPOINT_URL": address,
        }
        submit = [Path(pyspark.__file__).parent / "bin/spark-submit", "--master", "local[1]"]
        words = [
            "s3://topshelf/runs/17.json",
            "nightly",
            "--ds",
            "2026-01-31",
            "--landing",
            str(tmp_path / "landing"),
        ]
        done = subprocess.run(
            [*submit, ROOT / "infra/spark/submitted.py", *words],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Spark 4.3.0 runs on local[1]" in done.stdout + done.stderr
        assert done.returncode == 1, done.stderr[-2000:]
        keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local-secret", "region_name": "us-east-1"}
        s3 = boto3.client("s3", endpoint_url=address, **keys)
        told = json.load(s3.get_object(Bucket="topshelf", Key="runs/17.json")["Body"])
        assert told["status"] == 1
        outcome = json.loads(told["outcome"])
        assert outcome["lasting"] is True, outcome
        assert "landing" in outcome["reason"]
