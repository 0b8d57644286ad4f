"""Lands the logs of one host: the spool of exposures and the log of events become files under a landing folder.

    landing/exposures/ds=DAY/HH-<host>-<instance>.jsonl.gz  a row per answer, by the hour it was given
    landing/events/ds=DAY/HH-<host>-<instance>.jsonl        each event once, by the day and hour it was received

Every line is landed exactly once: one LMDB transaction in `landed.mdb` records how far a log is landed, the sizes of
the files then, and the ids of the events. What a lander wrote beyond those sizes before it died is cut off. Each
block of a `.gz` is a gzip member of its own, so that what is left is whole.
"""

import gzip
import os
from pathlib import Path

from serving.logs.file_log import FileLog, Mark
from serving.logs.host_name import host_name
from serving.logs.landed_rows import SPLITS
from serving.logs.landing_record import LandingRecord, Transaction, drop_landed

_KEPT_FILES = 64
GZIP_LEVEL = 1  # takes a third of the time of the usual 6, for a fifth more bytes
_SUFFIX = {"exposures": ".jsonl.gz", "events": ".jsonl"}
LinesByFile = dict[str, list[bytes]]  # file names under `landing/`


class Lander:
    """Lands both logs of a host in a folder. `step` lands what is there; call it again and again."""

    def __init__(self, landing: Path, spool: FileLog, events: FileLog, state: Path) -> None:
        self._landing = landing
        self._logs = {"exposures": spool, "events": events}
        self._record = LandingRecord(state)
        try:
            self._file_name = host_name(state)
            self._readers = {name: log.reader(self._cut_off_unrecorded(name)) for name, log in self._logs.items()}
        except BaseException:
            self._record.close()
            raise

    def step(self) -> int:
        """Land at most a block of each log; return the number of lines. Raises OSError or lmdb.Error."""
        return sum(self._land(name) for name in self._logs)

    def finish(self) -> None:
        """Land all that is there."""
        while self.step():
            pass

    def mark(self, name: str) -> Mark:
        """Up to where a log is landed."""
        return self._readers[name].mark

    def _cut_off_unrecorded(self, name: str) -> Mark:
        """Cut files back to their recorded sizes; return where to go on in the log."""
        progress = self._record.progress(name)
        for file, size in progress.files.items():
            path = self._landing / file
            if path.exists() and path.stat().st_size > size:
                os.truncate(path, size)
        return progress.mark

    def _land(self, name: str) -> int:
        reader = self._readers[name]
        mark_before = reader.mark
        block = reader.read()
        if not block:
            return 0
        try:
            while not self._land_block(name, block):
                pass
        except BaseException:
            reader.close()
            self._cut_off_unrecorded(name)
            self._readers[name] = self._logs[name].reader(mark_before)
            raise
        return block.count(b"\n")

    def _land_block(self, name: str, block: bytes) -> bool:
        """Land a block and record it in one transaction. False if it only recorded new files: call it again."""
        try:
            with self._record.write() as txn:
                lines_by_file, progress = self._split(name, block, txn), self._record.progress(name, txn)
                new_files = lines_by_file.keys() - progress.files.keys()
                if new_files:
                    raise _NewFilesError
                for file, lines in lines_by_file.items():
                    progress.files[file] = _append(self._landing / file, _file_bytes(file, lines))
                progress.mark = self._readers[name].mark
                self._record.put(name, progress, txn)
                return True
        except _NewFilesError:
            # A file is recorded before it is first written to, so that a dead lander's lines can be cut off.
            with self._record.write() as txn:
                sizes = {file: path.stat().st_size for file in new_files if (path := self._landing / file).exists()}
                progress = self._record.progress(name, txn)
                known = {**dict.fromkeys(lines_by_file, 0), **progress.files, **sizes}
                # All files of the block, however many and old: a file that is left out would be new for ever.
                progress.files = _newest(progress.files) | {file: known[file] for file in lines_by_file}
                self._record.put(name, progress, txn)
        return False

    def _split(self, name: str, block: bytes, txn: Transaction) -> LinesByFile:
        rows_by_hour = SPLITS[name](block, txn)
        return {f"{hour}-{self._file_name}{_SUFFIX[name]}": rows for hour, rows in rows_by_hour.items()}

    def sweep(self, now_s: float) -> None:
        """Remove segments that are landed and no longer read, and the ids of events from before yesterday."""
        drop_landed(self._logs, {name: self.mark(name) for name in self._logs}, now_s)
        self._record.forget_events(now_s)

    def close(self) -> None:
        """Close the logs and the record of what is landed, and let another lander begin."""
        for reader in self._readers.values():
            reader.close()
        self._record.close()


class _NewFilesError(Exception):
    """A block has rows for files that are not recorded yet; its transaction is given up."""


def _newest(files: dict[str, int]) -> dict[str, int]:
    """The newest files by day and hour; older ones are not written to again."""
    return dict(sorted(files.items(), key=lambda pair: pair[0].split("/")[1:])[-_KEPT_FILES:])


def _file_bytes(file: str, lines: list[bytes]) -> bytes:
    data = b"".join(lines)
    return gzip.compress(data, GZIP_LEVEL, mtime=0) if file.endswith(".gz") else data


def _append(path: Path, data: bytes) -> int:
    """Append to a file and sync it; return its new size. Raises OSError, with nothing appended."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        size = file.tell()  # not what is recorded: an erasure makes files shorter
        try:
            view = memoryview(data)
            while view:
                view = view[file.write(view) or 0 :]
            # A power cut must not leave half a member below the size that is recorded next.
            os.fsync(file.fileno())
        except OSError:
            file.truncate(size)
            raise
    return size + len(data)
