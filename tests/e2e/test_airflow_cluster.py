"""The night on a Spark cluster of its own: a master and two workers, one of which dies in mid-run."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from jobs.config.configuration import Configuration
from jobs.config.console import as_toml
from jobs.lake.lake import Lake
from tests.dying_with_tests import dying_with_tests
from tests.e2e.airflow_stack import ROOT, free_port, wait_until
from tests.e2e.conftest import DAY, PARAMETERS, Shop
from tests.e2e.test_night import BUILT, elsewhere, rows_sha256, snapshot_shards

START = ROOT / "infra" / "spark" / "start.sh"


@dataclass
class Cluster:
    """A standalone master and its workers on loopback, started by the script that images use."""

    folder: Path
    port: int = field(default_factory=free_port)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def master(self) -> str:
        return f"spark://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._start("master", "master")
        wait_until(lambda: "Starting Spark master" in self.log("master") or self._listens(), "Spark's master")
        for name in ("worker-1", "worker-2"):
            self._start(name, "worker", self.master)
        for name in ("worker-1", "worker-2"):
            wait_until(lambda name=name: self._registered(name), f"Spark's {name}")

    def _start(self, name: str, *words: str) -> None:
        env = os.environ | {
            "PYTHONPATH": str(ROOT),
            "TOPSHELF_PYTHON": sys.executable,
            "TOPSHELF_SPARK_PORT": str(self.port),
            "TOPSHELF_SPARK_UI_PORT": str(free_port()),
            "TOPSHELF_WORKER_DIR": str(self.folder / name),
            "TOPSHELF_WORKER_MEMORY": "1g",
        }
        # Spark's own log level is quiet here; its connections tell as much.
        log = (self.folder / f"{name}.log").open("wb")
        self.running[name] = subprocess.Popen(
            dying_with_tests([str(START), *words]), env=env, stdout=log, stderr=log, start_new_session=True
        )

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def _listens(self) -> bool:
        assert self.running["master"].poll() is None, self.log("master")
        connections = psutil.Process(self.running["master"].pid).net_connections("tcp")
        return any(one.laddr.port == self.port and one.status == psutil.CONN_LISTEN for one in connections)

    def _registered(self, name: str) -> bool:
        assert self.running[name].poll() is None, self.log(name)
        connections = psutil.Process(self.running[name].pid).net_connections("tcp")
        return any(one.raddr and one.raddr.port == self.port for one in connections)

    def kill(self, name: str) -> list[int]:
        """kill -9 a worker and its executors, as a machine that dies would; return the pids."""
        worker = psutil.Process(self.running.pop(name).pid)
        died = [*worker.children(recursive=True), worker]
        for process in died:
            process.kill()
        psutil.wait_procs(died, 30)
        return [process.pid for process in died]

    def stop(self) -> None:
        for name in tuple(self.running):
            self.kill(name)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    (tmp_path / "spark").mkdir()
    running = Cluster(tmp_path / "spark")
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.mark.slow
def test_a_cluster_makes_the_same_night_though_a_worker_is_killed(
    shop: Shop, cluster: Cluster, tmp_path: Path
) -> None:
    settings = elsewhere(shop, tmp_path)
    (tmp_path / "topshelf.toml").write_text(as_toml(Configuration(settings, PARAMETERS)))
    env = os.environ | {
        "PYTHONPATH": str(ROOT),
        "TOPSHELF_SPARK_MASTER": cluster.master,
        "TOPSHELF_CONFIG": str(tmp_path / "topshelf.toml"),
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    night = subprocess.Popen(
        [sys.executable, "-m", "jobs", "nightly", "--ds", str(DAY)],
        env=env,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    told: list[str] = []
    assert night.stderr is not None
    reader = threading.Thread(target=lambda: told.extend(night.stderr or []), daemon=True)
    reader.start()
    try:
        wait_until(
            lambda: night.poll() is not None or any(line.startswith("ingest: ended") for line in told), "ingest", 600
        )
        assert night.poll() is None, "".join(told)[-3000:]
        assert len(cluster.kill("worker-2")) > 1, "the worker had no executor to lose"
        assert night.wait(1_200) == 0, "".join(told)[-3000:]
    finally:
        if night.poll() is None:
            night.kill()
    assert any(cluster.master in line for line in told)
    lake = Lake(settings.lake)
    for table in BUILT:
        assert rows_sha256(lake, table, DAY) == rows_sha256(shop.lake, table, DAY), table
    assert snapshot_shards(settings.store) == snapshot_shards(shop.settings.store)
