"""A publisher in a process of its own, to be killed, and the check that a version is whole."""

import os
import subprocess
import sys

from serving.record import decode, shard_of
from serving.stores import Store

PUBLISHER = """
import sys
from contextlib import closing
from jobs.publish import publish
from serving.stores import open_store
from tests.serving.small_shop import night
with closing(open_store(sys.argv[1])) as store:
    print("ready", flush=True)
    publish(night(sys.argv[2], n_users=600, n_items=200, top_n=60), store)
"""


def start_publisher(url: str, day: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", PUBLISHER, url, day], stdout=subprocess.PIPE, env=os.environ)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def whole(store: Store, of: str) -> bool:
    """Whether every record of a version belongs to it and is whole."""
    stored = store.open(of)
    count = 0
    for shard in range(stored.manifest.n_shards):
        for key, record in stored.scan(shard):
            assert shard_of(key, stored.manifest.n_shards) == shard
            assert len(decode(record)) > 0
            count += 1
    return count == stored.manifest.users
