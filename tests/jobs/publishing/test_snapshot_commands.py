"""The commands over snapshots as a person types them."""

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import Result
from typer.testing import CliRunner

from jobs.cli import app
from jobs.night.gauges import write_refused
from jobs.publishing.publish import publish
from serving.snapshot.tombstones import tombstone_line
from serving.stores import open_store
from tests.serving.small_shop import night, version

D1, D2, D3 = "2026-01-01", "2026-01-02", "2026-01-03"
Command = Callable[..., Result]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store with two nights, and a third that its gates held back."""
    url = f"lmdb://{tmp_path}/store"
    with closing(open_store(url)) as store:
        publish(night(D1, metrics={"holdout": {"all": {"ndcg@20": 0.31}}}), store)
        publish(night(D2), store)
        publish(night(D3, n_users=20), store)
    return url


@pytest.fixture
def topshelf(url: str, landing: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("TOPSHELF_STORE", url)
    monkeypatch.setenv("TOPSHELF_LANDING", str(landing))
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *words: CliRunner().invoke(app, words)


def live(url: str) -> str | None:
    with closing(open_store(url)) as store:
        return store.pointer().live


def test_snapshots_lists_each_version_with_its_state_size_metrics_and_failed_gates(topshelf: Command) -> None:
    lines = [line for line in topshelf("snapshots").output.splitlines() if "2026-" in line]
    first, second, third = (next(line for line in lines if f" {version(day)} " in line) for day in (D1, D2, D3))
    assert " before " in first
    assert "ndcg@20 0.3100" in first
    assert " live " in second
    assert " 60 " in second
    assert " 100 " in second
    assert "kB" in second
    assert "gates passed" in second
    assert " stored " in third
    assert "gates failed (users: 60 in" in third


def test_show_prints_titles_and_ids_as_they_are(topshelf: Command, tmp_path: Path) -> None:
    contents = night(D1, n_users=3, n_items=8, top_n=8)
    titles = ["Mug [/sale]", "Hub [usb-c]", "[b]Pan[/b]", ":coffee: cup", "\x1b[2Jgone", "[bold", "\\[x]", "]"]
    contents = replace(contents, items=contents.items.set_column(2, "title", pa.array(titles)))
    url = f"lmdb://{tmp_path}/titles"
    with closing(open_store(url)) as store:
        publish(contents, store)
    shown = topshelf("show", "user-1", "--store", url).output
    for title in (*titles[:4], r"\x1b[2Jgone", *titles[5:]):
        assert f" {title} " in shown


def test_an_empty_store_says_how_to_fill_it(topshelf: Command, tmp_path: Path) -> None:
    found = topshelf("snapshots", "--store", f"lmdb://{tmp_path}/empty")
    assert "run topshelf nightly --ds DAY" in found.output


def test_rollback_promote_pin_and_unpin_say_what_is_live(topshelf: Command, url: str) -> None:
    assert f"{version(D1)} is live again in place of {version(D2)}" in topshelf("rollback").output
    assert live(url) == version(D1)
    assert topshelf("promote", version(D3)).output == f"{version(D3)} is live\n"
    assert "pinned: nights still publish" in topshelf("pin", version(D2)).output
    refused = topshelf("promote", version(D1))
    assert "topshelf unpin" in str(refused.exception)
    assert live(url) == version(D2)
    assert f"{version(D2)} is live until the next night" in topshelf("unpin").output


def test_a_version_that_is_not_there_is_answered_with_those_that_are(topshelf: Command) -> None:
    for command in ("promote", "pin"):
        assert f"it holds {version(D1)}" in str(topshelf(command, "2026-01-09-nothere").exception)
    assert "topshelf snapshots" in str(topshelf("diff", version(D1), "2026-01-09-nothere").exception)


def test_diff_tells_users_shelves_items_and_scores(topshelf: Command) -> None:
    told = topshelf("diff", version(D1), version(D3)).output
    assert "60 → 20: 0 added, 40 removed" in told
    assert "100 → 100: 0 added, 0 removed" in told
    assert "overlap of the first 10, of all" in told


def test_export_writes_the_named_version_and_the_live_one(topshelf: Command, tmp_path: Path) -> None:
    for words, users in ((), 60), (("--version", version(D3)), 20):
        path = tmp_path / f"{users}.jsonl"
        assert f"the shelves of {users} users" in topshelf("export", str(path), *words).output
        shelves = [json.loads(line) for line in path.read_text().splitlines()]
        assert len(shelves) == users
        assert all(len(shelf["items"]) == 20 for shelf in shelves)


def test_export_and_show_give_no_shelf_of_an_erased_user(topshelf: Command, landing: Path, tmp_path: Path) -> None:
    (landing / "tombstones").mkdir()
    (landing / "tombstones" / "host.jsonl").write_bytes(tombstone_line("user-1", 1.8e9))
    topshelf("export", f"{tmp_path}/all.jsonl")
    assert '"user-2"' in (tmp_path / "all.jsonl").read_text()
    assert '"user-1"' not in (tmp_path / "all.jsonl").read_text()
    assert "holds no shelf of 'user-1'" in str(topshelf("show", "user-1").exception)
    assert "20 items" in topshelf("show", "user-2").output
    for words in (("export", f"{tmp_path}/b.jsonl"), ("show", "user-2")):
        refused = topshelf(*words, "--landing", f"{tmp_path}/nowhere").exception
        assert "nowhere is not there, so it is not known who was erased" in str(refused)


def test_without_an_archive_the_archive_commands_say_how_to_name_one(topshelf: Command) -> None:
    for words in (("archive",), ("archive", "--list"), ("restore", version(D1))):
        assert "TOPSHELF_ARCHIVE" in str(topshelf(*words).exception)


def test_the_gauge_of_a_refusal_follows_whoever_moves_the_pointer_and_no_older_day(
    topshelf: Command, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOPSHELF_METRICS_DIR", str(tmp_path / "metrics"))

    def refused() -> float:
        text = (tmp_path / "metrics/topshelf_night_snapshots.prom").read_text()
        return float(text.splitlines()[-1].removeprefix("topshelf_night_refused "))

    write_refused(url)  # as a night does, also one of an older day
    assert refused() == 1
    topshelf("promote", version(D1))
    assert refused() == 1  # the newest night is still held back
    topshelf("promote", version(D3))
    assert refused() == 0
    topshelf("rollback")
    assert refused() == 1
