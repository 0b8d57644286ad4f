"""A night's identity: it changes with what the night is made of, and with nothing else."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from jobs.config.fields import Setting, settings_of
from jobs.config.parameters import Parameters
from jobs.lake.code_version import CodeVersion
from jobs.lake.lake import Lake
from jobs.night.identity import run_id
from serving.snapshot.tombstones import tombstone_line

DS = date(2026, 1, 31)
EARLIER = DS - timedelta(days=1)
EVENTS, ITEMS = "staging/interactions", "staging/items"
LANDED = {f"landing/events/ds={EARLIER}": "f0", f"landing/events/ds={DS}": "f1"}


def stage(lake: Lake, table: str, ds: date, inputs: dict[str, str]) -> None:
    """A staged day without rows, made of these folders."""
    lake.write_days(None, table, [ds], inputs={ds: inputs})


@pytest.fixture
def staged(lake: Lake) -> Lake:
    stage(lake, EVENTS, EARLIER, {f"landing/events/ds={EARLIER}": "f0"})
    stage(lake, EVENTS, DS, LANDED)
    stage(lake, ITEMS, DS, {f"landing/items/ds={DS}": "f2"})
    return lake


def erase(landing: Path, name: str, *users: str) -> None:
    (landing / "tombstones").mkdir(exist_ok=True)
    ts = datetime(2026, 1, 30, tzinfo=UTC).timestamp()
    (landing / "tombstones" / name).write_bytes(b"".join(tombstone_line(user, ts) for user in users))


def identity(lake: Lake, landing: Path, ds: date = DS, parameters: Parameters | None = None) -> str:
    return run_id(lake, ds, parameters or Parameters(), str(landing))


def test_the_same_night_has_the_same_identity_in_another_lake_staged_in_another_order(
    staged: Lake, landing: Path, tmp_path: Path
) -> None:
    other = Lake(str(tmp_path / "other"))
    stage(other, ITEMS, DS, {f"landing/items/ds={DS}": "f2"})
    stage(other, EVENTS, DS, dict(reversed(LANDED.items())))
    stage(other, EVENTS, EARLIER, {f"landing/events/ds={EARLIER}": "f0"})
    assert identity(other, landing) == identity(staged, landing)
    int(identity(staged, landing), 16)


def test_a_folder_counts_once_however_many_days_were_staged_from_it(staged: Lake, landing: Path) -> None:
    before = identity(staged, landing)
    stage(staged, EVENTS, DS, {f"landing/events/ds={DS}": "f1"})  # the earlier day names its folder by itself
    assert identity(staged, landing) == before


@pytest.mark.parametrize(
    ("table", "ds", "inputs"),
    [
        (EVENTS, DS, LANDED | {f"landing/events/ds={DS}": "changed"}),
        (EVENTS, EARLIER, {f"landing/events/ds={EARLIER}": "changed"}),
        (ITEMS, DS, {f"landing/items/ds={DS}": "changed"}),
        (ITEMS, EARLIER, {f"landing/items/ds={EARLIER}": "new"}),
        ("staging/users", DS, {f"landing/users/ds={DS}": "new"}),
        ("staging/exposures", DS, {f"landing/exposures/ds={DS}": "new"}),
    ],
)
def test_a_folder_that_changed_or_came_makes_another_night(
    staged: Lake, landing: Path, table: str, ds: date, inputs: dict[str, str]
) -> None:
    before = identity(staged, landing)
    stage(staged, table, ds, inputs)
    assert identity(staged, landing) != before


def test_fingerprints_that_two_folders_exchange_make_another_night(staged: Lake, landing: Path) -> None:
    before = identity(staged, landing)
    stage(staged, EVENTS, EARLIER, {f"landing/events/ds={EARLIER}": "f1"})
    stage(staged, EVENTS, DS, dict(zip(LANDED, ("f1", "f0"), strict=True)))
    assert identity(staged, landing) != before


def test_what_lands_after_the_day_is_nothing_to_it_but_another_day_is_another_night(
    staged: Lake, landing: Path
) -> None:
    before, after = identity(staged, landing), DS + timedelta(days=1)
    assert identity(staged, landing, after) != before
    stage(staged, EVENTS, after, {f"landing/events/ds={after}": "f9"})
    assert identity(staged, landing) == before
    assert identity(staged, landing, EARLIER) != before


def test_a_folder_without_rows_of_it_is_a_part_of_the_night_only_once_it_is_staged_whole(
    staged: Lake, landing: Path
) -> None:
    before = identity(staged, landing)
    stage(staged, ITEMS, EARLIER, {f"landing/items/ds={EARLIER}": "new"})
    (Path(staged.root) / ITEMS / f"ds={EARLIER}" / "_manifest.json").unlink()
    assert identity(staged, landing) == before


def test_an_erasure_makes_another_night_and_the_files_it_came_in_do_not(staged: Lake, landing: Path) -> None:
    before = identity(staged, landing)
    erase(landing, "2026-01-30.jsonl", "anna")
    one = identity(staged, landing)
    erase(landing, "2026-01-30.jsonl", "anna", "ben")
    both = identity(staged, landing)
    assert len({before, one, both}) == 3
    erase(landing, "2026-01-30.jsonl", "ben")
    erase(landing, "2026-01-31.jsonl", "anna")
    assert identity(staged, landing) == both
    erase(landing, "2026-02-01.jsonl", "anna")  # the same again
    assert identity(staged, landing) == both


def test_every_parameter_that_shapes_a_snapshot_makes_another_night(staged: Lake, landing: Path) -> None:
    default = Parameters()
    settings = [
        setting
        for setting in settings_of(Parameters, "parameters").values()
        if not setting.key.startswith("parameters.report.")
    ]
    identities = {identity(staged, landing)}
    for setting in settings:
        changed = default.with_values({setting.key.removeprefix("parameters."): other_value(setting)})
        identities.add(identity(staged, landing, parameters=changed))
    with_rules = default.with_values({"rules": {"just_bought": {"days": 7}}})
    identities.add(identity(staged, landing, parameters=with_rules))
    assert len(identities) == 2 + len(settings)
    page = default.with_values({"report.currency": "€"})
    assert identity(staged, landing, parameters=page) == identity(staged, landing), "the report shapes no snapshot"


def other_value(setting: Setting) -> object:
    """Return an allowed value that is not the default."""
    if isinstance(setting.default, bool):
        return not setting.default
    if isinstance(setting.default, str):
        return next(word for word in ("none", "fused", "kept") if word in setting.allowed)
    if isinstance(setting.default, int):
        return setting.default + 1
    return setting.default / 2 if setting.default else 1


def test_the_order_in_which_weights_are_named_is_no_difference(staged: Lake, landing: Path) -> None:
    weights = Parameters().ranking.head_weight.model_dump()
    turned = Parameters().with_values({"ranking.head_weight": dict(reversed(weights.items()))})
    assert identity(staged, landing, parameters=turned) == identity(staged, landing)


def test_other_code_makes_another_night(staged: Lake, landing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = identity(staged, landing)
    monkeypatch.setattr("jobs.night.identity.code_of", lambda *modules: CodeVersion("0" * 64, {}))
    assert identity(staged, landing) != before
