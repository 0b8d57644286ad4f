"""The stores that the behavioural suite runs against: real servers on this machine."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.stores import open_store
from serving.stores.protocols import Store
from tests.serving import servers


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with servers.redis_server(tmp_path_factory.mktemp("redis")) as (port, _):
        yield port


@pytest.fixture(scope="session")
def redis_cluster_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with servers.redis_cluster(tmp_path_factory.mktemp("cluster")) as port:
        yield port


@pytest.fixture(scope="session")
def dynamodb_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with servers.dynamodb_server(tmp_path_factory.mktemp("dynamodb")) as (port, _):
        yield port


@pytest.fixture(scope="session")
def s3_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with servers.s3_server(tmp_path_factory.mktemp("s3")) as (port, _):
        yield port


@pytest.fixture
def archive_url(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty archive."""
    for name, value in servers.S3_KEYS.items():
        monkeypatch.setenv(name, value)
    return f"s3://topshelf/{uuid.uuid4().hex[:8]}?endpoint=http://127.0.0.1:{s3_port}"


@pytest.fixture(params=["lmdb", "redis", "redis+cluster", "dynamodb"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty store of each kind."""
    if request.param == "lmdb":
        return f"lmdb://{tmp_path}/store"
    namespace = uuid.uuid4().hex[:8]
    if request.param == "dynamodb":
        for name, value in servers.S3_KEYS.items():  # DynamoDB Local takes any
            monkeypatch.setenv(name, value)
        endpoint = f"http://127.0.0.1:{request.getfixturevalue('dynamodb_port')}"
        return f"dynamodb://topshelf?region=local&endpoint={endpoint}&namespace={namespace}&lease=4"
    port = request.getfixturevalue({"redis": "redis_port", "redis+cluster": "redis_cluster_port"}[request.param])
    return f"{request.param}://127.0.0.1:{port}?namespace={namespace}&lease=2"


@pytest.fixture
def open_any(store_url: str) -> Iterator[Callable[[], Store]]:
    """Open an empty store of each kind; every call gives another connection to the same one."""
    opened: list[Store] = []

    def connect() -> Store:
        opened.append(open_store(store_url))
        return opened[-1]

    yield connect
    for store in opened:
        store.close()
