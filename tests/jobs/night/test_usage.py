"""Processor time and memory of a command: by kind of process, and with those that have ended."""

import subprocess
import sys
import time

from jobs.night.usage import Processor, resident_mib

BUSY = "import time\nwhile time.process_time() < 0.3: pass"


def busy(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_what_this_process_computes_is_the_drivers() -> None:
    before = Processor.used()
    busy(0.3)
    used = Processor.used() - before
    assert 0.25 <= used.driver_s < 5
    assert used.jvm_s + used.workers_s < used.driver_s


def test_a_process_that_ended_counts_among_the_workers() -> None:
    before = Processor.used()
    child = subprocess.Popen([sys.executable, "-c", BUSY])
    assert child.wait() == 0
    used = Processor.used() - before
    assert used.workers_s >= 0.25
    assert used.driver_s < used.workers_s


def test_a_process_that_was_lost_track_of_takes_nothing_away() -> None:
    assert Processor(1.0, 0.0, 0.0) - Processor(0.5, 2.0, 3.0) == Processor(0.5, 0.0, 0.0)


def test_it_is_told_in_one_line() -> None:
    assert str(Processor(4.13, 1044.0, 12.2)) == (
        "1,060.3 s of processor (driver 4.1, Java 1,044.0, Python workers 12.2)"
    )


def test_memory_is_that_of_this_process_at_least() -> None:
    assert resident_mib() > 10
