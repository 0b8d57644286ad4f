"""Real servers for the tests, on free local ports: each starts once a test run and ends with it."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.dying_with_tests import dying_with_tests

DYNAMODB_LOCAL_VERSION = "2.6.1"
VERSITYGW_VERSION = "v1.8.0"
INSTALL = "infra/servers.sh install"


def free_port() -> int:
    """Return a free port below 50000, because a Redis Cluster's bus uses the port 10,000 above."""
    for _ in range(100):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port < 50_000:
            return port
    raise RuntimeError("no free port below 50000 was found in 100 tries")


def wait_for(ready: Callable[[], bool], name: str, process: subprocess.Popen[bytes], timeout_s: float = 30) -> None:
    """Wait until `ready`; its exceptions mean not yet. Raises RuntimeError for a timeout or a process that ended."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{name} ended with status {process.returncode} before it was ready")
        try:
            if ready():
                return
        except Exception:  # not listening yet: each driver raises an error of its own
            time.sleep(0.05)
        time.sleep(0.02)
    raise RuntimeError(f"{name} was not ready within {timeout_s} s")


def need(tool: str | Path, install: str = INSTALL) -> str:
    """Return the path of a tool or file. Without it, skip the test, or fail it if TOPSHELF_REQUIRE_SERVERS is set."""
    path = tool if isinstance(tool, Path) and tool.exists() else shutil.which(tool)
    if path is None:
        give_up = pytest.fail if os.environ.get("TOPSHELF_REQUIRE_SERVERS") else pytest.skip
        give_up(f"{tool} is missing: run {install}")
    return str(path)


def installed() -> Path:
    """Return the folder that `infra/servers.sh install` fills."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "topshelf"


@contextmanager
def running(command: list[str], cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command until the block ends, then kill it; its output goes to `cwd/log`."""
    with (cwd / "log").open("ab") as log:
        process = subprocess.Popen(dying_with_tests(command, "KILL"), cwd=cwd, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def dynamodb_server(folder: Path, *options: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    jars = installed() / f"dynamodb-local-{DYNAMODB_LOCAL_VERSION}"
    need(jars / "complete")
    tool, port = need("java"), free_port()
    main = "com.amazonaws.services.dynamodbv2.local.main.ServerRunner"
    java = [tool, "-Xmx512m", f"-Djava.library.path={jars}", "-cp", f"{jars}/*", main]
    with running([*java, "-inMemory", "-disableTelemetry", "-port", str(port), *options], folder) as process:
        wait_for(lambda: listening(port), "DynamoDB Local", process)
        yield port, process


S3_KEYS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local-secret", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def s3_server(folder: Path, port: int = 0) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run VersityGW over a folder, with the bucket `topshelf`, for clients with S3_KEYS."""
    tool, port = need(installed() / "bin" / f"versitygw-{VERSITYGW_VERSION}"), port or free_port()
    (folder / "buckets" / "topshelf").mkdir(parents=True, exist_ok=True)
    keys = ("--access", S3_KEYS["AWS_ACCESS_KEY_ID"], "--secret", S3_KEYS["AWS_SECRET_ACCESS_KEY"])
    command = [tool, *keys, "--port", f"127.0.0.1:{port}", "--quiet", "posix", str(folder / "buckets")]
    with running(command, folder) as process:
        wait_for(lambda: listening(port), "VersityGW", process)
        yield port, process


def listening(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


@contextmanager
def redis_server(folder: Path, *options: str, port: int = 0) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    import redis

    tool = need("redis-server")
    port = port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    command = [tool, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder), *options]
    with running(command, folder) as process:
        client = redis.Redis(port=port)
        wait_for(lambda: bool(client.ping()), "redis-server", process)
        client.close()
        yield port, process


@contextmanager
def redis_cluster(folder: Path) -> Iterator[int]:
    """Run a cluster of three masters; yield the port of one."""
    import redis

    with ExitStack() as stack:
        ports = []
        for number in range(3):
            options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--appendonly", "no")
            port, process = stack.enter_context(redis_server(folder / str(number), *options))
            ports.append(port)
        clients = [redis.Redis(port=port) for port in ports]
        edges = (0, 5461, 10923, 16384)
        for number, client in enumerate(clients):
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", edges[number], edges[number + 1] - 1)
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for port in ports[1:]:
            clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", port)

        def agreed() -> bool:
            return all(b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO") or
                       client.cluster("INFO").get("cluster_state") == "ok" for client in clients)  # fmt: skip

        wait_for(agreed, "the Redis Cluster", process)
        for client in clients:
            client.close()
        yield ports[0]
