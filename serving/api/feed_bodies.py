"""Bodies of `POST /items` and `POST /events`: rows as JSON lines, a JSON array or one JSON object, plain or gzip.

from serving.api.feed_bodies import split_rows
rows = split_rows(b'[{"item_id": "mug-1", "stock": 3}]', b"application/json")
"""

import zlib

import msgspec

from serving.logs.item_feed import MAX_BYTES, MAX_ROWS
from serving.problems import ProblemError
from serving.snapshot.manifest import NOT_JSON

JSON = "application/json"
LINES = ("application/x-ndjson", "text/plain")
_ALSO_LINES = ("", "application/jsonl", "application/x-www-form-urlencoded")  # the last is what curl says by itself
_GZIP_WITH_HEADER = 31  # zlib's `wbits`
_MOST_SEPARATORS = 32 * MAX_ROWS  # commas or line ends; splitting at more of them would take memory and time
_ARRAY, _VALUE = msgspec.json.Decoder(list[msgspec.Raw]), msgspec.json.Decoder(msgspec.Raw)


def inflated(body: bytes, encoding: bytes) -> bytes:
    """Return the body without its `Content-Encoding`, at most MAX_BYTES long.

    Raises ProblemError: 400 for damaged gzip, 413 for more than MAX_BYTES, 415 for another encoding.
    """
    name = encoding.strip().lower()
    if name in (b"", b"identity"):
        return body
    if name not in (b"gzip", b"x-gzip"):
        known = [(b"accept-encoding", b"gzip")]
        raise ProblemError(415, "this Content-Encoding is not read here", "send gzip, or plain rows", headers=known)
    engine = zlib.decompressobj(_GZIP_WITH_HEADER)
    try:
        plain = engine.decompress(body, MAX_BYTES + 1)
    except zlib.error as error:
        remedy = "compress it again, or leave out Content-Encoding"
        raise ProblemError(400, f"the body is not gzip: {error}", remedy) from error
    if len(plain) > MAX_BYTES:
        raise _too_large(f"more than {MAX_BYTES} bytes without gzip")
    if not engine.eof or engine.unused_data:
        raise ProblemError(400, "the gzip body is cut off, or has more behind its end", "send one whole gzip stream")
    return plain


def split_rows(body: bytes, content_type: bytes | None) -> list[bytes]:
    """Return the rows of a body: elements of an array, one object, or lines, of which some may be blank.

    Raises ProblemError: 400 for a body that is not JSON, 413 for too many rows, 415 for another content type.
    """
    media_type = (content_type or b"").partition(b";")[0].strip().lower().decode("latin-1")
    if media_type != JSON and media_type not in (*LINES, *_ALSO_LINES):
        raise ProblemError(
            415, "rows are not read from this Content-Type", f"send {' or '.join(LINES)} (JSON lines), or {JSON}"
        )
    separators = body.count(b",") if media_type == JSON else body.count(b"\n") + body.count(b"\r")
    if len(body) > MAX_BYTES or separators > _MOST_SEPARATORS:
        raise _too_large(f"{len(body)} bytes, {separators} commas or line ends")
    rows = _json_rows(body) if media_type == JSON else body.splitlines()
    if len(rows) > MAX_ROWS:
        raise _too_large(f"{len(rows)} rows")
    return rows


def _json_rows(body: bytes) -> list[bytes]:
    try:
        if body.lstrip()[:1] == b"[":
            return [bytes(row) for row in _ARRAY.decode(body)]
        return [bytes(_VALUE.decode(body))]
    except NOT_JSON as error:
        raise ProblemError(
            400, f"the body is not JSON: {error}", f"send an array or an object; JSON lines are {LINES[0]}"
        ) from error


def _too_large(what: str) -> ProblemError:
    return ProblemError(413, what, f"send at most {MAX_ROWS} rows in {MAX_BYTES} bytes")
