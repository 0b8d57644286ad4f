"""Lands the logs of one host on S3, in batches: each becomes an object for every hour that it has rows of.

    landing/exposures/ds=DAY/HH-<host>-<instance>-<begin>-<end>.jsonl.gz
    landing/events/ds=DAY/HH-<host>-<instance>-<begin>-<end>.jsonl.gz

A batch is a range of a log, and its object is named by that range. The range is recorded before anything is written.
So a lander that died, or whose answer from S3 was lost, makes the same object again, finds it there and leaves it:
no line is landed twice, none is left out, and rows that an erasure has taken out of it since do not come back.
"""

import gzip
import time
from contextlib import closing

from serving.logs.file_log import FileLog, Mark
from serving.logs.host_name import host_name
from serving.logs.landed_rows import SPLITS
from serving.logs.lander import GZIP_LEVEL
from serving.logs.landing_record import LandingRecord, drop_landed
from serving.settings import EndpointSettings
from serving.stores.s3 import QUICK, S3Prefix

BATCH_BYTES = 16 << 20  # of the log; compressed some hundred kilobytes
BATCH_S = 60.0  # a batch that is not full waits so long for more lines


class ObjectLander:
    """Lands both logs of a host on S3. `step` lands the batches that are due; call it again and again."""

    def __init__(self, settings: EndpointSettings, spool: FileLog, events: FileLog) -> None:
        self._landing = S3Prefix(settings.landing, QUICK, "what was logged waits on this host, and it is tried again")
        self._logs = {"exposures": spool, "events": events}
        self._record = LandingRecord(settings.state)
        try:
            self._name = host_name(settings.state)
            self._batches = {name: self._batch(name) for name in self._logs}
        except BaseException:
            self._record.close()
            raise

    def _batch(self, name: str) -> "_Batch":
        """The batch that is to be landed next: the one that was begun, or a new one."""
        progress = self._record.progress(name)
        return _Batch(self._logs[name], progress.mark, progress.planned)

    def step(self) -> int:
        """Land the batch of each log that is full or has waited long enough; return the number of lines.

        Raises StoreError, OSError or lmdb.Error; then the same is landed by a later step.
        """
        return sum(self._land(name, due=False) for name in self._logs)

    def finish(self) -> None:
        """Land all that is there, however little. Raises as `step` does."""
        for name in self._logs:
            while self._land(name, due=True):
                pass

    def mark(self, name: str) -> Mark:
        """Up to where a log is landed."""
        return self._batches[name].begin

    def _land(self, name: str, *, due: bool) -> int:
        batch = self._batches[name]
        batch.fill()
        if not batch.data or not (due or batch.is_due):
            return 0
        self._plan(name, batch)
        span = f"{batch.begin[0]:08d}.{batch.begin[1]:010d}-{batch.end[0]:08d}.{batch.end[1]:010d}"
        with self._record.write() as txn:
            for hour, rows in SPLITS[name](bytes(batch.data), txn).items():
                key = self._landing.key(f"{hour}-{self._name}-{span}.jsonl.gz")
                self._landing.write_once(key, gzip.compress(b"".join(rows), GZIP_LEVEL, mtime=0))
            progress = self._record.progress(name, txn)
            progress.mark, progress.planned = batch.end, None
            self._record.put(name, progress, txn)
        self._batches[name] = self._batch(name)
        return batch.data.count(b"\n")

    def _plan(self, name: str, batch: "_Batch") -> None:
        """Record where a batch ends, so that it is the same after a crash, too."""
        batch.is_planned = True
        with self._record.write() as txn:
            progress = self._record.progress(name, txn)
            progress.planned = batch.end
            self._record.put(name, progress, txn)
        self._record.sync()

    def sweep(self, now_s: float) -> None:
        """Remove segments that are landed and no longer read, and the ids of events from before yesterday.

        The ids wait for a batch that was begun: made again, it must leave out the same events.
        """
        drop_landed(self._logs, {name: self.mark(name) for name in self._logs}, now_s)
        if not self._batches["events"].is_planned:
            self._record.forget_events(now_s)

    def close(self) -> None:
        """Close the record of what is landed, and let another lander begin."""
        self._landing.close()
        self._record.close()


class _Batch:
    """The lines of a log from `begin` on; `end` is where they end by now, and for good once it is planned."""

    def __init__(self, log: FileLog, begin: Mark, planned: Mark | None) -> None:
        self.begin, self.end, self.data = begin, begin, bytearray()
        self._log, self._began_at = log, time.monotonic()
        self.is_planned = planned is not None
        if planned is not None:
            self._read_until(planned)

    def _read_until(self, planned: Mark) -> None:
        with closing(self._log.reader(self.begin)) as reader:
            while self.end < planned and (block := reader.read()):
                self.data += block
                self.end = reader.mark
        if self.end > planned and self.end[0] == planned[0]:  # the segment has grown since
            del self.data[planned[1] - self.end[1] :]
            self.end = planned
        self.is_planned = bool(self.data)  # a log that was removed by hand leaves nothing to land

    def fill(self) -> None:
        """Add lines that were logged since, unless the batch is full or planned."""
        if self.is_planned or len(self.data) >= BATCH_BYTES:
            return
        if not self.data:
            self._began_at = time.monotonic()
        with closing(self._log.reader(self.end)) as reader:
            while len(self.data) < BATCH_BYTES and (block := reader.read()):
                self.data += block
                self.end = reader.mark

    @property
    def is_due(self) -> bool:
        """Whether it is to be landed now."""
        waited_s = time.monotonic() - self._began_at
        return self.is_planned or len(self.data) >= BATCH_BYTES or waited_s >= BATCH_S
