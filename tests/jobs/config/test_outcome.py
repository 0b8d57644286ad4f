"""The outcome's file holds what Airflow's tasks need, however long the reason is."""

import json
from pathlib import Path

import pytest

from jobs.config.outcome import LIMIT_BYTES, write_outcome


@pytest.mark.parametrize("letter", ["a", "é", "🙂", '"'], ids=["ascii", "accent", "emoji", "quote"])
def test_a_long_reason_is_cut_so_that_kubernetes_keeps_the_rest(
    letter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "outcome.json"
    monkeypatch.setenv("TOPSHELF_OUTCOME", str(file))
    write_outcome(letter * 5000, lasting=True)
    assert LIMIT_BYTES - 50 < file.stat().st_size <= LIMIT_BYTES
    outcome = json.loads(file.read_bytes())
    assert outcome["lasting"] is True
    assert set(outcome["reason"]) == {letter, "…"}
    assert outcome["reason"].endswith("…")


def test_a_reason_that_fits_is_kept_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOPSHELF_OUTCOME", str(tmp_path / "outcome.json"))
    write_outcome("é" * 600, promoted=True, users=8)
    assert json.loads((tmp_path / "outcome.json").read_bytes()) == {"reason": "é" * 600, "promoted": True, "users": 8}
