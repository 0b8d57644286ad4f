"""Stores keep snapshots. Every store passes one behavioural suite, `tests/serving/stores/test_stores.py`.

A store holds immutable versions and one pointer. A version is loaded beside the live one (`begin`). It can be opened
once it is sealed, and goes live when the pointer moves. A URL names the store:

    lmdb://data/store                       files of one host, the default
    redis://host:6379/0?namespace=shop      one node;  redis+cluster://host:port?namespace=shop  a cluster
    dynamodb://table?endpoint=URL&namespace=shop

Writes the format of `serving.snapshot`. Next: `serving.shelf` reads a version.
"""

from serving.stores.places import check_store, scheme_of
from serving.stores.protocols import Store


def open_store(url: str) -> Store:
    """Return the store that a URL names; it connects when first used. Raises StoreError for an unknown URL."""
    check_store(url)
    scheme = scheme_of(url)  # each store is imported only when used: their drivers are separate
    if scheme == "lmdb":
        from serving.stores.lmdb.store import LmdbStore

        return LmdbStore(url)
    if scheme != "dynamodb":
        from serving.stores.key_value.redis import RedisStore

        return RedisStore(url)
    from serving.stores.key_value.dynamodb import DynamoDbStore

    return DynamoDbStore(url)
