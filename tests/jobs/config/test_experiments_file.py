"""A file of experiments: each fault is told with its line and its remedy."""

from datetime import date
from pathlib import Path

import pytest

from jobs.config.experiments import Experiments
from jobs.config.experiments_file import ExperimentsFileError, read_experiments
from jobs.config.parameters import Parameters

GOOD = """experiments:
  varied-head:
    layer: ranking
    from: 2026-03-01
    to: 2026-03-28
    arms:
      control: {}
      varied:
        parameters:
          shelves.blend.mmr_lambda: 0.5
    shares:
      control: 0.1
      varied: 0.1
    primary: revenue
    secondary: [ctr]
    guardrails: {conversion: 0.02}
"""
MORE = """
  more-new:
    layer: exploring
    unit: request
    from: 2026-03-05
    to: 2026-03-20
    arms:
      control: {}
      more: {endpoint: {explore_share: 0.2}}
    shares:
      2026-03-05: {control: 0.2, more: 0.2}
      2026-03-10: {control: 0.5, more: 0.5}
"""
MIXED = """
  two-rankers:
    layer: ranking
    kind: interleave
    from: 2026-03-01
    to: 2026-03-28
    arms:
      control: {}
      clicks: {parameters: {ranking: {head_weight: {click: 0.3}}}, rules: {just_bought: {days: 7}}}
    shares: {interleaved: 0.2}
"""


@pytest.fixture
def read(tmp_path: Path):
    def of(text: str, **parameters: object) -> Experiments:
        (tmp_path / "experiments.yaml").write_text(text)
        shop = Parameters().with_values({"ranking.head_weight.click": 0.01} | parameters)
        return read_experiments(str(tmp_path / "experiments.yaml"), shop)

    return of


def test_what_is_declared_is_read(read) -> None:
    declared = read(GOOD + MORE + MIXED)
    head = declared.experiments["varied-head"]
    assert head.control == "control" and head.arms["varied"].parameters == {"shelves.blend.mmr_lambda": 0.5}
    assert head.shares == {date(2026, 3, 1): {"control": 0.1, "varied": 0.1}}, (
        "shares without a day hold from the first"
    )
    assert declared.experiments["more-new"].shares_on(date(2026, 3, 12)) == {"control": 0.5, "more": 0.5}
    assert declared.experiments["more-new"].shares_on(date(2026, 3, 21)) == {}
    mixed = declared.experiments["two-rankers"]
    assert mixed.choices == ["interleaved"]
    assert mixed.arms["clicks"].parameters == {"ranking.head_weight.click": 0.3}
    assert mixed.arms["clicks"].rules == {"just_bought": {"days": 7}}
    assert sorted(declared.running(date(2026, 3, 2))) == ["two-rankers", "varied-head"]


def test_an_empty_file_has_none(read) -> None:
    assert read("") == read("# nothing yet\n") == Experiments()


FAULTS = {
    "shares that overlap": (
        GOOD + MIXED.replace("0.2}", "0.9}"),
        r"line \d+: experiments, varied-head, shares overlap on 2026-03-01: two-rankers 90.00% and varied-head 20",
    ),
    "shares above one": (GOOD.replace("varied: 0.1", "varied: 0.95"), r"overlap on 2026-03-01.*be 1 at most"),
    "an arm that nobody can reach": (
        GOOD.replace("      varied: 0.1\n", ""),
        r"line 11: experiments, varied-head, shares give varied nothing, so nobody can reach it",
    ),
    "a share too small for one bucket": (GOOD.replace("varied: 0.1", "varied: 0.00001"), "give varied nothing"),
    "an unknown metric": (
        GOOD.replace("revenue", "joy"),
        r"line 14: .*primary is 'joy'; use 'revenue' or 'conversion'",
    ),
    "dates turned round": (GOOD.replace("03-28", "02-01"), r"line 5: .*to is 2026-02-01, before from; swap"),
    "a day that is none": (GOOD.replace("2026-03-28", "2026-02-30"), r"line 5: .*to is '2026-02-30'"),
    "a missing word": (GOOD.replace("    layer: ranking\n", ""), r"line 2: .*layer is missing"),
    "an unknown word": (GOOD.replace("layer:", "layers:"), r"(layers is not known|layer is missing)"),
    "one arm": (GOOD.replace("      control: {}\n", "").replace("      control: 0.1\n", ""), r"line 6: .*is one arm"),
    "twice the same arm": (
        GOOD.replace("      control: {}\n", "      control: {}\n      other: {}\n").replace(
            "varied: 0.1", "other: 0.1"
        ),
        r"other changes what control changes",
    ),
    "an unknown parameter": (
        GOOD.replace("mmr_lambda", "mmr"),
        r"line 10: .*shelves.blend.mmr is no parameter; `topshelf config` lists",
    ),
    "a parameter that all arms share": (
        GOOD.replace("shelves.blend.mmr_lambda: 0.5", "models.als.factors: 32"),
        r"line 10: .*shapes what all arms share; an arm may change shelves.blend,",
    ),
    "a value out of bounds": (GOOD.replace("0.5", "5"), r"line 10: .*is '5'; give a number from 0 to 1"),
    "a head that is not trained": (
        GOOD.replace("shelves.blend.mmr_lambda", "ranking.head_weight.revenue"),
        r"weighs revenue, which the night does not learn.*give parameters.ranking.head_weight.revenue a weight",
    ),
    "shares that begin late": (
        GOOD.replace(
            "    shares:\n      control: 0.1\n      varied: 0.1",
            "    shares: {2026-03-02: {control: 0.1, varied: 0.1}}",
        ),
        r"shares do not begin with from; say the shares of 2026-03-01",
    ),
    "a step after the end": (
        MORE.replace("\n  more", "experiments:\n  more").replace("2026-03-10:", "2026-03-30:"),
        r"2026-03-30 lies outside the experiment's days; use 2026-03-05 to 2026-03-20",
    ),
    "an unknown arm in shares": (
        GOOD.replace("varied: 0.1", "varid: 0.1"),
        r"varid is no arm of it; use control, varied",
    ),
    "two units in a layer": (
        GOOD + MORE.replace("exploring", "ranking"),
        r"unit is (user|request), and that of .* put them into two",
    ),
    "two that contradict each other": (
        GOOD
        + GOOD.replace("experiments:\n", "").replace("varied-head", "again").replace("layer: ranking", "layer: two"),
        r"change shelves.blend.mmr_lambda, as those of .* do at the time; put the two into one layer",
    ),
    "two that interleave": (
        "experiments:" + MIXED + MIXED.replace("two-rankers", "again").replace("layer: ranking", "layer: two"),
        r"both interleave at a time; put experiments that interleave into one layer",
    ),
    "a name that is none": (GOOD.replace("varied-head", "Varied Head"), r"Varied Head is no name; use up to 40 of"),
    "a mapping that is none": ("- varied-head\n", r"is no mapping; begin with `experiments:`"),
    "no YAML": ("experiments: [", r"this is no YAML .*docs/experiments.md shows"),
    "an experiment twice": (GOOD + GOOD.replace("experiments:\n", ""), r"varied-head stands there twice"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_with_its_place_and_its_remedy(read, fault: str) -> None:
    text, told = FAULTS[fault]
    with pytest.raises(ExperimentsFileError, match=told) as caught:
        read(text)
    assert "experiments.yaml" in str(caught.value)


def test_a_file_that_is_missing_says_which_variable_names_it() -> None:
    with pytest.raises(ExperimentsFileError, match=r"gone\.yaml cannot be read .*TOPSHELF_EXPERIMENTS"):
        read_experiments("gone.yaml", Parameters())
