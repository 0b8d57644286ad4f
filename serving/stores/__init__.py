"""Stores: where snapshots live. Every store passes one behavioural suite, `tests/serving/stores/test_stores.py`.

A store holds immutable versions and one pointer. A version is loaded beside the live one (`begin`), is there for
readers once sealed, and goes live when the pointer moves. Which store is said by its URL:

    lmdb://data/store                       files of one host, the default
    redis://host:6379/0?namespace=shop      one node;  redis+cluster://host:port?namespace=shop  a cluster
    dynamodb://table?endpoint=URL&namespace=shop
"""

from urllib.parse import urlsplit

from serving.snapshot.manifest import StoreError
from serving.stores.protocols import Store


def open_store(url: str) -> Store:
    """The store that a URL names. Raises StoreError for a URL that names none."""
    scheme = urlsplit(url).scheme
    if scheme == "lmdb":
        from serving.stores.lmdb.store import LmdbStore

        return LmdbStore(url)
    if scheme in {"redis", "rediss", "redis+cluster", "rediss+cluster"}:
        from serving.stores.key_value.redis import RedisStore

        return RedisStore(url)
    if scheme == "dynamodb":
        from serving.stores.key_value.dynamodb import DynamoDbStore

        return DynamoDbStore(url)
    raise StoreError(f"store URL {url!r} is not known; give lmdb://FOLDER, redis://HOST:PORT/DB or dynamodb://TABLE")
