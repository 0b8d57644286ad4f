"""The manifest of a table's partition or of an artifact: what it is, made of what, and its checksums.

A partition or an artifact is trusted only when its manifest stands beside it: the manifest is removed before
anything is rewritten, and comes back last.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from jobs.lake.code_version import code_version

MANIFEST_NAME = "_manifest.json"


@dataclass(frozen=True)
class Manifest:
    """What stands in `_manifest.json`."""

    name: str
    ds: str
    row_count: int | None
    files: dict[str, str]
    """SHA-256 of each file, by its name within the folder."""
    inputs: dict[str, str] = field(default_factory=dict)
    """Fingerprint of each input, by `<table>/ds=<day>`."""
    parameters: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    code: str = ""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the files' checksums in sorted order: file names, which Spark makes up, left out."""
        return hashlib.sha256("".join(sorted(self.files.values())).encode()).hexdigest()

    def to_json(self) -> str:
        """Return the manifest as indented JSON with its fingerprint."""
        return json.dumps(asdict(self) | {"fingerprint": self.fingerprint}, indent=1, sort_keys=True, default=str)

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Read `to_json`'s text; a key that this version does not know is left out."""
        raw = json.loads(text)
        return cls(**{key: raw[key] for key in cls.__dataclass_fields__ if key in raw})

    def is_current(self, inputs: Mapping[str, str], parameters: Mapping[str, Any]) -> bool:
        """Tell whether this was made of just these inputs and parameters, by the code as it stands."""
        same_parameters = json.loads(json.dumps(dict(parameters), default=str)) == self.parameters
        return same_parameters and dict(inputs) == self.inputs and self.code == code_version()


def digest_of(parts: Iterable[str]) -> str:
    """Return one SHA-256 over many texts, in their order."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()
