"""`python -m serving serve`: when it refuses to start, and how it ends."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.serving.disks import fill, small_disk
from tests.serving.running import SOON_S, publish_night, serving, within
from tests.serving.servers import free_port


def refused(folder: Path, *options: str) -> str:
    """Start an endpoint that is to end at once; return what it says."""
    command = [sys.executable, "-m", "serving", "serve", "--port", str(free_port())]
    command += ["--store", f"lmdb://{folder}/store", "--landing", f"{folder}/landing", "--state", f"{folder}/state"]
    command += options
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    return done.stderr


def test_it_does_not_start_on_a_full_disk_and_says_what_helps(tmp_path: Path) -> None:
    with small_disk(tmp_path / "state", 1) as state:
        fill(state)
        message = refused(tmp_path)
    assert f"{tmp_path}/state cannot be written: No space left on device; free disk space" in message


def test_a_second_one_on_a_state_folder_does_not_start_and_leaves_the_first_alone(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path) as server:
        server.shelf()
        message = refused(tmp_path)
        assert f"another endpoint uses {tmp_path}/state; stop it" in message
        assert server.metric("topshelf_requests_total", status="200") >= 1  # its metrics were not wiped


@pytest.mark.parametrize("content", ["{", '{"keys": [{"id": "k1", "rate": "often"}]}'])
def test_it_does_not_start_with_a_broken_key_file(tmp_path: Path, content: str) -> None:
    keys = tmp_path / "state" / "keys.json"
    keys.parent.mkdir()
    keys.write_text(content)
    message = refused(tmp_path)
    assert f"{keys} cannot be read: " in message
    assert "; repair it" in message
    assert len(message.splitlines()) == 1


def test_it_does_not_start_with_origins_that_no_browser_sends_and_says_how_to_write_them(tmp_path: Path) -> None:
    message = refused(tmp_path, "--cors-origins", "https://shop.example,https://www.shop.example/")
    assert message.startswith(
        "Error: --cors-origins: 'https://www.shop.example/' is no origin as browsers send it; write"
    )
    assert len(message.splitlines()) == 1


def test_it_does_not_start_with_messages_that_cannot_be_meant_and_says_where(tmp_path: Path) -> None:
    (tmp_path / "de.toml").write_text('[reason]\npopular = "{item}"\n')
    message = refused(tmp_path, "--messages", str(tmp_path))
    assert message.startswith(f"Error: --messages: {tmp_path}/de.toml: reason.popular: {{item}} stands in a text")
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    ("option", "url", "remedy"),
    [
        ("--store", "mysql://host/shop", "give lmdb://FOLDER, redis://HOST:PORT/DB or dynamodb://TABLE"),
        ("--store", "redis://host:1?lease=soon", "could not convert string to float"),
        ("--shared", "mysql://:secret@host", "give redis://HOST:PORT/DB"),
        ("--shared", "redis://", "give redis://HOST:PORT/DB"),
    ],
)
def test_it_does_not_start_with_a_url_that_no_worker_could_use(
    tmp_path: Path, option: str, url: str, remedy: str, workers: str
) -> None:
    message = refused(tmp_path, option, url, "--workers", workers)
    assert message.startswith(f"Error: {option}: ")
    assert remedy in message
    assert "secret" not in message


def test_the_lander_alone_and_keys_say_in_a_line_that_a_folder_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with small_disk(tmp_path / "disk", 1) as disk:
        fill(disk)
        for state in (disk / "state", tmp_path / "file" / "state"):
            for command in (["land", "--once"], ["keys", "create", "--scope", "read"]):
                line = [sys.executable, "-m", "serving", *command, "--state", str(state)]
                done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
                assert done.returncode == 1
                (message,) = done.stderr.splitlines()
                assert message.startswith(f"Error: {state}")
                assert "cannot be written: " in message
                assert "; free disk space, or name another" in message


def test_a_worker_that_replaces_another_beside_a_broken_key_file_waits_for_it(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    keys = tmp_path / "state" / "keys.json"
    with serving(tmp_path, keyed=True, workers=2) as server:
        good, killed = keys.read_bytes(), set(server.workers())
        keys.write_bytes(b"{")
        os.kill(min(killed), signal.SIGKILL)

        def statuses() -> set[int]:
            clients = [server.client("read") for _ in range(8)]
            try:
                return {client.get("/recommendations").status_code for client in clients}
            except httpx.TransportError:
                return set()
            finally:
                for client in clients:
                    client.close()

        def replaced() -> bool:
            started.clear()
            started.update(server.workers())  # asked once, as the killed one may go at any moment
            return len(started) == 2 and min(killed) not in started

        started: set[int] = set()
        assert within(60, replaced)
        assert within(SOON_S, lambda: statuses() == {200, 503})
        trouble = server.http.get("/readyz").json()["trouble"]
        assert f"keys: {keys} cannot be read" in trouble
        assert set(server.workers()) == started  # it did not crash again and again
        keys.write_bytes(good)
        assert within(SOON_S, lambda: statuses() == {200})
        log = (tmp_path / "server.log").read_text()
        assert log.count("the keys stay as they were") == 2  # once by each worker
        assert "Traceback" not in log


def test_it_ends_though_a_caller_does_not_read_its_answers(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path, workers=2) as server, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        slow.settimeout(30)
        slow.connect(("127.0.0.1", server.port))
        # Each answer names 9,999 refused rows, in more than 500 kB, so that the sockets cannot hold them all.
        rows = b'{"item_id":"item-00001","stock":1}\n' + b"{}\n" * 9_999
        request = b"POST /items HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(rows), rows)
        slow.sendall(request)
        assert slow.recv(1, socket.MSG_PEEK)
        for _ in range(9):
            slow.sendall(request)
        taken = {"name": "topshelf_items_changed_total"}
        assert within(SOON_S, lambda: server.metric(**taken) >= 2)
        assert within(2, lambda: server.metric(**taken) == 10) is False  # the others wait for the caller
        server.process.terminate()
        assert server.process.wait(60) == 0


def test_nothing_of_it_outlives_a_kill_of_the_parent_and_the_next_one_starts(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path, workers=2) as server:
        server.shelf()
        assert len([*server.workers(), server.lander()]) == 3
        server.kill()
    with serving(tmp_path, workers=2) as server:
        assert within(SOON_S, lambda: bool(server.landed("exposures")))  # of the answer before the kill
        server.shelf()
