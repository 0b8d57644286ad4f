"""A plan before the start: traffic as a hand counts it, and the sample that the statistics ask for."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jobs.config.experiments import Experiment
from jobs.experiments.plan import PlanError, Traffic, plan, read_traffic
from jobs.lake.lake import Lake
from jobs.statistics.planning import units_needed
from tests.jobs.evaluation.three_shoppers import put
from tests.jobs.experiments.declared import VARIED_HEAD, declared

DS = date(2026, 1, 31)
FILE = VARIED_HEAD + "    shares: {control: 0.25, varied: 0.25}\n"


def experiment(tmp_path: Path, text: str = FILE) -> Experiment:
    return declared(tmp_path, text).experiments["varied-head"]


def events(*rows: tuple[str | None, str, str | None, int | None]) -> pa.Table:
    columns = list(zip(*rows, strict=True))
    return pa.table(
        {
            "user_id": pa.array(columns[0], pa.string()),
            "event_type": pa.array(columns[1], pa.string()),
            "quantity": pa.array([None if q is None else Decimal(q) for q in columns[2]], pa.decimal128(18, 3)),
            "unit_price_minor": pa.array(columns[3], pa.int64()),
        }
    )


def test_traffic_is_what_a_hand_counts(lake: Lake) -> None:
    put(lake, "staging/interactions", DS - timedelta(days=9), events(("zoe", "purchase", "1", 9_900)))
    put(
        lake,
        "staging/interactions",
        DS - timedelta(days=1),
        events(("ann", "view", None, None), (None, "purchase", "1", 500), ("bob", "purchase", "2.5", 200)),
    )
    put(
        lake,
        "staging/interactions",
        DS,
        events(("ann", "purchase", None, 700), ("bob", "purchase", "1", None), ("eve", "click", None, None)),
    )
    traffic = read_traffic(lake, DS, 7)
    assert traffic.days == [DS - timedelta(days=1), DS]
    assert traffic.users_by_day.tolist() == [2, 3], "a visitor without an id is no unit"
    assert sorted(traffic.values["conversion"].tolist()) == [0, 1, 1]
    assert sorted(traffic.values["revenue"].tolist()) == [0, 500, 700]


def test_without_any_event_it_says_what_to_run(lake: Lake) -> None:
    with pytest.raises(PlanError, match=r"no event up to 2026-01-31 is staged; run topshelf stage ingest"):
        read_traffic(lake, DS, 7)


@pytest.fixture
def traffic() -> Traffic:
    draw = np.random.default_rng(5)
    bought = (draw.random(20_000) < 0.1).astype(float)
    days = [DS - timedelta(days=back) for back in range(27, -1, -1)]
    seen = np.round(20_000 * (1 - np.exp(-np.arange(1, 29) / 9)))
    return Traffic(days, seen, {"conversion": bought, "revenue": bought * draw.lognormal(3, 1, 20_000)})


def test_a_plan_asks_for_what_the_statistics_ask_for(traffic: Traffic, tmp_path: Path) -> None:
    found = plan(experiment(tmp_path, FILE + "    effect: 0.2\n    looks: at_the_end\n"), traffic)
    bought = traffic.values["conversion"]
    expected = units_needed(
        variance=float(bought.var(ddof=1)),
        smallest_effect=0.2 * float(bought.mean()),
        shares={"control": 1, "new": 1},
    )
    assert found.users_needed == expected.units
    assert found.days_planned == 28 and found.users_planned == traffic.users_by_day[27] / 2
    told = "\n".join(found.lines("varied-head"))
    assert f"{expected.units:,} shoppers" in told and "conversion" in told and "from 2026-01-04 to 2026-01-31" in told


def test_looking_more_often_and_for_less_needs_more(traffic: Traffic, tmp_path: Path) -> None:
    needed = {
        looks: plan(experiment(tmp_path, f"{FILE}    looks: {looks}\n"), traffic).users_needed
        for looks in ("at_the_end", "every_night", "any_time")
    }
    assert needed["at_the_end"] < needed["every_night"] < 1.1 * needed["at_the_end"] < needed["any_time"]
    smaller = plan(experiment(tmp_path, FILE + "    effect: 0.025\n"), traffic).users_needed
    assert smaller == pytest.approx(4 * needed["every_night"], rel=0.01)


def test_a_change_as_large_as_the_plan_can_show_is_one_that_its_shoppers_suffice_for(
    traffic: Traffic, tmp_path: Path
) -> None:
    first = plan(experiment(tmp_path), traffic)
    asked = experiment(tmp_path).model_copy(update={"effect": first.detectable})
    assert plan(asked, traffic).users_needed == pytest.approx(first.users_planned, rel=0.01)
    assert "it is too short" in first.lines("x")[-1]
    wider = asked.model_copy(update={"effect": 2 * first.detectable})
    assert "it is long enough" in plan(wider, traffic).lines("x")[-1]


def test_what_cannot_be_planned_says_why(traffic: Traffic, tmp_path: Path) -> None:
    one = experiment(tmp_path)
    with pytest.raises(PlanError, match="for A/B tests of shoppers"):
        plan(one.model_copy(update={"unit": "request"}), traffic)
    nobody = replace(traffic, values={"conversion": np.zeros(10), "revenue": np.zeros(10)})
    with pytest.raises(PlanError, match="the last 28 days have no conversion"):
        plan(one, nobody)
    ended = one.model_copy(update={"shares": {one.first_day: {"control": 0.5, "varied": 0.0}}})
    with pytest.raises(PlanError, match="control and another arm need a share above 0"):
        plan(ended, traffic)
