"""API keys and their scopes. A key is 256 random bits, shown once; the key file holds its SHA-256.

    topshelf keys create --scope read --name web
    curl -H "Authorization: Bearer tsk_…" 'http://127.0.0.1:8000/recommendations?user_id=17850'

Any number of keys can be valid at once. To rotate a key, create the next one, and revoke the old one when nobody
sends it any more. Workers see a changed file within a second. The hashes need no salt or stretching, because
nobody can try 2**256 keys.
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
    """The key file cannot be read, or holds no such key; or a new key's scope or rate is invalid."""


class StoredKey(msgspec.Struct, frozen=True):
    """A key in the file. `rate` is in the notation of the library `limits`: 2000/second, 100000/minute."""

    id: str
    name: str
    scopes: tuple[str, ...]
    sha256: str
    rate: str
    created: str
    revoked: str | None = None


class KeyFile(msgspec.Struct, frozen=True):
    """The content of the key file."""

    keys: tuple[StoredKey, ...] = ()


class Key(msgspec.Struct, frozen=True):
    """A valid key as `AccessGate` uses it."""

    id: str
    scopes: frozenset[str]
    rate: limits.RateLimitItem


class KeyRing:
    """The valid keys of the key file; `refresh` rereads a changed file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file_state: tuple[int, int, int] | None = None  # time of change, size, inode
        self._by_digest: dict[bytes, Key] = {}
        self.exists = False  # there was a file once: without a valid key in it nobody gets in
        self.refresh()

    def refresh(self) -> None:
        """Reread the file if it changed. Raises KeysError, and then keeps the keys it had."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            if self._file_state is not None:  # a file that vanishes revokes its keys, and does not open the endpoint
                self._by_digest = {}
            return
        state = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if state == self._file_state:
            return
        self._by_digest = {
            bytes.fromhex(key.sha256): Key(key.id, frozenset(key.scopes), limits.parse(key.rate))
            for key in read_keys(self._path).keys
            if key.revoked is None
        }
        self._file_state, self.exists = state, True

    def find(self, authorization: bytes) -> Key | None:
        """The valid key in an `Authorization` header, or None. Hashes are compared, so timing reveals nothing."""
        if authorization[:7].lower() != b"bearer ":
            return None
        return self._by_digest.get(hashlib.sha256(authorization[7:]).digest())


def read_keys(path: Path) -> KeyFile:
    """Read the key file; one that is missing has no keys. Raises KeysError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=KeyFile)
    except FileNotFoundError:
        return KeyFile()
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        raise KeysError(f"{path} cannot be read: {error}; repair it, or move it away and create new keys") from error


def create(path: Path, scopes: tuple[str, ...], name: str, rate: str) -> tuple[StoredKey, str]:
    """Add a key; return its entry in the file and the key itself, which is stored nowhere. Raises KeysError."""
    try:
        limits.parse(rate)
    except ValueError as error:
        raise KeysError(f"rate {rate!r} is not valid; write it as {DEFAULT_RATE} or 100000/minute") from error
    unknown = set(scopes) - set(SCOPES)
    if unknown or not scopes:
        wrong = f"unknown scopes {sorted(unknown)}" if unknown else "no scope"
        raise KeysError(f"{wrong}; give one or more of {', '.join(SCOPES)}")
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
    """Revoke a key. Raises KeysError if no valid key has this id."""

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


def _change(path: Path, change: Callable[[KeyFile], KeyFile]) -> None:
    with locked(path.with_name(path.name + ".lock")):
        changed = change(read_keys(path))
        write_whole(path, msgspec.json.format(msgspec.json.encode(changed), indent=1), mode=PRIVATE)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
