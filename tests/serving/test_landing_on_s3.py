"""The endpoint with its landing on a real S3 server: what it takes and whom it erases reaches the night."""

import gzip
import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path

import pytest

from jobs.landing.folders import Landing
from jobs.landing.tombstones import erased_users, known_erasures
from serving.client import UnknownUserError, read_shelf
from serving.snapshot.tombstones import UnknownErasuresError
from serving.stores.s3 import S3Prefix
from tests.serving import servers
from tests.serving.running import SOON_S, Server, publish_night, serving, within


@contextmanager
def endpoint(folder: Path, url: str, *options: str, ready: bool = True) -> Iterator[Server]:
    with serving(folder, "--landing", url, *options, keyed=False, ready=ready) as server:
        yield server


def landed_event_ids(url: str) -> list[str]:
    """The ids of all events under landing, as the night finds their files."""
    with closing(S3Prefix(url)) as there:
        files = [there.read(key) for key in there.keys("events") if key.endswith(".jsonl.gz")]
    lines = [line for found in files if found is not None for line in gzip.decompress(found[0]).splitlines()]
    return [json.loads(line)["event_id"] for line in lines]


def send(server: Server, *event_ids: str) -> int:
    rows = [
        {"event_id": each, "user_id": "user-1", "item_id": "item-00001", "event_type": "view"} for each in event_ids
    ]
    return server.http.post("/events", json=rows).status_code


def test_events_reach_s3_once_though_the_lander_is_killed_again_and_again(archive_url: str, tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with endpoint(tmp_path, archive_url) as server:
        for number in range(4):
            assert send(server, f"e-{number}", "e-0") == 202
            lander = server.lander()
            assert lander is not None
            os.kill(lander, signal.SIGKILL)
            assert within(SOON_S, lambda gone=lander: server.lander() not in (None, gone))
        shown = server.shelf(user_id="user-1", limit=5)["request_id"]
    assert sorted(landed_event_ids(archive_url)) == [f"e-{number}" for number in range(4)]
    assert not list(Path().glob("s3:*"))
    with closing(S3Prefix(archive_url)) as there:
        days = there.folders("exposures")
    (file,) = Landing(archive_url).files_of("exposures", date.fromisoformat(days[0][3:]))
    with Landing(archive_url).open(file) as stream:
        assert [json.loads(line)["request_id"] for line in stream.read().splitlines()] == [shown]


def test_an_erasure_stands_on_s3_when_it_is_answered_and_every_reader_heeds_it(
    archive_url: str, tmp_path: Path
) -> None:
    publish_night(tmp_path, "2026-01-01")
    store = f"lmdb://{tmp_path}/store"
    with pytest.raises(UnknownErasuresError):
        read_shelf(store, "user-1", landing=archive_url)
    with endpoint(tmp_path, archive_url) as server:
        for user in ("user-1", "user-2"):
            assert server.http.delete(f"/users/{user}").json() == {"erased": True, "everywhere": True, "landed": True}
            assert erased_users(archive_url).erased_at(user) is not None
    assert len(known_erasures(archive_url)) == 2
    with closing(S3Prefix(archive_url)) as there:
        assert len(there.keys("tombstones")) == 1  # one object, however many erasures
    with pytest.raises(UnknownUserError):
        read_shelf(store, "user-1", landing=archive_url)
    assert read_shelf(store, "user-3", landing=archive_url)
    # Another host, and one whose state folder is lost, learn it from landing.
    with endpoint(tmp_path, archive_url, "--state", f"{tmp_path}/another") as server:
        assert server.http.get("/users/user-1/trace").json()["erased"]
        assert not server.http.get("/users/user-3/trace").json()["erased"]


def test_while_s3_is_away_erasures_and_events_wait_and_readyz_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in servers.S3_KEYS.items():
        monkeypatch.setenv(name, value)
    port = servers.free_port()
    url = f"s3://topshelf/landing?endpoint=http://127.0.0.1:{port}"
    publish_night(tmp_path, "2026-01-01")

    def trouble(server: Server) -> str:
        return str(server.http.get("/readyz").json().get("trouble", ""))

    with servers.s3_server(tmp_path / "s3", port=port), endpoint(tmp_path, url) as server:
        own = server.ids(user_id="user-2")
        assert server.http.delete("/users/user-1").json()["landed"]
        assert trouble(server) == ""
    with endpoint(tmp_path, url, ready=False) as server:  # it cannot know who was erased elsewhere
        waiting = server.http.get("/readyz")
        assert (waiting.status_code, waiting.json()["status"]) == (503, "reading the live state and the erasures")
        assert "landed_erasures: s3://topshelf/landing failed" in waiting.json()["trouble"]
        assert server.ids(user_id="user-2") != own  # nobody's stored shelf is read
        with servers.s3_server(tmp_path / "s3", port=port):
            assert within(SOON_S, lambda: server.http.get("/readyz").status_code == 200)
            assert server.ids(user_id="user-2") == own
        assert server.http.delete("/users/user-2").json() == {"erased": True, "everywhere": True, "landed": False}
        assert server.ids(user_id="user-2") != own
        assert send(server, "e-1") == 202
        assert within(SOON_S, lambda: "land_erasures: s3://topshelf/landing failed" in trouble(server))
        server.kill()  # only the disk remembers user-2
    with servers.s3_server(tmp_path / "s3", port=port), endpoint(tmp_path, url) as server:
        assert within(SOON_S, lambda: erased_users(url).erased_at("user-2") is not None)
        assert within(SOON_S, lambda: trouble(server) == "")
    assert "Traceback" not in (tmp_path / "server.log").read_text()
    with servers.s3_server(tmp_path / "s3", port=port):
        assert landed_event_ids(url) == ["e-1"]


@pytest.mark.parametrize("option", ["--landing", "--state", "--keys", "--store"])
@pytest.mark.parametrize("scheme", ["gs://", "s3a://", "abfss://", "hdfs://", "S3://", "file:///"])
def test_a_scheme_that_is_not_known_is_refused_with_what_is(option: str, scheme: str, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from serving.__main__ import main

    places = {"--store": f"lmdb://{tmp_path}/store", "--landing": f"{tmp_path}/landing", "--state": str(tmp_path)}
    arguments = [word for pair in (places | {option: f"{scheme}shop/x"}).items() for word in pair]
    done = CliRunner().invoke(main, ["serve", *arguments])
    assert done.exit_code == 1
    assert done.output.startswith(f"Error: {option}: ")
    assert f"{scheme}shop/x" in done.output
    assert "give " in done.output
