"""API keys and their scopes. A key is 256 random bits, shown once; the key file holds its SHA-256.

    topshelf keys create --scope read --name web
    curl -H "Authorization: Bearer tsk_…" 'http://127.0.0.1:8000/recommendations?user_id=17850'

Any number of keys can be valid at once. To rotate a key, create the next one, and revoke the old one when nobody
sends it any more. Workers see a changed file within a second. The hashes need no salt or stretching, because
nobody can try 2**256 keys.
"""

import contextlib
import hashlib
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import limits
import msgspec

from serving.snapshot.manifest import NOT_JSON
from serving.stores.files import PRIVATE, locked, write_whole

SCOPES = ("read", "feed", "events", "admin", "metrics")
_INCLUDED = {"admin": {"read", "metrics"}, "feed": {"events", "metrics"}}  # a trace shows shelves anyway
PREFIX = "tsk_"
DEFAULT_RATE = "2000/second"
_SHA256_DIGITS = 64


class KeysError(Exception):
    """The key file cannot be read or written, or holds no such key; or a key's scope or rate is invalid."""


class StoredKey(msgspec.Struct, frozen=True):
    """A key in the file. `rate` is one limit in the notation of the library `limits`: 2000/second, 100000/minute."""

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
        self._trouble: str | None = None
        self._by_digest: dict[bytes, Key] = {}
        self.exists = False  # there was a file once: without a valid key in it nobody gets in
        self._was_read = False
        with contextlib.suppress(KeysError):  # a worker that starts beside others does not end: it may be repaired
            self.refresh()

    @property
    def was_never_read(self) -> bool:
        """Whether there is a file, and it could not be read yet."""
        return self.exists and not self._was_read

    def refresh(self) -> None:
        """Reread the file if it changed. Raises KeysError while it cannot be read, and keeps the keys it had."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            if self.exists:  # a file that vanishes revokes its keys, and does not open the endpoint
                self._by_digest, self._file_state, self._trouble = {}, None, None
            return
        except OSError as error:
            raise _unreadable(self._path, error) from error
        state = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if state != self._file_state:
            self._file_state, self.exists, self._trouble = state, True, None
            try:
                self._by_digest, self._was_read = valid_keys(self._path), True
            except KeysError as error:
                changed = datetime.fromtimestamp(stat.st_mtime, UTC)
                self._trouble = f"{error} (as of {changed:%Y-%m-%dT%H:%M:%S.%fZ})"  # so every change is told once
        if self._trouble is not None:
            raise KeysError(self._trouble)

    def find(self, authorization: bytes) -> Key | None:
        """The valid key in an `Authorization` header, or None. Hashes are compared, so timing reveals nothing."""
        if authorization[:7].lower() != b"bearer ":
            return None
        return self._by_digest.get(hashlib.sha256(authorization[7:]).digest())


def valid_keys(path: Path) -> dict[bytes, Key]:
    """The keys of the key file that are not revoked, by their SHA-256. Raises KeysError if one is not valid."""
    keys = {}
    for key in read_keys(path).keys:
        if key.revoked is not None:
            continue
        try:
            _check_scopes(key.scopes)
            digest = bytes.fromhex(key.sha256) if len(key.sha256) == _SHA256_DIGITS else b""
            if not digest:
                raise ValueError(f"its SHA-256 has not {_SHA256_DIGITS} hexadecimal digits")
            keys[digest] = Key(key.id, _granted(key.scopes), _rate(key.rate))
        except (KeysError, ValueError) as error:
            remedy = "correct it there, or remove the key and create another"
            raise KeysError(f"{path}: key {key.id} is not valid: {error}; {remedy}") from error
    return keys


def _granted(scopes: tuple[str, ...]) -> frozenset[str]:
    """Return what a key of these scopes may do. Those that a browser may hold, read and events, include nothing."""
    return frozenset(scopes).union(*(_INCLUDED.get(scope, ()) for scope in scopes))


def read_keys(path: Path) -> KeyFile:
    """Read the key file; one that is missing has no keys. Raises KeysError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=KeyFile)
    except FileNotFoundError:
        return KeyFile()
    except (OSError, *NOT_JSON) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> KeysError:
    return KeysError(f"{path} cannot be read: {error}; repair it, or move it away and create new keys")


def _rate(text: str) -> limits.RateLimitItem:
    """The one limit that a text in the notation of `limits` names. Raises KeysError."""
    remedy = f"give one limit, such as {DEFAULT_RATE} or 100000/minute"
    try:
        rates = limits.parse_many(text)
    except ValueError as error:
        raise KeysError(f"rate {text!r} is not valid; {remedy}") from error
    if len(rates) != 1:
        raise KeysError(f"rate {text!r} holds {len(rates)} limits, and a key has one; {remedy}")
    if rates[0].amount < 1 or rates[0].get_expiry() < 1:
        raise KeysError(f"rate {text!r} admits nothing; {remedy}")
    return rates[0]


def _check_scopes(scopes: tuple[str, ...]) -> None:
    """Raises KeysError."""
    unknown = set(scopes) - set(SCOPES)
    if unknown or not scopes:
        wrong = f"unknown scopes {sorted(unknown)}" if unknown else "no scope"
        raise KeysError(f"{wrong}; give one or more of {', '.join(SCOPES)}")


def create(path: Path, scopes: tuple[str, ...], name: str, rate: str) -> tuple[StoredKey, str]:
    """Add a key; return its entry in the file and the key itself, which is stored nowhere. Raises KeysError."""
    _rate(rate)
    _check_scopes(scopes)
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


def create_into(secret_file: Path, path: Path, scopes: tuple[str, ...], name: str, rate: str) -> StoredKey | None:
    """Add a key and write it to a file of its own, which only its owner may read, for a program that reads it there.

    Returns None, and changes nothing, where that file already holds a valid key of these scopes: so a start may do
    this each time. Raises KeysError.
    """
    try:
        held = secret_file.read_bytes().strip()
    except FileNotFoundError:
        held = b""
    except OSError as error:
        raise _unreadable(secret_file, error) from error
    key = valid_keys(path).get(hashlib.sha256(held).digest())
    if key is not None and key.scopes == _granted(scopes):
        return None
    stored, secret = create(path, scopes, name, rate)
    try:
        write_whole(secret_file, secret.encode(), mode=PRIVATE)
    except OSError as error:
        revoke(path, stored.id)  # nobody has it
        raise KeysError(f"{secret_file} cannot be written: {error.strerror or error}; name another: --to") from error
    return stored


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
    try:
        with locked(path.with_name(path.name + ".lock")):
            changed = change(read_keys(path))
            write_whole(path, msgspec.json.format(msgspec.json.encode(changed), indent=1), mode=PRIVATE)
    except OSError as error:
        remedy = "free disk space, or name another file: --keys"
        raise KeysError(f"{path} cannot be written: {error.strerror or error}; {remedy}") from error


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
