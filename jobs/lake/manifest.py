"""The manifest of a table's partition or of an artifact: what it is, what it was made of, and its checksums.

A partition or an artifact is trusted only when its manifest stands beside it: the manifest is removed before anything
is rewritten, and comes back last.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

MANIFEST_NAME = "_manifest.json"
Facts = TypeVar("Facts")


class Manifest(msgspec.Struct, frozen=True):
    """The contents of `_manifest.json`."""

    name: str
    ds: str
    row_count: int | None
    files: dict[str, str]
    """SHA-256 of each file, by its name within the folder."""
    inputs: dict[str, str] = msgspec.field(default_factory=dict)
    """Fingerprint of each input, by `<table>/ds=<day>`."""
    parameters: dict[str, object] = msgspec.field(default_factory=dict)
    metrics: dict[str, object] = msgspec.field(default_factory=dict)
    code: str = ""
    """Digest of the code that built it: `jobs.lake.code_version`."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the files' checksums in sorted order. File names are left out, as Spark makes them up."""
        return hashlib.sha256("".join(sorted(self.files.values())).encode()).hexdigest()

    def to_json(self) -> str:
        """Return the manifest as indented JSON with its fingerprint."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        return json.dumps(fields | {"fingerprint": self.fingerprint}, indent=1, sort_keys=True, default=str)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Manifest":
        """Read what `to_json` wrote; a key that this version does not know is left out."""
        return msgspec.json.decode(text, type=cls)

    def parameters_as(self, record: type[Facts]) -> Facts:
        """Return the parameters as a struct; those that it does not name are left out.

        Raises:
            msgspec.ValidationError: they are not of that shape.
        """
        return msgspec.convert(self.parameters, record, strict=False)

    def metrics_as(self, facts: type[Facts]) -> Facts:
        """Return the metrics as a struct.

        Raises:
            msgspec.ValidationError: they are not of that shape.
        """
        return msgspec.convert(self.metrics, facts, strict=False)

    def differences(self, inputs: Mapping[str, str], parameters: Mapping[str, object]) -> list[str]:
        """Return in words how these inputs and parameters differ from those that this was made of."""
        wanted = as_json(parameters)
        return [
            *(f"input {name} is new" for name in inputs if name not in self.inputs),
            *(f"input {name} is gone" for name in self.inputs if name not in inputs),
            *(f"input {name} changed" for name, value in inputs.items() if self.inputs.get(name, value) != value),
            *_changes("parameter ", self.parameters, wanted),
        ]


def _changes(prefix: str, was: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Return in words which values are new, gone or other; those of nested tables by dotted key."""
    found = [f"{prefix}{name} is new" for name in now if name not in was]
    found += [f"{prefix}{name} is gone" for name in was if name not in now]
    for name in (name for name in now if name in was and was[name] != now[name]):
        before, after = was[name], now[name]
        if isinstance(before, dict) and isinstance(after, dict):
            found += _changes(f"{prefix}{name}.", before, after)
        elif _is_plain(before) and _is_plain(after):
            found.append(f"{prefix}{name} was {before!r} and is {after!r}")
        else:
            found.append(f"{prefix}{name} changed")
    return found


def _is_plain(value: object) -> bool:
    """Tell whether a value can stand in a sentence: a table cannot, nor a list of tables."""
    return not any(isinstance(part, dict | list) for part in (value if isinstance(value, list) else [value]))


def as_json(values: Mapping[str, object]) -> dict[str, object]:
    """Return values as they come back from JSON: what a manifest is compared by."""
    plain: dict[str, object] = json.loads(json.dumps(dict(values), default=str))
    return plain


def digest_of(parts: Iterable[str]) -> str:
    """Return one SHA-256 over many texts, in their order."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()
