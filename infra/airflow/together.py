"""Run Airflow's four components together, until one ends or a signal comes: `infra/airflow/start.sh all`.

The API server ends last. A task that runs tells it how it ended; without it Airflow asks for a minute, in vain.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil

API_SERVER = "api-server"
COMPONENTS = (API_SERVER, "scheduler", "dag-processor", "triggerer")
TASKS_MAY_END_S = 10.0  # a task that is about to end
JOBS_MAY_END_S = 30.0  # a job that was told to end
POLL_S = 0.1


def say(what: str) -> None:
    """Print a line for the operator."""
    sys.stderr.write(f"start.sh: {what}\n")
    sys.stderr.flush()


def ended(processes: Iterable[subprocess.Popen[bytes]], within_s: float, hurry: Callable[[], bool]) -> bool:
    """Wait until all have ended; return whether they did in time and before there was a hurry."""
    until = time.monotonic() + within_s
    while any(process.poll() is None for process in processes):
        if hurry() or time.monotonic() > until:
            return False
        time.sleep(POLL_S)
    return True


def below(pid: int, *, recursive: bool = False) -> list[psutil.Process]:
    """Return the processes that a process has started, and with `recursive` what those have started."""
    found: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        found = psutil.Process(pid).children(recursive=recursive)
    return found


def end(components: dict[str, subprocess.Popen[bytes]], hurry: Callable[[], bool]) -> None:
    """End all but the API server, the tasks that still run, then it; kill what is left, in a `hurry` at once."""
    api_server, scheduler = components[API_SERVER], components["scheduler"]
    others = [process for name, process in components.items() if name != API_SERVER]
    started = [child for process in components.values() for child in below(process.pid, recursive=True)]
    for process in others:
        process.terminate()
    if not ended(others, TASKS_MAY_END_S, hurry):
        # Each task is a child of one of the executor's workers; Airflow ends its job.
        tasks = [task for worker in below(scheduler.pid) for task in below(worker.pid)]
        if tasks:
            say("a task still runs; it is told to end, and its next try comes after the next start")
        for task in tasks:
            with suppress(psutil.NoSuchProcess):
                task.terminate()
        ended(others, JOBS_MAY_END_S, hurry)
    api_server.terminate()
    ended([api_server], JOBS_MAY_END_S, hurry)
    if hurry():
        say("signalled again: everything is killed")
    for name, process in components.items():
        if process.poll() is None:
            say(f"{name} did not end, and is killed")
            process.kill()
            process.wait()
    for child in started:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    for process in components.values():  # what one started just before it was ended is in its group
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def main() -> int:
    """Start the components by `start.sh` at argv[1]; return the status to end with."""
    signals: list[int] = []  # those that came: the first asks for an end, one more for a quick one
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda came, _: signals.append(came))
    # In groups of their own, as a terminal's Ctrl-C goes to the whole group, the API server with it.
    components = {name: subprocess.Popen([sys.argv[1], name], process_group=0) for name in COMPONENTS}
    while not signals and all(process.poll() is None for process in components.values()):
        time.sleep(POLL_S)
    heeded = len(signals)
    if signals:
        status = 128 + signals[0]
    else:
        gone = next(name for name, process in components.items() if process.poll() is not None)
        say(f"{gone} has ended; the others are ended too")
        status = 1
    end(components, lambda: len(signals) > heeded)
    return status


if __name__ == "__main__":
    sys.exit(main())
