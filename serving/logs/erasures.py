"""The log of a host's erasures, and how it comes to landing.

    landing in a folder    the log stands there:  landing/tombstones/erased-00000001.jsonl
    landing on S3          the log stands in the state folder, and each segment is one object, which grows with it:
                           landing/tombstones/erased-<host>-<instance>-00000001.jsonl

On S3 both the worker that takes an erasure and the lander bring it there, whoever is first.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from serving.logs.file_log import FileLog
from serving.logs.host_name import host_name
from serving.settings import EndpointSettings
from serving.snapshot.tombstones import FOLDER
from serving.stores.files import locked, write_whole
from serving.stores.places import S3Address, place_of

if TYPE_CHECKING:
    from serving.stores.s3 import S3Prefix

_SEGMENT_BYTES = 1 << 20  # about 9,000 erasures; an object is written whole with each more
_MARK = msgspec.json.Decoder(tuple[int, int])


def erasure_log(settings: EndpointSettings) -> FileLog:
    """The log that all workers of a host append to and follow; it keeps every erasure."""
    place = place_of(settings.landing)
    if isinstance(place, Path):
        return FileLog(place / FOLDER, "erased", suffix=".jsonl")
    return FileLog(settings.state, "erased", suffix=".jsonl", segment_bytes=_SEGMENT_BYTES)


def land_erasures(settings: EndpointSettings) -> None:
    """Bring to landing what of the log is not there yet. Raises OSError or StoreError, and then it is not all there.

    Does nothing where landing is a folder. `erased.landed` in the state folder says how far the log is landed.
    """
    if not isinstance(place_of(settings.landing), S3Address):
        return
    log, mark_file = erasure_log(settings), settings.state / "erased.landed"
    if not any(_waiting(log, _landed_mark(mark_file))):
        return
    from serving.stores.s3 import QUICK, S3Prefix

    with (
        locked(settings.state / "erased.landing"),
        closing(S3Prefix(settings.landing, QUICK, "it is tried again")) as landing,
    ):
        for segment, data in _waiting(log, _landed_mark(mark_file)):
            name = f"erased-{host_name(settings.state)}-{segment:08d}.jsonl"
            _write_all(landing, landing.key(FOLDER, name), data)
            write_whole(mark_file, msgspec.json.encode((segment, len(data))))


def _waiting(log: FileLog, landed: tuple[int, int]) -> Iterator[tuple[int, bytes]]:
    """The segments that hold more than what is landed, each with all of its whole lines."""
    for segment in log.segments():
        if (segment, log.path(segment).stat().st_size) > landed:
            data = log.path(segment).read_bytes()
            data = data[: data.rfind(b"\n") + 1]
            if (segment, len(data)) > landed:
                yield segment, data


def _landed_mark(path: Path) -> tuple[int, int]:
    """The last segment that is landed, and how much of it. A lost mark costs no more than one more look at S3."""
    try:
        return _MARK.decode(path.read_bytes())
    except (FileNotFoundError, msgspec.MsgspecError):
        return (0, 0)


def _write_all(landing: "S3Prefix", key: str, data: bytes) -> None:
    """Let an object hold every line of `data`. A line that it has already stays, as after a restored state folder."""
    etag, content = None, data
    while not landing.write_if(key, content, etag):
        found = landing.read(key)
        if found is None:
            etag, content = None, data
            continue
        held, etag = found
        ours = set(data.splitlines(keepends=True))
        theirs = held.splitlines(keepends=True)
        if ours <= set(theirs):
            return
        content = data + b"".join(line for line in theirs if line not in ours)
