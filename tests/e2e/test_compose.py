"""The compose file's endpoint, Prometheus and Alertmanager, without containers, with what compose gives each."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from jobs.publishing.publish import publish
from serving.stores import open_store
from tests.dying_with_tests import dying_with_tests
from tests.infra.compose_file import ROOT, environment, example_variables, mounts, services
from tests.serving import servers
from tests.serving.running import SOON_S, within
from tests.serving.small_shop import night
from tests.webhook import webhook

START = ROOT / "infra" / "serving" / "start.sh"  # the image's entrypoint
MONITORING = ROOT / "infra" / "monitoring"
JOBS = ("topshelf-endpoint", "topshelf-night")
EVALUATIONS_S = 6  # as rules are shortened here, whatever is wrong fires within two seconds and one evaluation


class Deployment:
    """The services' volumes as folders, their host names as ports of loopback, and what the webhook received."""

    def __init__(self, folder: Path, redis_port: int, receiver_port: int) -> None:
        self.folder = folder
        names = ("endpoint:8000", "prometheus:9090", "alertmanager:9093")
        self.addresses = {name: f"127.0.0.1:{servers.free_port()}" for name in names}
        self.addresses |= {"redis:6379": f"127.0.0.1:{redis_port}"}
        self.addresses |= {"node-exporter:9100": f"127.0.0.1:{receiver_port}"}
        hook = f"http://127.0.0.1:{receiver_port}/hook?to=o'neill"
        self.services = services(example_variables() | {"TOPSHELF_ALERTMANAGER_WEBHOOK": hook})

    def environment(self, name: str) -> dict[str, str]:
        """What compose gives a service, its paths and host names mapped; else only where programs are."""
        given = {"PATH": os.environ["PATH"], "TOPSHELF_PYTHON": sys.executable}
        for variable, value in environment(self.services[name]).items():
            given[variable] = "127.0.0.1" if value == "0.0.0.0" else self.mapped(self._in_volume(name, value))
        return given

    def _in_volume(self, name: str, path: str) -> str:
        for target, volume in mounts(self.services[name]).items():
            if path == target or path.startswith(f"{target}/"):
                return f"{self.volume(volume)}{path.removeprefix(target)}"
        return path

    def volume(self, name: str) -> Path:
        path = self.folder / "volumes" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def mapped(self, text: str) -> str:
        for name, address in self.addresses.items():
            text = text.replace(name, address)
        return text

    @contextmanager
    def endpoint(self) -> Iterator[None]:
        """Run the endpoint's service until the block ends."""
        variables = self.environment("endpoint")
        variables["TOPSHELF_PORT"] = self.addresses["endpoint:8000"].rpartition(":")[2]
        with running([str(START), *self.services["endpoint"]["command"]], variables, self.folder / "endpoint.log"):
            assert within(60, lambda: self.status("endpoint:8000", "/readyz") == 200), self.log("endpoint")
            yield

    @contextmanager
    def prometheus(self, program: str) -> Iterator[None]:
        """Run Prometheus on a copy of its files that asks each second, its key where compose mounts it."""
        place = self.folder / "prometheus"
        place.mkdir()
        configuration = self.mapped((MONITORING / "prometheus.yml").read_text())
        (place / "prometheus.yml").write_text(re.sub(r"_interval: \d+s", "_interval: 1s", configuration))
        rules = (MONITORING / "rules.yml").read_text()
        (place / "rules.yml").write_text(re.sub(r"for: \d+[smh]", "for: 2s", rules))
        for target, volume in mounts(self.services["prometheus"]).items():
            if target.startswith("/etc/prometheus/") and not volume.startswith("./"):
                (place / target.removeprefix("/etc/prometheus/")).symlink_to(self.volume(volume))
        command = [program, f"--config.file={place}/prometheus.yml", f"--storage.tsdb.path={place}/data"]
        command += [f"--web.listen-address={self.addresses['prometheus:9090']}"]
        with running(command, {"PATH": os.environ["PATH"]}, self.folder / "prometheus.log"):
            assert within(60, lambda: self.status("prometheus:9090", "/-/ready") == 200), self.log("prometheus")
            yield

    @contextmanager
    def alertmanager(self) -> Iterator[None]:
        """Run a copy of Alertmanager's script that waits a second where it waits longer."""
        script = self.folder / "alertmanager.sh"
        text = (MONITORING / "alertmanager.sh").read_text()
        script.write_text(re.sub(r"group_(wait|interval): \d+[sm]", r"group_\1: 1s", text))
        data = self.volume("alertmanager")
        variables = self.environment("alertmanager") | {"TOPSHELF_ALERTMANAGER_DATA": str(data)}
        command = ["sh", str(script), f"--web.listen-address={self.addresses['alertmanager:9093']}"]
        with running([*command, "--cluster.listen-address="], variables, self.folder / "alertmanager.log"):
            assert within(60, lambda: self.status("alertmanager:9093", "/-/ready") == 200), self.log("alertmanager")
            yield

    def status(self, name: str, path: str, key: str = "") -> int:
        """The status of a GET, 0 where nobody answers."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        try:
            return httpx.get(f"http://{self.addresses[name]}{path}", headers=headers, timeout=5).status_code
        except httpx.TransportError:
            return 0

    def ask_prometheus(self, path: str, **parameters: str) -> Any:
        url = f"http://{self.addresses['prometheus:9090']}/api/v1/{path}"
        return httpx.get(url, params=parameters, timeout=5).raise_for_status().json()["data"]

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def has_scraped(self) -> bool:
        """Whether both jobs were scraped, and the endpoint's own figures are there."""
        up = self.ask_prometheus("query", query="up")["result"]
        if {sample["metric"]["job"]: sample["value"][1] for sample in up} != dict.fromkeys(JOBS, "1"):
            return False
        return bool(self.ask_prometheus("query", query="topshelf_snapshot_day_seconds > 0")["result"])

    def has_judged_since(self, moment: datetime) -> bool:
        """Whether every rule was evaluated after a moment."""
        groups = self.ask_prometheus("rules")["groups"]
        return all(datetime.fromisoformat(_to_microseconds(group["lastEvaluation"])) > moment for group in groups)


@contextmanager
def running(command: list[str], variables: dict[str, str], log: Path) -> Iterator[None]:
    """Run a command until the block ends, then end it politely."""
    with log.open("ab") as output:
        process = subprocess.Popen(dying_with_tests(command), env=variables, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def _to_microseconds(text: str) -> str:
    """A time as Go writes it, cut to what `datetime` reads."""
    return re.sub(r"(\.\d{1,6})\d*", r"\1", text)


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[tuple[Deployment, list[dict[str, Any]]]]:
    """A deployment whose init steps have run and whose store holds yesterday's night."""
    with ExitStack() as stack:
        receiver_port, received = stack.enter_context(webhook())
        (tmp_path / "redis").mkdir()
        redis_port, _ = stack.enter_context(servers.redis_server(tmp_path / "redis"))
        made = Deployment(tmp_path, redis_port, receiver_port)
        yesterday = (datetime.now(UTC) - timedelta(days=1)).date()
        with closing(open_store(made.environment("endpoint")["TOPSHELF_STORE"])) as store:
            publish(night(yesterday.isoformat()), store)
        yield made, received


def run_init(deployment: Deployment) -> None:
    command = [str(START), *deployment.services["endpoint-init"]["command"]]
    subprocess.run(command, env=deployment.environment("endpoint-init"), check=True, capture_output=True)


def create_key(deployment: Deployment, scope: str) -> str:
    """As `docker compose run --rm --no-deps endpoint keys create` does."""
    command = [str(START), "keys", "create", "--scope", scope, "--name", "web"]
    variables = deployment.environment("endpoint")
    return subprocess.run(command, env=variables, check=True, capture_output=True, text=True).stdout.strip()


def has_told(received: list[dict[str, Any]], status: str) -> bool:
    """Whether the webhook learned that EndpointDown fires, or is over."""
    told = [(alert["labels"]["alertname"], alert["status"]) for notice in received for alert in notice["alerts"]]
    return ("EndpointDown", status) in told


@pytest.mark.slow
def test_a_healthy_endpoint_fires_nothing_and_a_stopped_one_reaches_the_webhook(
    deployment: tuple[Deployment, list[dict[str, Any]]],
) -> None:
    made, received = deployment
    program = servers.need("prometheus", "apt-get install prometheus")
    if shutil.which("alertmanager") is None:
        servers.need("prometheus-alertmanager", "apt-get install prometheus-alertmanager")
    run_init(made)
    with ExitStack() as up:
        up.enter_context(made.endpoint())
        assert made.status("endpoint:8000", "/recommendations?user_id=user-1") == 401
        key = create_key(made, "read")
        assert within(SOON_S, lambda: made.status("endpoint:8000", "/recommendations?user_id=user-1", key) == 200)
        run_init(made)  # as each `up` does
        with made.alertmanager(), made.prometheus(program):
            assert within(60, made.has_scraped), made.log("prometheus")
            settled = datetime.now(UTC) + timedelta(seconds=EVALUATIONS_S)
            assert within(60, lambda: made.has_judged_since(settled))
            assert made.ask_prometheus("alerts")["alerts"] == []
            assert received == []
            up.close()
            assert within(60, lambda: has_told(received, "firing")), made.log("alertmanager")
            with made.endpoint():
                assert within(60, lambda: has_told(received, "resolved")), made.log("alertmanager")
