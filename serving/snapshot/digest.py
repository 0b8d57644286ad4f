"""The digest of a shard's records: what a manifest promises, and every reading back is held against.

digest = RecordDigest()
digest.update([b"anna"], [record])
digest.hexdigest()
"""

import hashlib
from collections.abc import Sequence

import numpy as np


class RecordDigest:
    """SHA-256 over a shard's keys, records and their lengths, in key order; the same however they are batched."""

    def __init__(self) -> None:
        self._keys, self._records, self._lengths = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
        self.count = 0
        self.bytes = 0

    def update(self, keys: Sequence[bytes], records: Sequence[bytes]) -> None:
        self._keys.update(b"".join(keys))
        joined = b"".join(records)
        self._records.update(joined)
        lengths = np.array([list(map(len, keys)), list(map(len, records))], "<u4").T
        self._lengths.update(np.ascontiguousarray(lengths).tobytes())
        self.count += len(keys)
        self.bytes += len(joined)

    def hexdigest(self) -> str:
        parts = (self._keys.digest(), self._records.digest(), self._lengths.digest())
        return hashlib.sha256(b"".join(parts)).hexdigest()
