"""The blobs of one snapshot version, each as it was published."""

import hashlib
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from serving.snapshot.blobs import Strings, unpack, unpack_json
from serving.snapshot.manifest import StoreError
from serving.stores.protocols import StoredVersion

Number = TypeVar("Number", bound=np.generic)
T = TypeVar("T")


class PublishedBlobs:
    """Reads blobs by name. Every method raises StoreError for one that is missing or damaged.

    A blob's SHA-256 must be that of the manifest: an answer from any other might fail, or show what is not so.
    """

    def __init__(self, stored: StoredVersion) -> None:
        self._stored, self._manifest = stored, stored.manifest

    def has(self, name: str) -> bool:
        """Whether the version has a blob: older versions have fewer."""
        return name in self._manifest.blobs

    def array(self, name: str, dtype: type[Number]) -> NDArray[Number]:
        return unpack(self.raw(name), self._place(name)).astype(dtype, copy=False)

    def json(self, name: str, kind: type[T]) -> T:
        return unpack_json(self.raw(name), kind, self._place(name))

    def strings(self, name: str) -> Strings:
        return Strings(self.array(f"{name}.data", np.uint8), self.array(f"{name}.offsets", np.int64))

    def raw(self, name: str) -> bytes | memoryview:
        blob = self._stored.blob(name)
        if hashlib.sha256(blob).hexdigest() != self._manifest.blobs.get(name):
            raise StoreError(f"{self._place(name)} is not as it was published; publish the night again")
        return blob

    def _place(self, name: str) -> str:
        return f"blob {name} of {self._manifest.version}"
