"""A real Airflow on a real PostgreSQL: each component a process of its own, started by the scripts of infra/."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.dying_with_tests import dying_with_tests

ROOT = Path(__file__).resolve().parents[2]
START = ROOT / "infra" / "airflow" / "start.sh"
COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
ENDED = {"success", "failed"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(done: Callable[[], Any], what: str, timeout_s: float = 120.0, every_s: float = 0.5) -> Any:
    """Return the first true answer of `done`; fail, saying what was awaited, when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if answer := done():
            return answer
        time.sleep(every_s)
    raise AssertionError(f"{what}: not within {timeout_s:.0f} s")


class ApiError(AssertionError):
    """The REST API answered with an error."""


@dataclass
class Postgres:
    """A PostgreSQL of our own: its files in a new temporary folder, its port on loopback."""

    # Not below a test's own folder, which only its owner may enter.
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="topshelf-postgres-")))
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/airflow"

    @staticmethod
    def programs() -> Path | None:
        """Where PostgreSQL's own programs are, which Debian keeps off the PATH."""
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        on_path = shutil.which("initdb")
        return found[-1].parent if found else Path(on_path).parent if on_path else None

    def _as_owner(self, *command: str) -> list[str]:
        """PostgreSQL refuses to run as root."""
        if os.geteuid() != 0:
            return list(command)
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]

    def start(self) -> None:
        """Start it, on the first call after making its database; return when it answers."""
        programs = self.programs()
        assert programs is not None
        data = self.folder / "data"
        if not data.exists():
            if os.geteuid() == 0:
                shutil.chown(self.folder, "postgres", "postgres")
            made = self._as_owner(str(programs / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-N")
            subprocess.run(made, check=True, capture_output=True, cwd="/")
        own = ["-c", f"unix_socket_directories={self.folder}", "-c", "listen_addresses=127.0.0.1"]
        serve = [str(programs / "postgres"), "-D", str(data), "-p", str(self.port), *own, "-c", "max_connections=200"]
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(
            self._as_owner(*dying_with_tests(serve, "INT")), cwd="/", stdout=log, stderr=log
        )
        ready = [str(programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port)]
        wait_until(lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0, "PostgreSQL")
        make = [str(programs / "createdb"), "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "airflow"]
        subprocess.run(make, check=False, capture_output=True)  # there already on a restart

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT closes connections and shuts down; SIGQUIT leaves recovery to the next start."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)
            self.process = None


@dataclass
class Stack:
    """Airflow's components, their database, and a client of their REST API."""

    folder: Path
    variables: Mapping[str, str]
    port: int = field(default_factory=free_port)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    password: str = field(default_factory=lambda: f"-{secrets.token_urlsafe(16)}")  # one in 64 random ones begins so
    token: str = ""

    def __post_init__(self) -> None:
        self.postgres = Postgres()
        self.env = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "TOPSHELF_"))}
        self.env |= {
            "AIRFLOW_HOME": str(self.folder / "airflow"),
            "AIRFLOW_PYTHON": sys.executable,
            "TOPSHELF_PYTHON": sys.executable,
            "PYTHONPATH": str(ROOT),
            "TOPSHELF_AIRFLOW_DB": self.postgres.url,
            "TOPSHELF_AIRFLOW_PORT": str(self.port),
            "TOPSHELF_AIRFLOW_SECRET": secrets.token_urlsafe(48),
            "TOPSHELF_AIRFLOW_FERNET_KEY": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "TOPSHELF_AIRFLOW_ADMIN_PASSWORD": self.password,
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "2",
            "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",  # a test turns on what it is about
            "AIRFLOW__TRIGGERER__DEFAULT_CAPACITY": "50",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "600",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
        }
        self.env |= self.variables

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start PostgreSQL, make the schema, start the components; return when the API answers."""
        self.postgres.start()
        self.command("init")
        for name in COMPONENTS:
            self.start_component(name)
        wait_until(self._answers, "Airflow's API", 180)

    def start_component(self, name: str) -> None:
        """Start one component in a session of its own, its output in a file."""
        log = (self.folder / f"{name}.log").open("ab")
        self.running[name] = subprocess.Popen(
            dying_with_tests([str(START), name]), env=self.env, stdout=log, stderr=log, start_new_session=True
        )

    def restart(self, name: str) -> None:
        """End one component politely and start it again, with the variables as they are now."""
        process = self.running.pop(name)
        process.terminate()
        process.wait(60)
        self.start_component(name)

    def command(self, *words: str) -> str:
        """Run one of start.sh's other commands to its end; return what it printed."""
        done = subprocess.run([str(START), *words], env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: {done.stdout[-2000:]} {done.stderr[-2000:]}"
        return done.stdout

    def kill(self, name: str) -> None:
        """kill -9 one component and all it started, as a machine that dies would."""
        process = self.running.pop(name)
        for child in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            child.kill()
        process.wait(30)

    def revive(self) -> list[str]:
        """Start components that have ended again, as their supervisor would; return their names."""
        ended = [name for name, process in self.running.items() if process.poll() is not None]
        for name in ended:
            self.start_component(name)
        return ended

    def stop(self) -> None:
        """End what was started, by its pid: politely, then its whole session."""
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
            # A component that has ended may leave workers of its own session behind.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        self.running.clear()
        self.postgres.stop()
        shutil.rmtree(self.postgres.folder, ignore_errors=True)

    # The REST API ------------------------------------------------------------------------------------------

    def _answers(self) -> bool:
        for name, process in self.running.items():
            assert process.poll() is None, f"{name} ended: {(self.folder / f'{name}.log').read_text()[-2000:]}"
        try:
            body = {"username": "admin", "password": self.password}
            self.token = str(self._ask("POST", "/auth/token", body)["access_token"])
        except OSError:
            return False
        return True

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return dict(json.load(answer))

    def api(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Ask the REST API; an error's document is part of the failure."""
        try:
            return self._ask(method, f"/api/v2{path}", body)
        except urllib.error.HTTPError as error:
            raise ApiError(f"{method} {path}: {error.code} {error.read().decode()[:2000]}") from error

    def runs(self, dag: str) -> list[dict[str, Any]]:
        """Every run of a DAG: at least `run_type`, `state`, `logical_date` and `dag_run_id` of each."""
        return list(self.api("GET", f"/dags/{dag}/dagRuns?limit=100")["dag_runs"])

    def task_states(self, dag: str, run: str) -> dict[str, str]:
        """The state of each task of a run."""
        return {task["task_id"]: str(task["state"]) for task in self.tasks(dag, run)}

    def tasks(self, dag: str, run: str) -> list[dict[str, Any]]:
        """Every task of a run: at least `task_id`, `state`, `start_date`, `end_date` and `try_number` of each."""
        return list(self.api("GET", f"/dags/{dag}/dagRuns/{run}/taskInstances?limit=100")["task_instances"])


def needs_airflow_and_postgres() -> None:
    """Skip where PostgreSQL is not installed, unless servers are required, as in CI."""
    if Postgres.programs() is None:
        if os.environ.get("TOPSHELF_REQUIRE_SERVERS"):
            pytest.fail("PostgreSQL is not installed; apt-get install postgresql")
        pytest.skip("PostgreSQL is not installed; apt-get install postgresql")
