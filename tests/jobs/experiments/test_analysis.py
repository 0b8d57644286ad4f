"""What a night says of an experiment whose truth is planted: the verdict, its reasons, and what it was made from."""

import shutil
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jobs.config.experiments import Experiment
from jobs.experiments.analysis import analyse, analyse_all, counts_since
from jobs.experiments.outcome import ExperimentOutcome, ExperimentOutcomes
from jobs.lake.lake import Lake
from jobs.lake.tables import EXPERIMENT_UNITS, INTERACTIONS
from tests.jobs.evaluation.three_shoppers import put
from tests.jobs.experiments.declared import VARIED_HEAD, declared
from tests.jobs.experiments.played import FIRST, play, unit_rows, write_day

HALVES = VARIED_HEAD + "    shares: {control: 0.5, varied: 0.5}\n"
LAST = FIRST + timedelta(days=27)
SAME = {"control": 0.05, "varied": 0.05}
BETTER = {"control": 0.05, "varied": 0.09}
WORSE = {"control": 0.09, "varied": 0.05}


def one(folder: Path, text: str = HALVES) -> Experiment:
    return declared(folder, text).experiments["varied-head"]


def word(outcome: ExperimentOutcome, arm: str = "varied") -> str:
    return next(of.word for of in outcome.verdicts if of.arm == arm)


@pytest.mark.parametrize(
    ("rates", "days", "expected"),
    [(BETTER, 14, "ship"), (WORSE, 14, "stop"), (SAME, 14, "go on"), (BETTER, 1, "go on")],
)
def test_the_verdict_is_what_was_planted(
    lake: Lake, tmp_path: Path, rates: dict[str, float], days: int, expected: str
) -> None:
    play(lake, days, rates)
    outcome = analyse(lake, "varied-head", one(tmp_path), FIRST + timedelta(days=days - 1))
    assert word(outcome) == expected, outcome.verdicts
    assert len(outcome.looks["varied"]) == days
    assert outcome.since == FIRST
    assert sum(outcome.units.values()) == pytest.approx(4_000 * (1 - (2 / 3) ** days), rel=0.03)


def test_at_the_end_an_effect_that_was_asked_for_is_ruled_out_or_it_cannot_be_told(
    lake: Lake, tmp_path: Path
) -> None:
    play(lake, 28, SAME)
    small = analyse(lake, "varied-head", one(tmp_path, HALVES + "    effect: 0.01\n"), LAST)
    large = analyse(lake, "varied-head", one(tmp_path, HALVES + "    effect: 0.5\n"), LAST)
    assert (word(small), word(large)) == ("cannot tell", "stop")
    assert "ruled out" in large.verdicts[0].reasons[0]


def test_arms_that_lost_units_get_no_verdict_and_the_device_is_named(lake: Lake, tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    ids = [f"u{number}" for number in range(6_000)]
    arm = np.array(["control", "varied"])[np.arange(6_000) % 2]
    device = np.array(["phone", "desktop"])[(np.arange(6_000) // 2) % 2]
    lost = (arm == "varied") & (device == "phone") & (draw.random(6_000) < 0.3)
    kept = np.flatnonzero(~lost)
    rows = unit_rows(
        "varied-head",
        [ids[n] for n in kept],
        arm[kept].tolist(),
        device=device[kept].tolist(),
        order_count=draw.random(len(kept)) < 0.1,
    )
    write_day(lake, FIRST, rows)
    outcome = analyse(lake, "varied-head", one(tmp_path), FIRST)
    assert word(outcome) == "cannot tell"
    assert {name for name, of in outcome.segments.items() if of.is_mismatch} == {"all", "phone"}
    assert "on phone, the arms did not get the declared shares" in " ".join(outcome.verdicts[0].reasons)


def test_a_broken_guardrail_stops_an_arm_that_sells_more(lake: Lake, tmp_path: Path) -> None:
    play(lake, 14, BETTER, filled={"control": 0.1, "varied": 0.2})
    text = HALVES + "    guardrails: {degraded_share: 0.1, ctr: 0.5}\n    secondary: [ctr, revenue]\n"
    outcome = analyse(lake, "varied-head", one(tmp_path, text), FIRST + timedelta(days=13))
    assert word(outcome) == "stop"
    assert "degraded_share is worse by more than its margin" in outcome.verdicts[0].reasons[0]
    says = {(of.metric, of.role): of.says for of in outcome.effects}
    assert says["degraded_share", "guardrail"].startswith("is broken")
    assert says["ctr", "guardrail"].startswith("holds")
    assert says["revenue", "secondary"].startswith("revenue rose by")
    assert any("what one spent above" in note for note in outcome.notes)


def test_a_guardrail_that_has_nothing_to_divide_by_is_open_and_keeps_an_arm_from_being_shipped(
    lake: Lake, tmp_path: Path
) -> None:
    play(lake, 14, BETTER)
    text = HALVES + "    guardrails: {ctr: 0.5}\n"
    for day in (FIRST + timedelta(days=n) for n in range(14)):
        rows = lake.arrow(EXPERIMENT_UNITS, day)
        nothing = pa.array(np.zeros(len(rows)))
        for name in ("exposure_count", "click_count"):
            rows = rows.set_column(rows.schema.get_field_index(name), name, nothing)
        shutil.rmtree(Path(lake.root) / EXPERIMENT_UNITS / f"ds={day}")
        put(lake, EXPERIMENT_UNITS, day, rows)
    outcome = analyse(lake, "varied-head", one(tmp_path, text), FIRST + timedelta(days=13))
    assert word(outcome) == "go on"
    assert "a guardrail is open" in outcome.verdicts[0].reasons[0]
    assert [of.metric for of in outcome.effects] == ["conversion"]


def test_units_in_two_arms_are_left_out_and_many_of_them_withhold_the_verdict(lake: Lake, tmp_path: Path) -> None:
    ids = [f"u{number}" for number in range(1_000)]
    write_day(lake, FIRST, unit_rows("varied-head", ids, ["control", "varied"] * 500))
    write_day(lake, FIRST + timedelta(days=1), unit_rows("varied-head", ids[:30], ["varied"] * 30))
    outcome = analyse(lake, "varied-head", one(tmp_path), FIRST + timedelta(days=1))
    assert outcome.units == {"control": 485, "varied": 500}
    assert outcome.verdicts[0].reasons == ["15 of 1,000 units were seen in two arms; find out why first"]


def test_few_units_are_not_looked_at_though_they_differ_without_any_variance(lake: Lake, tmp_path: Path) -> None:
    ids = [f"u{number}" for number in range(100)]
    arm = ["control", "varied"] * 50
    write_day(lake, FIRST, unit_rows("varied-head", ids, arm, order_count=[of == "varied" for of in arm]))
    outcome = analyse(lake, "varied-head", one(tmp_path), FIRST)
    assert (word(outcome), outcome.effects) == ("go on", [])
    assert outcome.verdicts[0].reasons == ["50 units have come to control and 50 to varied, too few to compare"]


def test_nobody_has_come_yet(lake: Lake, tmp_path: Path) -> None:
    write_day(lake, FIRST, unit_rows("another", ["u"], ["control"]))
    outcome = analyse(lake, "varied-head", one(tmp_path), FIRST)
    assert (word(outcome), outcome.units) == ("go on", {"control": 0, "varied": 0})


def test_what_was_bought_before_makes_the_interval_narrower(lake: Lake, tmp_path: Path) -> None:
    draw = np.random.default_rng(8)
    ids = [f"u{number}" for number in range(4_000)]
    spends = np.round(draw.lognormal(5, 1, 4_000))
    rows = unit_rows(
        "varied-head", ids, ["control", "varied"] * 2_000, revenue_minor=spends + draw.integers(0, 200, 4_000)
    )
    write_day(lake, FIRST, rows)
    experiment = one(tmp_path, HALVES + "    primary: revenue\n    looks: any_time\n")
    plain = analyse(lake, "varied-head", experiment, FIRST)
    before = pa.table(
        {
            "user_id": ids,
            "event_type": ["purchase"] * 4_000,
            "quantity": pa.array([None] * 4_000, pa.decimal128(18, 3)),
            "unit_price_minor": pa.array(spends.astype(int)),
        }
    )
    put(lake, INTERACTIONS, FIRST - timedelta(days=3), before)
    adjusted = analyse(lake, "varied-head", experiment, FIRST)
    wide, narrow = ((of.high or 0) - (of.low or 0) for of in (plain.effects[0], adjusted.effects[0]))
    assert narrow < 0.3 * wide
    assert any("Purchases before the start explain 9" in note for note in adjusted.notes)


def test_days_before_the_proportions_changed_do_not_count(lake: Lake, tmp_path: Path) -> None:
    text = VARIED_HEAD + "    shares:\n      2026-03-01: {control: 0.1, varied: 0.1}\n"
    grows = text + "      2026-03-08: {control: 0.2, varied: 0.2}\n"
    changes = grows + "      2026-03-15: {control: 0.2, varied: 0.4}\n"
    assert counts_since(one(tmp_path, grows), LAST) == FIRST, "both grow alike"
    assert counts_since(one(tmp_path, changes), date(2026, 3, 14)) == FIRST
    assert counts_since(one(tmp_path, changes), date(2026, 3, 15)) == date(2026, 3, 15)
    play(lake, 16, SAME)
    outcome = analyse(lake, "varied-head", one(tmp_path, changes), date(2026, 3, 16))
    assert outcome.since == date(2026, 3, 15)
    assert len(outcome.looks["varied"]) == 2
    assert outcome.notes[0].startswith("Counts from 2026-03-15")


INTERLEAVED = VARIED_HEAD.replace("    arms:", "    kind: interleave\n    shares: {interleaved: 0.2}\n    arms:")


@pytest.mark.parametrize(("share", "expected"), [(0.6, "ship"), (0.4, "stop"), (0.5, "go on")])
def test_an_interleaving_is_judged_by_its_credit(lake: Lake, tmp_path: Path, share: float, expected: str) -> None:
    draw = np.random.default_rng(5)
    for number in range(7):
        to_varied = draw.random(400) < share
        ids = [f"u{n}" for n in draw.permutation(2_000)[:400]]
        rows = unit_rows(
            "varied-head",
            [*ids, *ids],
            ["control"] * 400 + ["varied"] * 400,
            credit=np.concatenate([~to_varied, to_varied]),
        )
        write_day(lake, FIRST + timedelta(days=number), rows)
    outcome = analyse(lake, "varied-head", one(tmp_path, INTERLEAVED), FIRST + timedelta(days=6))
    assert word(outcome) == expected, outcome.verdicts
    assert outcome.notes[0].startswith("2,800 answers were clicked")


def test_the_record_is_read_back_as_it_was_written(lake: Lake, tmp_path: Path) -> None:
    play(lake, 3, BETTER)
    day = FIRST + timedelta(days=2)
    outcomes = analyse_all(lake, declared(tmp_path, HALVES), day)
    outcomes.write(lake, day)
    assert ExperimentOutcomes.read(lake, day) == outcomes
    assert outcomes.experiments["varied-head"].lines("varied-head")[0].startswith("varied-head, varied: go on: ")
