"""The key file: what is refused in it, and what a ring does while it cannot be read."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.api.access import AccessGate
from serving.api.keys import KeyRing, KeysError, create, read_keys, revoke, valid_keys
from serving.api.rates import Rates
from serving.lasting_task import LastingTask
from serving.problems import ProblemError
from tests.serving.disks import fill, small_disk

BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "half a file": lambda good: good[: len(good) // 2],
    "an empty file": lambda _: b"",
    "another kind of JSON": lambda _: b'{"keys": 1}',
    "no text": lambda _: b"\xff\xfe",
    "deep nesting": lambda _: b'{"x":' + b"[" * 50_000,
    "a hash that is none": lambda good: good.replace(b'"sha256": "', b'"sha256": "x'),
    "a hash that is cut": lambda good: good.replace(b'"sha256": "', b'"sha256": "", "was": "'),
    "an unknown scope": lambda good: good.replace(b'"read"', b'"reed"'),
    "a rate that is none": lambda good: good.replace(b"10/second", b"often"),
    "two rates": lambda good: good.replace(b"10/second", b"10/second;100/minute"),
    "a rate of nothing": lambda good: good.replace(b"10/second", b"0/second"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_key_file_is_refused_with_its_path_and_a_remedy(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "keys.json"
    stored, _ = create(path, ("read",), "web", "10/second")
    path.write_bytes(BROKEN[broken](path.read_bytes()))
    with pytest.raises(KeysError, match=r"; (repair it|correct it there)") as raised:
        valid_keys(path)
    assert str(path) in str(raised.value)
    if "correct it there" in str(raised.value):
        assert stored.id in str(raised.value)


def test_a_revoked_key_may_be_as_it_likes(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    stored, _ = create(path, ("read",), "", "10/second")
    revoke(path, stored.id)
    path.write_bytes(BROKEN["two rates"](path.read_bytes()))
    assert valid_keys(path) == {}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_ring_keeps_its_keys_while_the_file_is_broken_and_takes_the_repaired_one(
    tmp_path: Path, broken: str
) -> None:
    path = tmp_path / "keys.json"
    _, secret = create(path, ("read",), "", "10/second")
    good, ring = path.read_bytes(), KeyRing(path)
    path.write_bytes(BROKEN[broken](good))
    for _ in range(3):
        with pytest.raises(KeysError, match=str(path)):
            ring.refresh()
        assert ring.find(f"Bearer {secret}".encode()) is not None
    path.write_bytes(good)
    _, another = create(path, ("read",), "", "10/second")
    ring.refresh()
    assert ring.find(f"Bearer {secret}".encode()) is not None
    assert ring.find(f"Bearer {another}".encode()) is not None


def test_a_broken_file_is_read_once_and_logged_once_for_each_change(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, reads = tmp_path / "keys.json", []
    create(path, ("read",), "", "10/second")
    ring = KeyRing(path)
    monkeypatch.setattr("serving.api.keys.read_keys", lambda path: reads.append(path) or read_keys(path))
    task = LastingTask("keys", "the keys stay", every_s=1.0, longest_wait_s=1.0, expected=(KeysError,))
    for change in range(1, 4):
        path.write_bytes(b"{")
        os.utime(path, (change, change))
        with caplog.at_level(logging.ERROR):
            for _ in range(5):
                with task.attempt():
                    ring.refresh()
        assert task.trouble is not None
        assert len(reads) == len(caplog.records) == change
    assert not any(record.exc_info for record in caplog.records)


def test_a_ring_that_never_read_a_key_says_so_and_opens_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    _, secret = create(path, ("read",), "", "10/second")
    good = path.read_bytes()
    path.write_bytes(b"{")
    ring = KeyRing(path)
    gate = AccessGate(ring, Rates(tmp_path, None), may_be_open=True)
    for authorization in (None, f"Bearer {secret}".encode()):
        with pytest.raises(ProblemError, match="cannot read its keys") as raised:
            gate.authenticate(authorization, b"localhost", "read")
        assert raised.value.status == 503
    path.write_bytes(good)
    ring.refresh()
    assert gate.authenticate(f"Bearer {secret}".encode(), b"localhost", "read") is not None


@pytest.mark.parametrize("rate", ["2000/second;100/minute", "2000/second, 1/day", "0/minute", "", "often"])
def test_a_key_has_one_rate(tmp_path: Path, rate: str) -> None:
    with pytest.raises(KeysError, match="give one limit, such as 2000/second"):
        create(tmp_path / "keys.json", ("read",), "", rate)
    assert not (tmp_path / "keys.json").exists()


def test_a_key_that_cannot_be_stored_is_refused_with_the_path_and_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KeysError, match=f"{tmp_path}/file/keys.json cannot be written: .*; free disk space, or name"):
        create(tmp_path / "file" / "keys.json", ("read",), "", "10/second")
    with small_disk(tmp_path / "disk", 1) as disk:
        path = disk / "keys.json"
        create(path, ("read",), "", "10/second")
        before = path.read_bytes()
        fill(disk)
        with pytest.raises(KeysError, match="No space left on device; free disk space"):
            create(path, ("read",), "", "10/second")
        assert path.read_bytes() == before
