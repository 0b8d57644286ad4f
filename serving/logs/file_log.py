"""Append logs. When `append` returns, the lines are durable, and every process that follows the log will see them.

There are two implementations: files of one host (here), and a Redis stream for several hosts (`redis_log`).

    FOLDER/<name>-00000001.log        segments of whole lines; the one with the highest number grows
    FOLDER/<name>.lock                locked while appending
    FOLDER/<name>.folded              the log's bytes after it was folded last, where it is folded at all

Segments are removed from the lowest number on, so the numbers that exist have no gap.

A crash can leave half a line, which was never acknowledged. The next writer cuts it off, and readers return whole
lines only.
"""

import contextlib
import os
import time
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Protocol

from serving.stores.files import PRIVATE, locked, write_whole

SEGMENT_BYTES = 64 << 20
SEGMENT_S = 1800.0  # a segment has lines of one half hour only, so that none keeps old lines for long
FOLD_BYTES = 1 << 20  # a smaller log is not folded
BLOCK_BYTES = 1 << 20  # what is read in one go; a line has far fewer
Mark = tuple[int, int]  # a segment's number and an offset in it


class LogError(OSError):
    """The log cannot be written or read; lines that were to be appended were not taken."""


class Reader(Protocol):
    """Reads a log from its beginning, or from a mark, and then what is appended."""

    def read(self) -> bytes:
        """The next whole lines, at most about a block of them; empty at the log's end. Raises LogError."""

    def close(self) -> None: ...


class Log(Protocol):
    """A log of lines."""

    def append(self, lines: bytes) -> None:
        """Append whole lines. Raises LogError: then files hold none of them, but Redis may hold some."""

    def reader(self) -> Reader: ...

    def fold(self, folded: Callable[[bytes], bytes]) -> None:
        """Replace all lines by those that `folded` makes of them, if the log doubled since that was done last.

        So folding costs no more than a constant for each byte appended. Raises OSError.
        """


class FileLog:
    """A log in files that all processes of one host append to and follow."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        sync: bool = True,
        rolls: bool = False,
        segment_bytes: int = SEGMENT_BYTES,
        suffix: str = ".log",
    ) -> None:
        """With `rolls`, a segment has lines of one half hour only."""
        self._folder, self._name, self._sync, self._suffix = folder, name, sync, suffix
        self._rolls, self._segment_bytes = rolls, segment_bytes

    def path(self, segment: int) -> Path:
        return self._folder / f"{self._name}-{segment:08d}{self._suffix}"

    def segments(self) -> list[int]:
        """The numbers of the existing segments, ascending."""
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
        """Append whole lines. With `sync` they survive a power cut, without it the end of the process."""
        if not lines:
            return
        try:
            with self._locked():
                path = self.path(self._growing_segment())
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, PRIVATE)
                try:
                    _append_whole(descriptor, lines, sync=self._sync)
                finally:
                    os.close(descriptor)
        except OSError as error:
            where = self._folder / self._name
            raise LogError(
                f"{where} cannot be written: {error.strerror or error}; free disk space, then send it again"
            ) from error

    def _growing_segment(self) -> int:
        last = max(self.segments(), default=1)
        return last + 1 if self._is_over(last) else last

    def _is_over(self, segment: int) -> bool:
        """Whether a segment is full, or has lines of an earlier half hour."""
        try:
            stat = self.path(segment).stat()
        except FileNotFoundError:
            return False
        if not self._rolls:
            return stat.st_size >= self._segment_bytes
        earlier = stat.st_size > 0 and stat.st_mtime // SEGMENT_S != time.time() // SEGMENT_S
        return earlier or stat.st_size >= self._segment_bytes

    def roll(self) -> None:
        """Begin a segment if the growing one is over, though nobody appends, so that it can be dropped."""
        with self._locked():
            segments = self.segments()
            if segments and self._is_over(segments[-1]):
                self.path(segments[-1] + 1).touch(PRIVATE)

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        """Lock the log: nobody else appends until the block is left."""
        return locked(self._folder / f"{self._name}.lock")

    def reader(self, mark: Mark = (0, 0)) -> "FileReader":
        return FileReader(self, mark)

    def fold(self, folded: Callable[[bytes], bytes], min_bytes: int = FOLD_BYTES) -> None:
        """Fold all segments into one, if they hold `min_bytes` and twice what the last fold left.

        Readers go on undisturbed, because they keep their files open. What is appended meanwhile goes to the next
        segment, which is not folded.
        """
        with self._locked():
            segments = self.segments()
            size = sum(self.path(number).stat().st_size for number in segments)
            if size < max(min_bytes, 2 * self._folded_bytes()):
                return
            self.path(segments[-1] + 1).touch(PRIVATE)
        whole = b"".join(self.path(number).read_bytes() for number in segments)
        whole = whole[: whole.rfind(b"\n") + 1]
        fewer = folded(whole)
        # Where folding makes nothing shorter, the lines themselves are joined: many segments become one.
        write_whole(self.path(segments[-1]), min(fewer, whole, key=len), mode=PRIVATE)
        write_whole(self._folded_mark(), b"%d" % min(len(fewer), len(whole)), mode=PRIVATE)
        self.drop(segments[:-1])

    def _folded_mark(self) -> Path:
        return self._folder / f"{self._name}.folded"

    def _folded_bytes(self) -> int:
        """What the last fold left; 0 if there was none, or if its mark is damaged: then one more is done."""
        try:
            return int(self._folded_mark().read_bytes())
        except (FileNotFoundError, ValueError):
            return 0

    def size(self) -> int:
        """The bytes of all segments."""
        total = 0
        for number in self.segments():
            with contextlib.suppress(FileNotFoundError):
                total += self.path(number).stat().st_size
        return total

    def older_than(self, at_s: float) -> list[int]:
        """The lowest segments of which all lines were appended before a moment in UTC seconds."""
        return list(takewhile(lambda number: self.path(number).stat().st_mtime < at_s, self.segments()))

    def drop(self, segments: list[int]) -> None:
        """Remove segments, which must be the lowest ones."""
        for number in sorted(segments):
            self.path(number).unlink(missing_ok=True)


class FileReader:
    """Reads a log segment by segment; one that it has begun is read to its end, even if it was removed since."""

    def __init__(self, log: FileLog, mark: Mark) -> None:
        self._log, (self._segment, self._offset) = log, mark
        self._descriptor: int | None = None

    @property
    def mark(self) -> Mark:
        """Where the next line begins."""
        return self._segment, self._offset

    def read(self) -> bytes:
        """The next whole lines, at most BLOCK_BYTES of them; empty at the log's end."""
        while True:
            if self._descriptor is None and not self._open(self._segment):
                return b""
            assert self._descriptor is not None
            # Before reading, because only a segment that has a successor is known to grow no more.
            later = self._next_segment()
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
            later = self._next_segment()
            if later is None:
                return False
            self._segment, self._offset = later, 0
            return self._open(later)
        return True

    def _next_segment(self) -> int | None:
        if self._log.path(self._segment + 1).exists():
            return self._segment + 1
        if self._log.path(self._segment).exists():  # there is no gap, so this is the last one
            return None
        return next((number for number in self._log.segments() if number > self._segment), None)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _append_whole(descriptor: int, data: bytes, *, sync: bool) -> None:
    """Append all of `data`, or nothing."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":  # a writer died in the middle of a line
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
