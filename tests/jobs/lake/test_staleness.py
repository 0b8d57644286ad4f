"""What makes a day of a table or an artifact stale, and what the log says of it."""

from datetime import date

import numpy as np
import pytest

from jobs.lake import partitions
from jobs.lake.code_version import CodeVersion
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest
from jobs.lake.tables import CONTENT

DS = date(2026, 1, 31)


def build(lake: Lake, inputs: dict[str, str], parameters: dict[str, object]) -> Manifest:
    """Build the artifact if it is stale; each write takes another array, so that a manifest tells which it is."""

    def write() -> Manifest:
        written.append(len(written))
        array = np.full(3, len(written))
        return lake.write_artifact(CONTENT, DS, {"a": array}, inputs=inputs, parameters=parameters)

    return lake.build_if_stale(CONTENT, DS, inputs, parameters, write)


written: list[int] = []


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level("INFO", logger="jobs")
    written.clear()
    return caplog


def test_what_stands_made_of_the_same_is_kept_and_nothing_is_said(lake: Lake, told: pytest.LogCaptureFixture) -> None:
    first = build(lake, {"features/item/ds=2026-01-31": "f"}, {"seed": 7, "wide": (1, 2)})
    assert build(lake, {"features/item/ds=2026-01-31": "f"}, {"seed": 7, "wide": (1, 2)}) == first
    assert len(written) == 1
    assert told.messages == []


@pytest.mark.parametrize(
    ("inputs", "parameters", "why"),
    [
        ({"a": "2"}, {"seed": 7}, "input a changed"),
        ({"a": "1", "b": "1"}, {"seed": 7}, "input b is new"),
        ({}, {"seed": 7}, "input a is gone"),
        ({"a": "1"}, {"seed": 8}, "parameter seed was 7 and is 8"),
        ({"a": "1"}, {}, "parameter seed is gone"),
        ({"a": "1"}, {"seed": 7, "trees": 3}, "parameter trees is new"),
        ({"a": "1"}, {"seed": 7, "trees": None}, "parameter trees is new"),
    ],
)
def test_a_change_builds_it_again_and_the_log_names_it(
    lake: Lake, told: pytest.LogCaptureFixture, inputs: dict[str, str], parameters: dict[str, object], why: str
) -> None:
    build(lake, {"a": "1"}, {"seed": 7})
    build(lake, inputs, parameters)
    assert len(written) == 2
    assert told.messages == [f"artifacts/content/ds=2026-01-31 is built again: {why}"]


def test_a_module_that_changed_is_named_and_of_many_reasons_the_first_three(
    lake: Lake, told: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def code(digest: str, **parts: str) -> None:
        version = CodeVersion(digest, {name.replace("_", "."): value for name, value in parts.items()})
        monkeypatch.setattr(partitions, "builder_version", lambda name: version)

    code("one", jobs_als="1", jobs_gone="1", numpy="2.2", same="1")
    build(lake, {}, {})
    code("two", jobs_als="2", jobs_new="1", numpy="2.3", same="1")
    build(lake, {}, {})
    assert told.messages[-1] == (
        "artifacts/content/ds=2026-01-31 is built again: jobs.als changed; jobs.gone changed; jobs.new changed; "
        "and 1 more"
    )


def test_code_whose_parts_nobody_wrote_down_has_changed_all_the_same(
    lake: Lake, told: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = build(lake, {}, {})
    lake.put_text(f"artifacts/content/ds={DS}/_manifest.json", manifest.to_json().replace(manifest.code, "older"))
    build(lake, {}, {})
    assert told.messages == ["artifacts/content/ds=2026-01-31 is built again: the code changed"]


def test_days_that_share_their_reasons_share_a_line_and_days_that_never_stood_have_none(
    told: pytest.LogCaptureFixture,
) -> None:
    days = [date(2026, 1, day) for day in range(1, 6)]
    changed, new, current = ["jobs.staging.ingest changed"], [partitions.NEVER_BUILT], list[str]()
    reasons = dict(zip(days, (changed, changed, ["input a changed"], new, current), strict=True))
    partitions.log_stale("staging", reasons)
    assert told.messages == [
        "staging/ds=2026-01-01 and 1 more days are built again: jobs.staging.ingest changed",
        "staging/ds=2026-01-03 is built again: input a changed",
    ]


def test_a_changed_table_of_parameters_is_told_by_its_values_and_never_as_a_raw_dict() -> None:
    was = {"rules": {"age": {"limit": 16}, "gone": True, "same": 1}, "lists": [{"a": 1}], "names": ["a"]}
    now = {"rules": {"age": {"limit": 18}, "fresh": 1, "same": 1}, "lists": [{"a": 2}], "names": ["b"]}
    told = Manifest("t", str(DS), 0, {}, parameters=was).differences({}, now)
    assert told == [
        "parameter rules.fresh is new",
        "parameter rules.gone is gone",
        "parameter rules.age.limit was 16 and is 18",
        "parameter lists changed",
        "parameter names was ['a'] and is ['b']",
    ]
