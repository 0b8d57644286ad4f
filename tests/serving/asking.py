"""Callers who ask for shelves while a fault happens, and a report of what they got."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

import httpx

from tests.serving.running import Server

ASKERS = 4


def answers_during(servers: Sequence[Server], fault: Callable[[], None], seconds: float = 2.5) -> Counter[str]:
    """Ask all servers without pause from a second before the fault until `seconds` after it.

    Return how many answers were 2xx, 4xx, 5xx or full, were lost with their connection, or named a degradation.
    """
    counts_by_asker: list[Counter[str]] = [Counter() for _ in range(ASKERS)]  # one per thread, which needs no lock
    stop = threading.Event()

    def ask(number: int) -> None:
        server, asked_count, counts = servers[number % len(servers)], 0, counts_by_asker[number]
        client = server.client("read")
        while not stop.is_set():
            user = f"user-{(number * 7 + asked_count) % 60}"
            asked_count += 1
            try:
                answer = client.get(f"/recommendations?user_id={user}")
            except httpx.TransportError:
                counts["connection lost"] += 1
                client.close()
                client = server.client("read")
                time.sleep(0.05)
                continue
            body = answer.json()
            counts[f"{answer.status_code // 100}xx"] += 1
            counts["full"] += len(body.get("recommendations", ())) == 20
            for reason in body.get("degraded", ()):
                counts[reason] += 1
        client.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(ASKERS)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(1)
        fault()
        time.sleep(seconds)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    return sum(counts_by_asker, Counter())


def report(fault: str, counts: Counter[str]) -> None:
    """Print a row of the table; assert that no answer was a 5xx and that every shelf was full."""
    degraded = {
        name: count for name, count in counts.items() if name not in {"2xx", "5xx", "full", "connection lost"}
    }
    reasons = ", ".join(f"{name} {count:,}" for name, count in sorted(degraded.items())) or "none"
    cells = (fault, counts["2xx"], counts["full"], counts["5xx"], counts["connection lost"], reasons)
    sys.stdout.write(f"| {' | '.join(f'{cell:,}' if isinstance(cell, int) else cell for cell in cells)} |\n")
    assert counts["5xx"] == 0, counts
    assert counts["full"] == counts["2xx"] > 50, counts
