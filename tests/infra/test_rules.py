"""The rules of Prometheus: each alert is explained, asks for figures that exist, and holds its own tests."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

from serving.api.metrics import COUNTERS
from serving.streams.gauges import Gauges
from tests.serving.running import publish_night, serving

ROOT = Path(__file__).parents[2]
RULES = ROOT / "infra" / "monitoring" / "rules.yml"


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def asked_for() -> set[str]:
    """The names of figures that rules ask for, without those of the night and of streams."""
    names = {name for rule in rules() for name in re.findall(r"\btopshelf_\w+", rule["expr"])}
    return {name for name in names if not name.startswith(("topshelf_night_", "topshelf_stream_"))}


def test_every_alert_has_its_line_in_the_runbook() -> None:
    headings = set(re.findall(r"^### (\S+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE))
    for rule in rules():
        if "alert" in rule:
            assert rule["alert"] in headings
            assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"


def test_what_tells_of_a_failing_endpoint_has_an_alert() -> None:
    troubles = {"topshelf_task_failures_total", "topshelf_landers", "topshelf_item_state_behind_seconds"}
    assert troubles | {counter.name for counter in COUNTERS if "dropped" in counter.name} <= asked_for()


def test_rules_ask_for_figures_that_the_endpoint_has(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path) as server:
        told = set(re.findall(r"^(topshelf_\w+)", server.http.get("/metrics").text, re.MULTILINE))
    assert asked_for() <= told


def test_rules_ask_for_figures_that_streams_have() -> None:
    names = {name for rule in rules() for name in re.findall(r"\btopshelf_stream_\w+", rule["expr"])}
    assert names
    told = generate_latest(Gauges("shop.events").registry).decode()
    assert {name for name in names if f"# TYPE {name} " not in told} == set()


def test_rules_pass_their_own_tests() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing: apt-get install prometheus")
    tests = str(RULES.with_name("rules_test.yml"))
    done = subprocess.run([promtool, "test", "rules", tests], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
