"""The digest of a shard's records. The manifest holds it, and every read-back of the shard is checked against it.

digest = RecordDigest()
digest.update([b"anna"], [record])
digest.hexdigest()
"""

import hashlib
from collections.abc import Sequence

import numpy as np


class RecordDigest:
    """SHA-256 over a shard's keys, records and their lengths, in the order of keys; batch sizes do not change it."""

    def __init__(self) -> None:
        self._keys, self._records, self._lengths = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
        self.count = 0
        self.bytes = 0  # of the records, without their keys

    def update(self, keys: Sequence[bytes], records: Sequence[bytes]) -> None:
        """Take in the next keys and their records."""
        self._keys.update(b"".join(keys))
        joined = b"".join(records)
        self._records.update(joined)
        lengths = np.array([list(map(len, keys)), list(map(len, records))], "<u4").T
        self._lengths.update(np.ascontiguousarray(lengths).tobytes())
        self.count += len(keys)
        self.bytes += len(joined)

    def hexdigest(self) -> str:
        """Return the digest of everything taken in so far, as hex."""
        digests = (self._keys.digest(), self._records.digest(), self._lengths.digest())
        return hashlib.sha256(b"".join(digests)).hexdigest()
