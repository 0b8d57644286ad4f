"""The command of an executor's pod starts what Spark's own image would, with what Spark says in the environment."""

import subprocess
import sys
from pathlib import Path

import yaml

from tests.dags.conftest import ROOT

# As Spark's driver sets them in a pod.
OF_SPARK = {
    "SPARK_DRIVER_URL": "spark://CoarseGrainedScheduler@10.0.0.7:41000",
    "SPARK_EXECUTOR_ID": "2",
    "SPARK_EXECUTOR_CORES": "4",
    "SPARK_EXECUTOR_MEMORY": "4096m",
    "SPARK_APPLICATION_ID": "spark-17",
    "SPARK_EXECUTOR_POD_IP": "10.0.0.8",
    "SPARK_EXECUTOR_POD_NAME": "topshelf-exec-2",
    "SPARK_RESOURCE_PROFILE_ID": "0",
    "SPARK_JAVA_OPT_10": "-Dthird=a b",
    "SPARK_JAVA_OPT_0": "-Dfirst=1",
    "SPARK_JAVA_OPT_2": "-Dsecond=1",
    "SPARK_CONF_DIR": "/opt/spark/conf",
}
JAVA = """#!/bin/sh
[ "$1" = -version ] && { echo 'openjdk version "17.0.1"' >&2; exit; }
printf '%s\\n' "$PWD" "$@"
"""


def test_an_executor_is_started_as_sparks_driver_says(tmp_path: Path) -> None:
    java = tmp_path / "bin/java"
    java.parent.mkdir()
    java.write_text(JAVA)
    java.chmod(0o755)
    pod = yaml.safe_load((ROOT / "infra/kubernetes/spark-executor.yaml").read_text())
    (program,) = pod["spec"]["containers"][0]["command"]
    environment = OF_SPARK | {"PATH": "/usr/bin:/bin", "JAVA_HOME": str(tmp_path), "TOPSHELF_PYTHON": sys.executable}
    environment["TMPDIR"] = str(tmp_path)
    done = subprocess.run([ROOT / program, "executor"], env=environment, check=True, capture_output=True, text=True)
    folder, *words = done.stdout.splitlines()
    assert Path(folder).parent == tmp_path  # Spark lays jars there; the image's own folder may not be written
    assert [word for word in words if word.startswith("-D")] == ["-Dfirst=1", "-Dsecond=1", "-Dthird=a b"]
    assert {"-Xms4096m", "-Xmx4096m"} <= set(words)
    assert words[words.index("-cp") + 1].startswith("/opt/spark/conf:")
    start = words.index("org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend")
    assert dict(zip(words[start + 1 :: 2], words[start + 2 :: 2], strict=True)) == {
        "--driver-url": "spark://CoarseGrainedScheduler@10.0.0.7:41000",
        "--executor-id": "2",
        "--cores": "4",
        "--app-id": "spark-17",
        "--hostname": "10.0.0.8",
        "--resourceProfileId": "0",
        "--podName": "topshelf-exec-2",
    }
