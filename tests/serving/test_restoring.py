"""What docs/operations.md says of bringing the endpoint's own data back, tried on real servers."""

import shutil
import subprocess
from pathlib import Path

import redis

from serving.api.keys import read_keys, revoke
from serving.logs.redis_log import RedisLog
from tests.serving.running import SOON_S, publish_night, serving, within
from tests.serving.servers import need, redis_server


def lines(port: int) -> int:
    reader, count = RedisLog(f"redis://127.0.0.1:{port}?namespace=shop", "items").reader(), 0
    while block := reader.read():
        count += block.count(b"\n")
    return count


def test_shared_logs_come_back_from_a_copy_of_redis_and_outlast_the_next_start(tmp_path: Path) -> None:
    tool = need("redis-cli")
    kept = ("--appendonly", "yes")
    with redis_server(tmp_path / "lost", *kept) as (port, _):
        RedisLog(f"redis://127.0.0.1:{port}?namespace=shop", "items").append(b'{"n":1}\n{"n":2}\n')
        copy = [tool, "-p", str(port), "--rdb", str(tmp_path / "shop.rdb")]
        subprocess.run(copy, check=True, capture_output=True, timeout=30)
    (tmp_path / "new").mkdir()
    shutil.copy(tmp_path / "shop.rdb", tmp_path / "new" / "dump.rdb")
    with redis_server(tmp_path / "new", "--appendonly", "no") as (port, process):
        client = redis.Redis(port=port, decode_responses=True)
        assert lines(port) == 2
        client.config_set("appendonly", "yes")
        assert within(SOON_S, lambda: not client.info("persistence")["aof_rewrite_in_progress"])
        client.shutdown()
        process.wait(10)
    with redis_server(tmp_path / "new", *kept) as (port, _):
        assert lines(port) == 2


def test_a_key_file_that_is_put_back_is_soon_in_force(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path, keyed=True) as server:
        file = tmp_path / "state" / "keys.json"
        backup = file.read_bytes()
        assert server.http.get("/recommendations").status_code == 200
        for key in read_keys(file).keys:
            revoke(file, key.id)
        assert within(SOON_S, lambda: server.http.get("/recommendations").status_code == 401)
        beside = file.with_suffix(".restored")
        beside.write_bytes(backup)
        beside.replace(file)
        assert within(SOON_S, lambda: server.http.get("/recommendations").status_code == 200)
