"""docs/first-night.md, copied line by line into a fresh clone: its night is green, and what goes wrong is told."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.config.configuration import Configuration
from jobs.config.console import as_toml
from jobs.config.settings import Settings
from tests.dying_with_tests import dying_with_tests
from tests.e2e.airflow_nights import DAG, NIGHT_S, PARAMETERS, YESTERDAY, runs_by_day
from tests.e2e.airflow_pages import backfill_by_clicking, shots_folder, signed_in, trigger_by_clicking
from tests.e2e.airflow_stack import ROOT, Stack, needs_airflow_and_postgres, wait_until
from tests.webhook import webhook

if TYPE_CHECKING:
    from playwright.sync_api import Page as Browser

DAY_BEFORE = YESTERDAY - timedelta(days=1)
STAMP = ".topshelf-setup"
SUDO = """#!/bin/sh
# The page's `sudo -u postgres psql` reaches the test's PostgreSQL by PGHOST, PGPORT and PGUSER.
shift 2
exec "$@"
"""


@dataclass
class Notices:
    """A webhook that keeps what it is told."""

    told: list[dict[str, Any]]
    address: str

    def of(self, run: str) -> list[dict[str, Any]]:
        return [notice for notice in self.told if notice["run_id"] == run]


@pytest.fixture
def notices() -> Iterator[Notices]:
    with webhook() as (port, told):
        yield Notices(told, f"http://127.0.0.1:{port}/")


def blocks_of_the_page(clone: Path) -> dict[str, str]:
    """Return the commands of the page by the heading that they stand under."""
    parts = re.split(r"^## (.+)$", (clone / "docs/first-night.md").read_text(), flags=re.MULTILINE)
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return {name: "\n".join(re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)) for name, text in pairs}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What git has of this tree, as a clone of it would; with the environment that `make setup` makes."""
    copy = tmp_path / "topshelf"
    copy.mkdir()
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    for name in filter(None, map(os.fsdecode, files)):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name)
    environment = copy / ".venv"
    environment.mkdir()
    for entry in Path(sys.prefix).iterdir():
        if entry.name != STAMP:
            (environment / entry.name).symlink_to(entry)
    # By its own stamp `make setup` knows that it has nothing to do, and leaves alone what this process runs by.
    stamp = "cat requirements.lock requirements-towers.lock pyproject.toml infra/setup.sh | sha256sum | cut -d' ' -f1"
    made = subprocess.run(["bash", "-c", stamp], cwd=copy, capture_output=True, text=True, check=True).stdout.strip()
    (environment / STAMP).write_text(made)
    # A small shop's values; its places are the defaults.
    configuration = tmp_path / "small.toml"
    places = Settings().model_dump()
    configuration.write_text(as_toml(Configuration(Settings(**places), PARAMETERS)))
    return copy


@dataclass
class Page:
    """The reader of the page: their machine's variables, and what they run."""

    clone: Path
    stack: Stack
    blocks: dict[str, str]

    def run(self, heading: str) -> str:
        """Run a heading's commands line by line, in the clone; return all they printed."""
        printed = ""
        for line in self.blocks[heading].strip().splitlines():
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", line],
                cwd=self.clone, env=self.stack.env, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{line}: {done.stdout[-3000:]} {done.stderr[-3000:]}"
            printed += done.stdout + done.stderr
        return printed


@pytest.fixture
def page(clone: Path, tmp_path: Path, notices: Notices) -> Iterator[Page]:
    """The reader's machine: PostgreSQL runs, and nothing of Airflow's is there."""
    needs_airflow_and_postgres()
    stack = Stack(tmp_path, {})
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "sudo").write_text(SUDO)
    (programs / "sudo").chmod(0o755)
    stack.env = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "TOPSHELF_"))}
    stack.env |= {
        "PATH": f"{programs}:{stack.postgres.programs()}:{os.environ['PATH']}",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(stack.postgres.port),
        "PGUSER": "postgres",
        "PGDATABASE": "postgres",
        "TOPSHELF_AIRFLOW_DB": f"postgresql://airflow:p%40ss'word@127.0.0.1:{stack.postgres.port}/airflow_of_tests",
        "PYTHONPATH": str(clone),  # the installed command is of this tree; here it is of the clone
        "TOPSHELF_AIRFLOW_PORT": str(stack.port),
        "TOPSHELF_CONFIG": str(tmp_path / "small.toml"),
        "TOPSHELF_RETRY_DELAY_S": "5",
        "TOPSHELF_ALERT_WEBHOOK": notices.address,
        "JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m",
        "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
    }
    stack.postgres.start()
    reader = Page(clone, stack, blocks_of_the_page(clone))
    try:
        yield reader
    finally:
        stack.stop()


def started(page: Page) -> None:
    """Run the page's `start.sh all` in a session of its own, and wait for the API."""
    log = (page.stack.folder / "all.log").open("ab")
    command = page.blocks["Start Airflow"].split()
    page.stack.running["all"] = subprocess.Popen(
        dying_with_tests(command), cwd=page.clone, env=page.stack.env, stdout=log, stderr=log, start_new_session=True
    )
    wait_until(page.stack._answers, "Airflow's API", 240)


def run_named(stack: Stack, told: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
    return next((run for run in stack.runs(DAG) if told(run)), None)


def ended(stack: Stack, name: str) -> str:
    """Wait until a run has ended; return its state."""
    run = wait_until(
        lambda: run_named(stack, lambda run: run["dag_run_id"] == name and run["state"] in ("success", "failed")),
        f"the end of {name}", 2 * NIGHT_S, 1,
    )  # fmt: skip
    return str(run["state"])


def told_of_failure(stack: Stack, notices: Notices, known: set[str]) -> dict[str, Any]:
    """Wait for a manual run that is not known yet to fail, by one try of one task; return its notice."""
    run = wait_until(
        lambda: run_named(stack, lambda run: run["run_type"] == "manual" and run["dag_run_id"] not in known),
        "the manual run",
    )
    name = run["dag_run_id"]
    assert ended(stack, name) == "failed"
    assert [task["try_number"] for task in stack.tasks(DAG, name) if task["state"] == "failed"] == [1]
    wait_until(lambda: notices.of(name), "its notice")
    (told,) = notices.of(name)
    return told


def backfilled(stack: Stack, day: date) -> str:
    """Wait for a backfill's run of a day to be there; return its name."""
    run = wait_until(lambda: runs_by_day(stack, "backfill").get(str(day)), f"the backfill of {day}", NIGHT_S, 1)
    return str(run["dag_run_id"])


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_the_page_leads_from_a_clone_to_a_green_night_and_what_goes_wrong_is_told_at_once(
    page: Page, notices: Notices
) -> None:
    stack = page.stack
    init = page.run("Set up")
    assert len(init.splitlines()) < 12, init
    env_file = page.clone / "infra/topshelf.env"
    secrets = dict(line.split("=", 1) for line in env_file.read_text().splitlines() if line[:1].isupper())
    assert "change-me" not in secrets.values()
    stack.password = secrets["TOPSHELF_AIRFLOW_ADMIN_PASSWORD"]
    assert env_file.stat().st_mode & 0o077 == 0
    page.run("Set up")  # it can be repeated, and changes no secret
    assert stack.password in env_file.read_text()
    page.run("Land something")
    started(page)

    # The scheduled night of yesterday comes without a click, and its name says the day.
    name = f"scheduled__night-of-{YESTERDAY}"
    wait_until(lambda: run_named(stack, lambda run: run["dag_run_id"] == name), "the scheduled night", 300, 1)
    assert ended(stack, name) == "success", stack.task_states(DAG, name)
    watched = page.run("Watch the night")
    assert name in watched
    assert "live" in watched
    assert notices.of(name) == []
    (event,) = stack.api("GET", "/assets/events")["asset_events"]
    assert (event["extra"]["day"], event["source_run_id"]) == (str(YESTERDAY), name)
    assert event["extra"]["users"] > 0
    assert event["extra"]["version"].startswith(str(YESTERDAY))

    with signed_in(stack) as browser:
        # Without a day a run fails at once, by one try, and says what it lacks.
        trigger_by_clicking(browser, stack, None)
        told = told_of_failure(stack, notices, known=set())
        assert (told["task_id"], told["ds"]) == ("wait_for_landing", "")
        assert "a manual run must say its day" in told["reason"]
        assert told["log_url"].startswith(stack.address)

        # A corrupt file fails its task by one try, and the notice names the file and the remedy.
        broken = page.clone / f"data/landing/events/ds={YESTERDAY}/broken.parquet"
        broken.write_bytes(b"PAR1 cut off")
        trigger_by_clicking(browser, stack, YESTERDAY)
        told = told_of_failure(stack, notices, known={told["run_id"]})
        assert (told["task_id"], told["ds"]) == ("ingest", str(YESTERDAY))
        assert "broken.parquet" in told["reason"]
        assert told["runbook"].startswith("file:///")
        broken.unlink()

        # A backfill that is clicked is the day's night again.
        backfill_by_clicking(browser, stack, DAY_BEFORE, DAY_BEFORE)
    name = backfilled(stack, DAY_BEFORE)
    assert ended(stack, name) == "success", stack.task_states(DAG, name)
    assert len(stack.api("GET", "/assets/events")["asset_events"]) == 1  # an older day did not go live

    os.kill(stack.running["all"].pid, signal.SIGTERM)
    stack.running.pop("all").wait(120)  # a refresh of trends may run, and is waited for
    assert not [line for line in processes() if str(page.clone) in line]


class Faulty:
    """An operator's day: nights by clicking, each with its notice and a picture of what the pages show."""

    def __init__(self, browser: "Browser", stack: Stack, notices: Notices) -> None:
        self.browser, self.stack, self.notices = browser, stack, notices
        self.known: set[str] = {run["dag_run_id"] for run in stack.runs(DAG)}

    def night(self, day: date, what: str) -> tuple[dict[str, str], list[dict[str, Any]]]:
        """Trigger a day's night, wait for its end; return its tasks' states and its notices, without warnings."""
        trigger_by_clicking(self.browser, self.stack, day)
        run = wait_until(
            lambda: run_named(self.stack, lambda run: run["dag_run_id"] not in self.known and is_manual(run)), what
        )
        name = run["dag_run_id"]
        self.known.add(name)
        ended(self.stack, name)
        self.browser.goto(f"{self.stack.address}/dags/{DAG}/runs/{name}")
        self.browser.wait_for_timeout(3_000)
        self.browser.screenshot(path=shots_folder() / f"{what.replace(' ', '-')}.png")
        told = [notice for notice in self.notices.of(name) if not notice["event"].startswith("night_")]
        for notice in told:
            sys.stdout.write(f"{what}: {json.dumps(notice, indent=1)}\n")
        return self.stack.task_states(DAG, name), told


def is_manual(run: dict[str, Any]) -> bool:
    return bool(run["run_type"] == "manual")


@pytest.mark.slow
@pytest.mark.timeout(5_400)
@pytest.mark.skipif("TOPSHELF_TEST_KILLS" not in os.environ, reason="TOPSHELF_TEST_KILLS is not set")
def test_each_way_a_night_goes_wrong_is_told_with_its_cause_and_its_remedy(page: Page, notices: Notices) -> None:
    stack = page.stack
    stack.env["TOPSHELF_DEADLINE_HOURS"] = "0.03"  # so a day that does not land is told within two minutes
    page.run("Set up")
    env_file = (page.clone / "infra/topshelf.env").read_text()
    (stack.password,) = re.findall("ADMIN_PASSWORD=(.*)", env_file)
    page.blocks["Land something"] = page.blocks["Land something"].replace("--events 8000", "--events 40000")
    page.run("Land something")
    landed = page.clone / "data/landing"
    (file,) = (path for path in (landed / f"events/ds={YESTERDAY}").iterdir() if path.name != "_SUCCESS")
    mark, whole = file.with_name("_SUCCESS"), file.read_bytes()
    mark.unlink()
    started(page)
    name = f"scheduled__night-of-{YESTERDAY}"
    wait_until(lambda: run_named(stack, lambda run: run["dag_run_id"] == name), "the scheduled night", 300, 1)
    assert ended(stack, name) == "failed"
    assert stack.task_states(DAG, name)["wait_for_landing"] == "failed"
    (told,) = [notice for notice in notices.of(name) if not notice["event"].startswith("night_")]
    assert f"{mark} is not there after" in told["reason"]
    mark.touch()
    with signed_in(stack) as browser:
        two = [YESTERDAY - timedelta(days=ago) for ago in (3, 2)]
        backfill_by_clicking(browser, stack, *two)
        for day in two:
            name = backfilled(stack, day)
            assert ended(stack, name) == "success", stack.task_states(DAG, name)
            assert notices.of(name) == []
        operator = Faulty(browser, stack, notices)

        pq.write_table(pq.read_table(file).slice(0, 20), file)
        states, (told,) = operator.night(YESTERDAY, "nearly empty day")
        assert states["ingest"] == "failed"
        assert "events, where this weekday usually has" in told["reason"]
        file.write_bytes(whole)

        contract = page.clone / "sql/marts/fallback.yml"
        right = contract.read_text()
        contract.write_text(right.replace("{column: rank, min: 1, max: 200}", "{column: rank, min: 1, max: 2}"))
        states, (told,) = operator.night(YESTERDAY, "failing check")
        assert states["validate"] == "failed"
        assert "marts/fallback" in told["reason"]
        assert "rank=3" in told["reason"]
        contract.write_text(right)

        sell_out(landed / "items", YESTERDAY)
        states, (told,) = operator.night(YESTERDAY, "refused")
        assert states["publish"] == "skipped"
        assert (told["event"], told["ds"]) == ("publish_refused", str(YESTERDAY))
        assert "fallback" in told["reason"] or "not_empty" in told["reason"]


def sell_out(items: Path, day: date) -> None:
    """Land on a day that every item is sold out, with its newest row otherwise."""
    paths = sorted(items.glob("ds=*/*.parquet"))
    catalogue = pa.concat_tables([pq.read_table(path) for path in paths])
    newest = dict(zip(catalogue["item_id"].to_pylist(), range(len(catalogue)), strict=True))
    rows = catalogue.take(list(newest.values()))
    nothing = pa.array([0] * len(rows), rows.schema.field("stock").type)
    for path in items.glob(f"ds={day}/*.parquet"):
        path.unlink()
    (items / f"ds={day}").mkdir(exist_ok=True)
    sold_out = rows.set_column(rows.schema.get_field_index("stock"), "stock", nothing)
    pq.write_table(sold_out, items / f"ds={day}" / "sold-out.parquet")


def processes() -> list[str]:
    """Return the command lines of all processes of Airflow."""
    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if "airflow" in line]
