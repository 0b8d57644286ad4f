"""A shard's keys and records as one stream of bytes: how the archive holds them, whatever store they come from.

| bytes | what |
| --- | --- |
| 4 | `TSR1` |
| 4 | n, the records of the chunk that follows, little-endian; 0 ends the stream |
| 2n | the lengths of the keys |
| 4n | the lengths of the records |
| | the keys, then the records |

A stream that was cut does not end with 0, and its reader refuses it.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, islice, pairwise
from typing import Protocol

import numpy as np

from serving.snapshot.digest import RecordDigest
from serving.snapshot.manifest import StoreError

MAGIC = b"TSR1"
_CHUNK_RECORDS = 5_000


class Readable(Protocol):
    """A file, or the body of an HTTP response."""

    def read(self, amt: int, /) -> bytes: ...


def pack_stream(pairs: Iterable[tuple[bytes, bytes]], digest: RecordDigest) -> Iterator[bytes]:
    """Yield the stream of keys and records in parts of a few megabytes, and update `digest` with each."""
    yield MAGIC
    pairs = iter(pairs)
    while chunk := list(islice(pairs, _CHUNK_RECORDS)):
        keys, records = zip(*chunk, strict=True)
        digest.update(keys, records)
        lengths = (_lengths(keys, "<u2"), _lengths(records, "<u4"))
        yield b"".join([len(chunk).to_bytes(4, "little"), *lengths, *keys, *records])
    yield (0).to_bytes(4, "little")


def _lengths(values: Sequence[bytes], dtype: str) -> bytes:
    return np.array(list(map(len, values)), dtype).tobytes()


def unpack_stream(stream: Readable, where: str) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Yield batches of keys and records. Raises StoreError, naming `where`, for a stream that is cut or no stream."""
    if _read_exactly(stream, 4, where) != MAGIC:
        raise StoreError(f"{where} is no stream of records; archive the version again")
    while n := int.from_bytes(_read_exactly(stream, 4, where), "little"):
        key_lengths = np.frombuffer(_read_exactly(stream, 2 * n, where), "<u2").tolist()
        record_lengths = np.frombuffer(_read_exactly(stream, 4 * n, where), "<u4").tolist()
        keys = _cut(_read_exactly(stream, sum(key_lengths), where), key_lengths)
        yield keys, _cut(_read_exactly(stream, sum(record_lengths), where), record_lengths)


def _cut(data: bytes, lengths: list[int]) -> list[bytes]:
    return [data[first:end] for first, end in pairwise(accumulate(lengths, initial=0))]


def _read_exactly(stream: Readable, size: int, where: str) -> bytes:
    parts: list[bytes] = []
    missing = size
    while missing:
        part = stream.read(missing)
        if not part:
            raise StoreError(f"{where} was cut; archive the version again")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
