r"""The record: one user's stored shelf of one variant as packed bytes.

Layout, little-endian, for a shelf of `n` items that names `k` reason items (length = 5 + 3k + 7n):

| bytes | what |
| --- | --- |
| 1 | version of this layout, now 1 |
| 2 | the user's segment: an index into the snapshot's segment table, 0 for none |
| 2 | `n << 5 \\| k`: n up to 2,047, k up to 19 |
| 3k | the reason items: positions in the catalogue, ascending |
| 3n | the items: positions in the catalogue, in the order of rank |
| 2n | their scores: sign (1 bit), exponent (6 bits, bias 47), mantissa (9 bits); 0 is zero; true to 1 in 1,000 |
| n | `source << 4 \\| reason`: indices into SOURCES and REASON_CODES |
| n | the reason item that the reason names: an index into the k above, 255 for none |

100 items with 19 reason items take 762 bytes. The order of the items is their rank. Do not sort by score: different
scores may have the same code.

    python -c "from serving.snapshot.record import decode; print(decode(open('shelf.bin', 'rb').read()))"
"""

from serving.snapshot.record.decoding import PackedShelf, Shelf, decode, unpack
from serving.snapshot.record.encoding import ShelfColumns, encode
from serving.snapshot.record.layout import (
    MAX_ITEMS,
    MAX_POSITION,
    MAX_REASON_ITEMS,
    REASON_CODES,
    RECORD_BUDGET_BYTES,
    SOURCES,
    VERSION,
    NewerRecordError,
    RecordError,
    record_key,
    record_size,
    shard_of,
    user_of,
)
from serving.snapshot.record.scores import encode_scores

__all__ = [
    "MAX_ITEMS",
    "MAX_POSITION",
    "MAX_REASON_ITEMS",
    "REASON_CODES",
    "RECORD_BUDGET_BYTES",
    "SOURCES",
    "VERSION",
    "NewerRecordError",
    "PackedShelf",
    "RecordError",
    "Shelf",
    "ShelfColumns",
    "decode",
    "encode",
    "encode_scores",
    "record_key",
    "record_size",
    "shard_of",
    "unpack",
    "user_of",
]
