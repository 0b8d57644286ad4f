"""A shard's keys and records as one stream of bytes, the same for every store: how the archive holds them.

| bytes | what |
| --- | --- |
| 4 | `TSR1` |
| 4 | n, the records of the chunk that follows, little-endian; 0 ends the stream |
| 2n | the lengths of the keys |
| 4n | the lengths of the records |
| | the keys, then the records |

A stream that was cut does not end in 0, and is refused.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, islice, pairwise
from typing import Any, Protocol

import numpy as np

from serving.snapshot.digest import RecordDigest
from serving.snapshot.manifest import StoreError

MAGIC = b"TSR1"
_AT_ONCE = 5_000


class Readable(Protocol):
    """A file, or the body of an answer."""

    def read(self, amt: int, /) -> bytes: ...


def packed(pairs: Iterable[tuple[bytes, bytes]], digest: RecordDigest) -> Iterator[bytes]:
    """Yield the stream of keys and records in parts of a few megabytes; `digest` takes them in as they go."""
    yield MAGIC
    pairs = iter(pairs)
    while chunk := list(islice(pairs, _AT_ONCE)):
        keys, records = zip(*chunk, strict=True)
        digest.update(keys, records)
        lengths = (_lengths(keys, "<u2"), _lengths(records, "<u4"))
        yield b"".join([len(chunk).to_bytes(4, "little"), *lengths, *keys, *records])
    yield (0).to_bytes(4, "little")


def _lengths(values: Sequence[bytes], dtype: str) -> bytes:
    return np.array(list(map(len, values)), dtype).tobytes()


def unpacked(stream: Readable, where: str) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Yield batches of keys and records. Raises StoreError, naming `where`, for a stream that is not whole."""
    if _exactly(stream, 4, where) != MAGIC:
        raise StoreError(f"{where} is no stream of records; archive the version again")
    while n := int.from_bytes(_exactly(stream, 4, where), "little"):
        keys = np.frombuffer(_exactly(stream, 2 * n, where), "<u2").tolist()
        records = np.frombuffer(_exactly(stream, 4 * n, where), "<u4").tolist()
        yield _cut(_exactly(stream, sum(keys), where), keys), _cut(_exactly(stream, sum(records), where), records)


def _cut(data: bytes, lengths: list[int]) -> list[bytes]:
    return [data[first:last] for first, last in pairwise(accumulate(lengths, initial=0))]


def _exactly(stream: Readable, size: int, where: str) -> bytes:
    parts: list[Any] = []
    left = size
    while left:
        part = stream.read(left)
        if not part:
            raise StoreError(f"{where} was cut; archive the version again")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
