"""API keys: who may ask what. A key is 256 random bits, shown once; what is stored is its SHA-256.

    topshelf keys create --scope read --name web
    curl -H "Authorization: Bearer tsk_…" 'http://127.0.0.1:8000/recommendations?user_id=17850'

Any number of keys are valid at a time, so a key is rotated by creating the next one, and revoking the old one when
nobody sends it any more. Workers see a change of the file within a second. Hashes need no salt or stretching: nobody
can try out 2**256 keys.
"""

import hashlib
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import limits
import msgspec

from serving.stores.files import PRIVATE, locked, write_whole

SCOPES = ("read", "feed", "admin")
PREFIX = "tsk_"
DEFAULT_RATE = "2000/second"


class KeysError(Exception):
    """A key file that cannot be read, or a key that is not there."""


class StoredKey(msgspec.Struct, frozen=True):
    """One key as the file holds it. `rate` in the notation of `limits`: 2000/second, 100000/minute."""

    id: str
    name: str
    scopes: tuple[str, ...]
    sha256: str
    rate: str
    created: str
    revoked: str | None = None


class KeyFile(msgspec.Struct, frozen=True):
    """The whole file."""

    keys: tuple[StoredKey, ...] = ()


class Key(msgspec.Struct, frozen=True):
    """A valid key as the gate uses it."""

    id: str
    scopes: frozenset[str]
    rate: limits.RateLimitItem


class KeyRing:
    """The valid keys; `look` takes in what changed in the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._by_digest: dict[bytes, Key] = {}
        self.exists = False  # a file without one valid key still locks everybody out
        self.look()

    def look(self) -> None:
        """Read the file where it changed. Raises KeysError, and leaves the keys as they were."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            if self._seen is not None:  # a file that vanishes takes its keys with it, and opens nothing
                self._by_digest = {}
            return
        seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if seen == self._seen:
            return
        stored = read_keys(self._path).keys
        self._by_digest = {
            bytes.fromhex(key.sha256): Key(key.id, frozenset(key.scopes), limits.parse(key.rate))
            for key in stored
            if key.revoked is None
        }
        self._seen, self.exists = seen, True

    def of(self, authorization: bytes) -> Key | None:
        """The key of an `Authorization` header, or None. What is compared are hashes, so timing tells nothing."""
        if authorization[:7].lower() != b"bearer ":
            return None
        return self._by_digest.get(hashlib.sha256(authorization[7:]).digest())


def read_keys(path: Path) -> KeyFile:
    """Raises KeysError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=KeyFile)
    except FileNotFoundError:
        return KeyFile()
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        raise KeysError(f"{path} cannot be read: {error}; mend it, or move it away and create keys anew") from error


def create(path: Path, scopes: tuple[str, ...], name: str, rate: str) -> tuple[StoredKey, str]:
    """Add a key: what is stored, and the key itself, which is nowhere else. Raises KeysError."""
    try:
        limits.parse(rate)
    except ValueError as error:
        raise KeysError(f"rate {rate!r} is not understood; write it as {DEFAULT_RATE} or 100000/minute") from error
    unknown = set(scopes) - set(SCOPES)
    if unknown or not scopes:
        raise KeysError(f"scopes {sorted(unknown)} are not known; give one or more of {', '.join(SCOPES)}")
    secret = PREFIX + secrets.token_urlsafe(32)
    stored = StoredKey(
        id=f"k{secrets.token_hex(4)}",
        name=name,
        scopes=scopes,
        sha256=hashlib.sha256(secret.encode()).hexdigest(),
        rate=rate,
        created=_now(),
    )
    _change(path, lambda file: KeyFile((*file.keys, stored)))
    return stored, secret


def revoke(path: Path, key_id: str) -> None:
    """Make a key invalid. Raises KeysError where there is no such valid key."""

    def revoked(file: KeyFile) -> KeyFile:
        if not any(key.id == key_id and key.revoked is None for key in file.keys):
            raise KeysError(f"{path} holds no valid key {key_id}; topshelf keys list shows them")
        return KeyFile(
            tuple(
                msgspec.structs.replace(key, revoked=_now()) if key.id == key_id and not key.revoked else key
                for key in file.keys
            )
        )

    _change(path, revoked)


def _change(path: Path, step: Callable[[KeyFile], KeyFile]) -> None:
    with locked(path.with_name(path.name + ".lock")):
        changed = step(read_keys(path))
        write_whole(path, msgspec.json.format(msgspec.json.encode(changed), indent=1), mode=PRIVATE)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
