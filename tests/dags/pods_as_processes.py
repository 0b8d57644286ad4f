"""A stand-in for a Kubernetes cluster: pods that are asked for run as processes of this machine.

It answers what Airflow's operator asks of an API server about pods, and does what a node does with a container:
variables in its arguments, its log, its exit status, and the last 4,096 bytes of its termination message.
"""

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

MESSAGE = "/dev/termination-log"
MESSAGE_BYTES = 4096
OUT_OF_MEMORY_STATUS = 137
PODS = re.compile(r"/api/v1/namespaces/[\w-]+/pods(?:/([\w-]+))?(/log)?$")

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: here
clusters: [{{name: here, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
contexts: [{{name: here, context: {{cluster: here, user: nobody, namespace: topshelf}}}}]
users: [{{name: nobody, user: {{}}}}]
"""


class Cluster:
    """Pods by name, and how each came to its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pods: dict[str, dict[str, Any]] = {}
        self.asked: list[dict[str, Any]] = []
        """Every pod as it was asked for, those since deleted included."""
        self.ended: dict[str, threading.Thread] = {}

    def start(self, pod: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(json.loads(json.dumps(pod)))
        name, (container,) = pod["metadata"]["name"], pod["spec"]["containers"]
        self.pods[name] = pod
        if "no-such-image" in container["image"]:
            self._tell(pod, "Pending", {"waiting": {"reason": "ErrImagePull", "message": "no such image"}})
            return pod
        self._tell(pod, "Running", {"running": {"startedAt": now()}})
        self.ended[name] = threading.Thread(target=self._run, args=(pod, container))
        self.ended[name].start()
        return pod

    def _run(self, pod: dict[str, Any], container: dict[str, Any]) -> None:
        message = self.folder / f"{pod['metadata']['name']}.message"
        message.touch()
        variables = {one["name"]: str(one.get("value", "")) for one in container.get("env", [])}
        words = [
            re.sub(r"\$\((\w+)\)", lambda found: variables.get(found[1], found[0]), word)
            for word in [*container["command"], *container["args"]]
        ]
        mounted = {name: value.replace(MESSAGE, str(message)) for name, value in variables.items()}
        with self.log(pod["metadata"]["name"]).open("wb") as log:
            done = subprocess.run(
                words, env={"PATH": "/usr/bin:/bin"} | mounted, stdout=log, stderr=log, check=False, cwd=self.folder
            )
        reason = {0: "Completed", OUT_OF_MEMORY_STATUS: "OOMKilled"}.get(done.returncode, "Error")
        end = {"exitCode": done.returncode, "reason": reason, "finishedAt": now()}
        end["message"] = message.read_bytes()[-MESSAGE_BYTES:].decode(errors="replace")
        self._tell(pod, "Failed" if done.returncode else "Succeeded", {"terminated": end})

    def _tell(self, pod: dict[str, Any], phase: str, state: dict[str, Any]) -> None:
        (container,) = pod["spec"]["containers"]
        about = {"name": container["name"], "image": container["image"], "imageID": "", "ready": "running" in state}
        pod["status"] = {"phase": phase, "containerStatuses": [about | {"restartCount": 0, "state": state}]}

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def matching(self, selector: str) -> list[dict[str, Any]]:
        """The pods that a selector of labels takes: `a=b`, `a!=b` or `!a`, with commas between."""

        def takes(labels: dict[str, str], rule: str) -> bool:
            if rule[0] == "!":
                return rule[1:] not in labels
            name, _, value = rule.partition("=")
            return (labels.get(name.rstrip("!")) == value) != name.endswith("!")

        rules = [rule for rule in selector.split(",") if rule]
        return [pod for pod in self.pods.values() if all(takes(pod["metadata"]["labels"], rule) for rule in rules)]


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def pods_as_processes(folder: Path) -> Iterator[Cluster]:
    """Run the stand-in; `folder/kubeconfig` leads clients to it."""
    cluster = Cluster(folder)

    class Api(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def answer(self, document: object, status: int = 200, kind: str = "application/json") -> None:
            body = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def body(self) -> dict[str, Any]:
            return dict(json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or b"{}"))

        def named(self) -> tuple[str, bool]:
            found = PODS.search(urlparse(self.path).path)
            return (found[1] or "", bool(found[2])) if found else ("", False)

        def do_POST(self) -> None:
            self.answer(cluster.start(self.body()), 201)

        def do_GET(self) -> None:
            name, wants_log = self.named()
            if wants_log:
                cluster.ended[name].join(60)  # as `follow` does: the log ends with the container
                lines = cluster.log(name).read_text().splitlines()
                self.answer("".join(f"{now()} {line}\n" for line in lines).encode(), kind="text/plain")
            elif name:
                known = cluster.pods.get(name)
                self.answer(known or {"kind": "Status", "code": 404}, 200 if known else 404)
            elif urlparse(self.path).path.endswith("/pods"):
                (selector,) = parse_qs(urlparse(self.path).query).get("labelSelector", [""])
                self.answer({"kind": "PodList", "apiVersion": "v1", "items": cluster.matching(selector)})
            else:
                self.answer({"kind": "EventList", "apiVersion": "v1", "items": []})

        def do_PATCH(self) -> None:
            pod = cluster.pods[self.named()[0]]
            pod["metadata"]["labels"] |= self.body()["metadata"]["labels"]
            self.answer(pod)

        def do_DELETE(self) -> None:
            self.answer(cluster.pods.pop(self.named()[0]))

    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        (folder / "kubeconfig").write_text(KUBECONFIG.format(port=server.server_port))
        try:
            yield cluster
        finally:
            server.shutdown()
