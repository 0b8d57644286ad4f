"""The thread that appends to the spool outlives whatever an append raises."""

from pathlib import Path

from serving.logs.exposures import ExposureLog
from serving.logs.file_log import FileLog
from tests.serving.running import SOON_S, within


class Broken(FileLog):
    fault: Exception | None = None

    def append(self, lines: bytes) -> None:
        if self.fault is not None:
            raise self.fault
        super().append(lines)


def test_exposures_are_kept_again_after_a_fault_that_nobody_foresaw(tmp_path: Path) -> None:
    spool = Broken(tmp_path, "exposures", sync=False)
    spool.fault = RuntimeError("nobody foresaw it")
    log = ExposureLog(spool)
    log.put(b"1\n")
    assert within(SOON_S, lambda: log.dropped == 1 and log.task.trouble is not None)
    spool.fault = None
    log.put(b"2\n")
    assert within(SOON_S, lambda: log.kept == 1 and log.task.trouble is None)
    log.close()
    assert log.dropped == 1
    assert spool.reader().read() == b"2\n"
