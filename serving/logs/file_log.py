"""Append logs: what is appended is durable when `append` returns, and every process that follows the log sees it.

Two implementations: files of one host, and a Redis stream for several.

    FOLDER/<name>-00000001.log        segments of whole lines; the one with the highest number grows
    FOLDER/<name>.lock                held while appending

A line torn by a crash was never acknowledged; the next writer cuts it off, and readers hold back what has no end.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from serving.stores.files import PRIVATE, locked, write_whole

SEGMENT_BYTES = 64 << 20
BLOCK_BYTES = 8 << 20
Mark = tuple[int, int]  # a segment's number and an offset in it


class LogError(OSError):
    """A log that cannot be written or read; what was to be appended was not taken."""


class Reader(Protocol):
    """Follows a log from its beginning, or from a mark."""

    def read(self) -> bytes:
        """Whole lines that came since, at most a block of them; empty when there are none. Raises LogError."""

    def close(self) -> None: ...


class Log(Protocol):
    """A log of lines."""

    def append(self, lines: bytes) -> None:
        """Append whole lines, all or none, for good. Raises LogError."""

    def reader(self) -> Reader: ...

    def fold(self, folded: Callable[[bytes], bytes]) -> None:
        """Put fewer lines in the place of those that stand, where that is worth while: `folded` makes them."""


class FileLog:
    """A log in files that all processes of one host append to and follow."""

    def __init__(
        self, folder: Path, name: str, *, sync: bool = True, segment_bytes: int = SEGMENT_BYTES, suffix: str = ".log"
    ) -> None:
        self._folder, self._name, self._sync, self._suffix = folder, name, sync, suffix
        self._segment_bytes = segment_bytes

    def path(self, segment: int) -> Path:
        return self._folder / f"{self._name}-{segment:08d}{self._suffix}"

    def segments(self) -> list[int]:
        """The numbers of the segments there are, ascending."""
        begin, end = len(self._name) + 1, -len(self._suffix)
        try:
            names = [path.name for path in self._folder.iterdir()]
        except FileNotFoundError:
            return []
        return sorted(
            int(name[begin:end])
            for name in names
            if name.startswith(f"{self._name}-") and name.endswith(self._suffix) and name[begin:end].isdecimal()
        )

    def append(self, lines: bytes) -> None:
        """Append whole lines; with `sync` they outlast a power cut, without it the process."""
        if not lines:
            return
        try:
            with self._locked():
                path = self.path(self._growing())
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, PRIVATE)
                try:
                    _append_whole(descriptor, lines, sync=self._sync)
                finally:
                    os.close(descriptor)
        except OSError as error:
            where = self._folder / self._name
            raise LogError(
                f"{where} cannot be written: {error.strerror or error}; free space, then send it again"
            ) from error

    def _growing(self) -> int:
        last = max(self.segments(), default=1)
        with contextlib.suppress(FileNotFoundError):
            if self.path(last).stat().st_size >= self._segment_bytes:
                return last + 1
        return last

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        """Hold the log: nobody appends until the block is left."""
        return locked(self._folder / f"{self._name}.lock")

    def reader(self, mark: Mark = (0, 0)) -> "FileReader":
        return FileReader(self, mark)

    def fold(self, folded: Callable[[bytes], bytes], least_bytes: int = 1 << 20) -> None:
        """Fold all segments into one, unless they are small; readers go on where they are, for files stay open.

        What is appended meanwhile goes to the next segment and stays as it is.
        """
        with self._locked():
            segments = self.segments()
            if not segments or sum(self.path(n).stat().st_size for n in segments) < least_bytes:
                return
            self.path(segments[-1] + 1).touch(PRIVATE)
        whole = b"".join(self.path(n).read_bytes() for n in segments)
        whole = whole[: whole.rfind(b"\n") + 1]
        fewer = folded(whole)
        if len(fewer) * 2 > len(whole):
            return
        write_whole(self.path(segments[-1]), fewer, mode=PRIVATE)
        self.drop(segments[:-1])

    def size(self) -> int:
        """The bytes of all segments."""
        total = 0
        for number in self.segments():
            with contextlib.suppress(FileNotFoundError):
                total += self.path(number).stat().st_size
        return total

    def drop(self, segments: list[int]) -> None:
        """Remove segments that nobody needs any more."""
        for number in segments:
            self.path(number).unlink(missing_ok=True)


class FileReader:
    """Reads a log segment by segment; a segment once begun is read to its end even when it was removed since."""

    def __init__(self, log: FileLog, mark: Mark) -> None:
        self._log, (self._segment, self._offset) = log, mark
        self._descriptor: int | None = None

    @property
    def mark(self) -> Mark:
        """Where the next line begins."""
        return self._segment, self._offset

    def read(self) -> bytes:
        while True:
            if self._descriptor is None and not self._open(self._segment):
                return b""
            assert self._descriptor is not None
            # Looked for before reading: a segment that has a successor grows no more.
            later = self._next()
            block = os.pread(self._descriptor, BLOCK_BYTES, self._offset)
            whole = block.rfind(b"\n") + 1
            if whole:
                self._offset += whole
                return block[:whole]
            if later is None:
                return b""
            self.close()
            self._segment, self._offset = later, 0

    def _open(self, segment: int) -> bool:
        try:
            self._descriptor = os.open(self._log.path(segment), os.O_RDONLY)
        except FileNotFoundError:
            later = self._next()
            if later is None:
                return False
            self._segment, self._offset = later, 0
            return self._open(later)
        return True

    def _next(self) -> int | None:
        return next((number for number in self._log.segments() if number > self._segment), None)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _append_whole(descriptor: int, data: bytes, *, sync: bool) -> None:
    """Append all of `data`, or nothing: a torn end is cut off again."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":  # a writer died within its last line
        tail = os.pread(descriptor, min(size, BLOCK_BYTES), max(0, size - BLOCK_BYTES))
        size -= len(tail) - (tail.rfind(b"\n") + 1)
        os.ftruncate(descriptor, size)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        if sync:
            os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, size)
        raise
