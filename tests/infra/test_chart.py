"""The Helm chart: what it renders, and what keeps a host's LMDB files current, run as the chart says it.

Without helm, the commands are read from the chart's template.
"""

import re
import shutil
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.publishing import versions
from jobs.publishing.publish import publish
from serving.stores import open_store
from serving.stores.archive import Archive
from tests.serving import servers
from tests.serving.running import SOON_S, serving, within
from tests.serving.small_shop import night

CHART = Path(__file__).parents[2] / "infra" / "kubernetes" / "chart"
NIGHTS = ("2026-01-01", "2026-01-02", "2026-01-03")
IN_A_POD = "lmdb:///data/store"


def rendered(*settings: str) -> list[dict[str, Any]]:
    """What the chart makes of these values. Skips the test where helm is missing; in CI, fails it."""
    helm = servers.need("helm", "go install helm.sh/helm/v3/cmd/helm@latest")
    values = [word for setting in settings for word in ("--set", setting)]
    command = [helm, "template", "topshelf", str(CHART), "--kube-version", "1.30.0", *values]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [document for document in yaml.safe_load_all(text) if document]


def mirror_commands(archive: str, every_s: int) -> tuple[list[str], list[str]]:
    """The commands of the init container and of the sidecar."""
    if shutil.which("helm"):
        values = ("store.kind=lmdb", f"store.archive={archive}", f"store.every_s={every_s}")
        (pod,) = [
            document["spec"]["template"]["spec"] for document in rendered(*values) if document["kind"] == "Deployment"
        ]
        sidecar = next(container for container in pod["containers"] if container["name"] == "mirror")
        first, second = (
            [*container["command"], *container["args"]] for container in (pod["initContainers"][0], sidecar)
        )
        return first, second
    text = (CHART / "templates" / "_names.tpl").read_text().partition('"topshelf.mirror"')[2]
    (words,) = re.findall(r"^command: \[(.*)\]$", text, re.MULTILINE)
    listed = re.findall(r"^  - (.*)$", text.partition("args:\n")[2].partition("{{- with")[0], re.MULTILINE)
    given = [("store.archive", archive), ("topshelf.store", IN_A_POD), ("every_s", str(every_s))]
    arguments = [next((value for name, value in given if "{{" in word and name in word), word) for word in listed]
    command = [*words.split(", "), *arguments]
    return command[: command.index("--every")], command


def test_each_kind_of_store_is_rendered_whole() -> None:
    redis, lmdb = rendered(), rendered("store.kind=lmdb", "store.archive=s3://bucket/shop")
    assert [document["kind"] for document in redis] == [document["kind"] for document in lmdb]
    wanted = {"Deployment", "Ingress", "NetworkPolicy", "HorizontalPodAutoscaler", "PodDisruptionBudget", "Role"}
    assert wanted <= {document["kind"] for document in redis}
    for documents, names in ((redis, ["endpoint"]), (lmdb, ["endpoint", "mirror"])):
        (pod,) = [document["spec"]["template"]["spec"] for document in documents if document["kind"] == "Deployment"]
        assert [container["name"] for container in pod["containers"]] == names
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            assert container["securityContext"]["readOnlyRootFilesystem"]


def test_a_night_may_do_with_pods_what_spark_does() -> None:
    roles = {document["metadata"]["name"]: document for document in rendered() if document["kind"] == "Role"}
    (rule,) = roles["topshelf-night"]["rules"]
    # Spark's driver ends executors, and what belongs to them, by their label; Kubernetes calls that a collection.
    assert {"pods", "services", "configmaps", "persistentvolumeclaims"} <= set(rule["resources"])
    assert {"get", "list", "watch", "create", "delete", "deletecollection"} <= set(rule["verbs"])


def test_pods_of_a_night_use_accounts_that_the_chart_makes() -> None:
    accounts = {document["metadata"]["name"] for document in rendered() if document["kind"] == "ServiceAccount"}
    for name in ("night-pod", "spark-executor"):
        pod = yaml.safe_load((CHART.parent / f"{name}.yaml").read_text())
        assert pod["spec"]["serviceAccountName"] in accounts


def test_the_sidecars_command_keeps_a_host_current_over_three_nights_and_a_rollback(tmp_path: Path) -> None:
    with ExitStack() as stack:
        (tmp_path / "s3").mkdir()
        port, _ = stack.enter_context(servers.s3_server(tmp_path / "s3"))
        patched = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in servers.S3_KEYS.items():
            patched.setenv(name, value)
        url = f"s3://topshelf/shop?endpoint=http://127.0.0.1:{port}"
        archive = stack.enter_context(closing(Archive(url)))
        source = stack.enter_context(closing(open_store(f"lmdb://{tmp_path}/published")))
        host = f"lmdb://{tmp_path}/store"
        first, repeated = (
            [sys.executable if word == ".venv/bin/python" else host if word == IN_A_POD else word for word in command]
            for command in mirror_commands(url, 1)
        )
        assert subprocess.run(first, check=False, capture_output=True).returncode != 0  # no night: the pod waits
        publish(night(NIGHTS[0]), source, archive=archive)
        subprocess.run(first, check=True, capture_output=True)
        stack.enter_context(servers.running(repeated, tmp_path))
        server = stack.enter_context(serving(tmp_path, store=host))

        def answers_from(day: str) -> bool:
            return bool(server.http.get("/readyz").json()["snapshot"] == night(day).version)

        assert answers_from(NIGHTS[0])
        for day in NIGHTS[1:]:
            publish(night(day), source, archive=archive)
            assert within(SOON_S, lambda day=day: answers_from(day)), (tmp_path / "log").read_text()
        archive.follow(versions.rollback(source))  # as `topshelf rollback` does
        assert within(SOON_S, lambda: answers_from(NIGHTS[1])), (tmp_path / "log").read_text()
        assert server.shelf(user_id="user-1")["recommendations"]
