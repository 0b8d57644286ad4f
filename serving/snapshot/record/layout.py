"""The record's sizes, its vocabularies and its key. The layout itself is in `serving.snapshot.record`."""

import zlib

VERSION = 1
HEAD_BYTES = 5
ITEM_BYTES = 7
MAX_ITEMS = 2_047
MAX_REASON_ITEMS = 19  # 19 and not 20 keep a shelf of 100 at 762 bytes, the last size of Redis' 856-byte class
MAX_POSITION = 0xFFFFFE  # 0xFFFFFF stands for "no item" while encoding
NO_REASON_ITEM = 255
RECORD_BUDGET_BYTES = 800  # for 100 items

# Append only: records hold indices into these, four bits each.
SOURCES = (
    "popular",
    "trending",
    "als",
    "item_item",
    "ease",
    "bought_before",
    "popular_in_category",
    "new_item",
    "segment",
    "two_tower",
    "content",
    "session",
    "explore",
    "follows",
)
REASON_CODES = (
    "popular",
    "trending",
    "popular_in_category",
    "new_item",
    "buy_again",
    "bought",
    "viewed",
    "carted",
    "similar_taste",
    "explore",
    "rated",
)


class RecordError(ValueError):
    """A damaged record, or values that this layout cannot hold."""


class NewerRecordError(RecordError):
    """A record of a later layout than this reader knows."""


def record_size(count: int) -> int:
    """Return the most bytes that a record of `count` items takes."""
    return HEAD_BYTES + 3 * MAX_REASON_ITEMS + ITEM_BYTES * count


def record_key(user_id: str, variant: str = "base") -> bytes:
    """Return the key of a user's record; a variant other than `base` follows a byte that UTF-8 never has."""
    key = user_id.encode()
    return key if variant == "base" else key + b"\xff" + variant.encode()


def user_of(key: bytes) -> bytes:
    """Return the UTF-8 bytes of the user id in a key."""
    return key.partition(b"\xff")[0]


def shard_of(user_id: str | bytes, n_shards: int) -> int:
    """Return the number of the shard that holds a user: crc32 of the id's UTF-8 bytes, modulo `n_shards`."""
    return zlib.crc32(user_id.encode() if isinstance(user_id, str) else user_id) % n_shards
