"""Erasures of a host whose landing is on S3: each is there to stay, whatever becomes of the host's own log."""

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from serving.logs import erasures
from serving.logs.erasures import erasure_log, land_erasures
from serving.settings import EndpointSettings
from serving.snapshot.tombstones import tombstone_line
from serving.stores.landed_erasures import landed_tombstones
from serving.stores.s3 import S3Prefix


@pytest.fixture
def settings(archive_url: str, tmp_path: Path) -> EndpointSettings:
    return EndpointSettings("lmdb://none", archive_url, tmp_path / "state", tmp_path / "keys.json")


def erase(settings: EndpointSettings, *users: str) -> None:
    for user in users:
        erasure_log(settings).append(tombstone_line(user, 1_769_940_000.0))


def landed(settings: EndpointSettings, *users: str) -> list[bool]:
    tombstones = landed_tombstones(settings.landing)
    return [tombstones.erased_at(user) is not None for user in users]


def test_a_segment_is_one_object_that_grows_and_the_next_segment_another(
    settings: EndpointSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasures, "_SEGMENT_BYTES", 250)
    for number in range(6):
        erase(settings, f"u-{number}")
        land_erasures(settings)
        assert landed(settings, f"u-{number}") == [True]
    with closing(S3Prefix(settings.landing)) as there:
        assert len(there.keys("tombstones")) == len(erasure_log(settings).segments()) == 2
    assert all(landed(settings, *(f"u-{number}" for number in range(6))))


def test_a_line_that_a_crash_cut_off_is_not_landed_and_asks_nothing_of_s3(
    settings: EndpointSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    erase(settings, "anna")
    with erasure_log(settings).path(1).open("ab") as file:
        file.write(b'{"user_sha256":"torn')
    land_erasures(settings)
    assert landed(settings, "anna") == [True]

    def asked(*_: object) -> None:
        raise AssertionError("S3 is asked for nothing new")

    monkeypatch.setattr(S3Prefix, "__init__", asked)
    land_erasures(settings)


def test_a_state_folder_restored_from_a_backup_takes_no_erasure_back(settings: EndpointSettings) -> None:
    erase(settings, "anna")
    land_erasures(settings)
    backup = settings.state.with_name("backup")
    shutil.copytree(settings.state, backup)
    erase(settings, "ben")
    land_erasures(settings)
    shutil.rmtree(settings.state)
    shutil.copytree(backup, settings.state)
    erase(settings, "cleo")
    land_erasures(settings)
    assert landed(settings, "anna", "ben", "cleo") == [True, True, True]


def test_an_object_that_is_there_though_its_answer_was_lost_is_taken_as_landed(settings: EndpointSettings) -> None:
    erase(settings, "anna")
    land_erasures(settings)
    (settings.state / "erased.landed").unlink()
    land_erasures(settings)
    erase(settings, "ben")
    land_erasures(settings)
    assert landed(settings, "anna", "ben") == [True, True]
