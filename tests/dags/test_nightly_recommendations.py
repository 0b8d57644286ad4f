"""The night's DAG: its day, its order, its stages."""

from pathlib import Path
from typing import Any

import pytest
from jinja2 import Template

from jobs.commands.night import NOT_YET_STATUS, REFUSED_STATUS
from jobs.night.stages import STAGES
from tests.dags.conftest import load

Found = dict[str, Any]
LIGHT = ("wait_for_landing", "publish", "report")
"""Tasks that leave the machine to others."""


@pytest.fixture
def night(found: Found) -> dict[str, Any]:
    return dict(found["dags"]["nightly_recommendations"])


def stages_of(task: dict[str, Any]) -> list[str]:
    return list((task["command"] or "").partition("--stages ")[2].replace(",", " ").split())


def test_a_day_is_an_interval_that_ends_at_midnight_utc(night: dict[str, Any]) -> None:
    assert night["timetable"] == "NightTimetable"
    assert night["schedule"] == "0 0 * * *"


def test_the_tasks_run_every_stage_of_the_night_once_and_in_its_order(night: dict[str, Any]) -> None:
    ran = [stage for name in night["order"] for stage in stages_of(night["tasks"][name])]
    assert sorted(ran) == sorted(stage.name for stage in STAGES)
    before = {name: set(night["tasks"][name]["after"]) for name in night["order"]}
    for name in night["order"]:
        for earlier in tuple(before[name]):
            before[name] |= before[earlier]
    place = {stage: name for name in night["order"] for stage in stages_of(night["tasks"][name])}
    needs = [("ingest", "features"), ("features", "train_cf"), ("label_windows", "train_ranker")]
    needs += [("train_cf", "candidates"), ("train_ranker", "rank"), ("rank", "validate"), ("validate", "publish")]
    for first, then in needs:
        assert place[first] == place[then] or place[first] in before[place[then]], (first, then)


def test_it_first_waits_for_the_landing_without_holding_a_worker_and_not_for_ever(night: dict[str, Any]) -> None:
    wait = night["tasks"][night["order"][0]]
    assert night["order"][0] == "wait_for_landing"
    assert wait["deferrable"]
    assert wait["timeout_of_wait_s"] == 6 * 3600


def test_landing_in_a_bucket_is_waited_for_as_well(airflow_home: Path) -> None:
    there = load(airflow_home, TOPSHELF_LANDING="s3://shop/landing")
    assert there["errors"] == {}
    assert there["dags"]["nightly_recommendations"]["order"][0] == "wait_for_landing"


def test_what_fills_the_machine_takes_a_slot_of_the_pool(night: dict[str, Any]) -> None:
    for name, task in night["tasks"].items():
        assert task["pool"] == ("default_pool" if name in LIGHT else "topshelf_heavy"), name


def test_what_is_published_is_an_asset_and_a_refusal_is_told(night: dict[str, Any], found: Found) -> None:
    assert night["tasks"]["publish"]["outlets"] == ["top_n_promotion"]
    assert night["tasks"]["publish"]["tells_of_skip"] == ["publish_refused"]
    assert found["statuses"] == {"REFUSED_STATUS": REFUSED_STATUS, "NOT_YET_STATUS": NOT_YET_STATUS}
    assert night["deadlines_s"] == [3 * 3600, 6 * 3600]


def test_a_first_night_is_caught_up_from_when_a_deployment_names_one(airflow_home: Path) -> None:
    there = load(airflow_home, TOPSHELF_FIRST_NIGHT="2026-03-01")["dags"]["nightly_recommendations"]
    assert (there["catchup"], there["start"]) == (True, "2026-03-01")


@pytest.mark.parametrize(
    ("run_type", "params", "day"),
    [
        ("scheduled", {}, "2026-01-31"),
        ("backfill", {"ds": "2026-02-07"}, "2026-01-31"),
        ("manual", {"ds": "2026-02-07"}, "2026-02-07"),
        ("asset_triggered", {"ds": None}, ""),
    ],
)
def test_the_day_is_the_intervals_where_there_is_one_and_else_must_be_said(
    night: dict[str, Any], run_type: str, params: dict[str, str | None], day: str
) -> None:
    template = night["tasks"]["ingest"]["env"]["TOPSHELF_DS"]
    assert Template(template).render(ds="2026-01-31", dag_run={"run_type": run_type}, params=params) == day
