"""What an nginx cache keeps away from the endpoint, and how long it shows what is sold out.

Visitors ask for a mix: of ten requests four are of a stranger's homepage or best sellers, one is of a category of
CATEGORIES, by its fame, one of similar items of ITEMS products, by theirs, and four are of a shopper's own shelf,
which no cache may keep. They come RATE a second for SECONDS. Then one product after another is sold out, and a
stranger's shelf with it is asked for through the cache until it is gone.
"""

import json
import random
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from jobs.publishing.publish import publish
from serving.stores import open_store
from tests.bench.bench_endpoint import endpoint, popular_night, processor_s
from tests.bench.figures import Figure, percentile
from tests.bench.shop import user_id
from tests.serving.nginx import caching

USERS, ITEMS, CATEGORIES, RATE, SECONDS, CALLERS = 20_000, 5_000, 20, 400, 40, 8
SOLD_OUT = 100
SHARED_PATHS = ("/shared/recommendations?limit=30", "/shared/pages/homepage")


def requests(seed: int, categories: list[str]) -> Iterator[str]:
    """Paths of the mix, without end."""
    rng = random.Random(seed)
    while True:
        kind, fame = rng.random(), rng.random() ** 3  # the best known are asked for most
        if kind < 0.4:
            yield rng.choice(SHARED_PATHS)
        elif kind < 0.5:
            yield f"/shared/recommendations?category={categories[int(fame * len(categories))]}"
        elif kind < 0.6:
            yield f"/items/item-{int(fame * ITEMS):05d}/similar"
        else:
            yield f"/recommendations?user_id={user_id(rng.randrange(USERS))}"


def ask(seed: int, base: str, secret: str, categories: list[str], ends: float, told: Counter[str]) -> None:
    """Ask at this caller's share of the rate; count answers by what the cache says of them."""
    paths, due = requests(seed, categories), time.monotonic()
    with httpx.Client(base_url=base, headers={"authorization": f"Bearer {secret}"}, timeout=10) as client:
        while time.monotonic() < ends:
            answer = client.get(next(paths))
            assert answer.status_code == 200, answer.text
            told[answer.headers.get("x-cache", "personal")] += 1
            due += CALLERS / RATE
            time.sleep(max(0.0, due - time.monotonic()))


def shown_s(base: str, port: int, secret: str) -> list[float]:
    """Seconds for which the cache showed each of some products after it was sold out."""
    headers, took = {"authorization": f"Bearer {secret}"}, []
    with (
        httpx.Client(base_url=base, headers=headers) as cache,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers) as feed,
    ):
        for _ in range(SOLD_OUT):
            time.sleep(random.Random(len(took)).random())

            def shown() -> list[str]:
                return [row["item_id"] for row in cache.get(SHARED_PATHS[0]).json()["recommendations"]]

            item = shown()[0]
            began = time.perf_counter()
            feed.post("/items", content=json.dumps({"item_id": item, "stock": 0})).raise_for_status()
            while item in shown():
                time.sleep(0.002)
            took.append(time.perf_counter() - began)
            feed.post("/items", content=json.dumps({"item_id": item, "stock": 5})).raise_for_status()
    return took


def main() -> list[Figure]:
    if shutil.which("nginx") is None:
        pytest.skip("nginx is missing: apt-get install nginx-light")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with closing(open_store(f"lmdb://{folder}/store")) as store:
            tonight = popular_night(USERS, ITEMS)
            publish(tonight, store)
        paths = [path for path in tonight.items["category"].to_pylist() if path]
        categories = [path for path, _ in Counter(paths).most_common(CATEGORIES)]
        with endpoint(folder, 2) as served, caching(folder / "nginx", served.port) as port:
            base, told = f"http://127.0.0.1:{port}", [Counter[str]() for _ in range(CALLERS)]
            spent = sum(map(processor_s, served.workers()))
            ends = time.monotonic() + SECONDS
            arguments = [(seed, base, served.secret, categories, ends, told[seed]) for seed in range(CALLERS)]
            threads = [threading.Thread(target=ask, args=given) for given in arguments]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            spent = sum(map(processor_s, served.workers())) - spent
            stale = shown_s(base, served.port, served.secret)
    counts = sum(told, Counter[str]())
    shared = sum(count for kind, count in counts.items() if kind != "personal")
    return [
        Figure("of what is everybody's, kept away from the endpoint", counts["HIT"] / shared, ""),
        Figure("of all requests, kept away", counts["HIT"] / counts.total(), ""),
        Figure("requests", counts.total() / SECONDS, "a second"),
        Figure("processor of the endpoint, of a second", spent / SECONDS, "s"),
        Figure(f"a product is shown after it was sold out, p50 of {SOLD_OUT}", percentile(stale, 0.5), "s"),
        Figure("the longest", max(stale), "s", wanted="at most 1"),
    ]
