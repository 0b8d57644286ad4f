"""Do a step again and again, at a steady pace, until the process is told to end.

    topshelf trending --every 60

A step that fails is told, and done again when the next is due: what fails between nights heals by itself or needs a
person, and either way the next minute may be better.
"""

import signal
import sys
import threading
import time
from collections.abc import Callable


def repeat(step: Callable[[], str], every_s: float) -> None:
    """Print what a step says, and do it again `every_s` after it began, until SIGTERM or SIGINT.

    A step that takes longer is followed by the next at once; none is made up for.
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    while not stopping.is_set():
        began = time.monotonic()
        try:
            print(step(), flush=True)
        except Exception as error:  # whatever it is, the next minute is another try
            print(f"{type(error).__name__}: {error}; tried again in {every_s:g} s", file=sys.stderr, flush=True)
        stopping.wait(max(0.0, began + every_s - time.monotonic()))
