"""What experiments cost a lookup: answers of a night with three of them beside those of one without, in one process.

python -m tests.bench arms

Two experiments deal shoppers, one of them with shelves of its own for an arm, and one deals requests; each in a layer
of its own. Then the same with an experiment that interleaves. Blocks of requests take turns, and the ratio is the
median over pairs of blocks, of processor time.
"""

import asyncio
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from statistics import median
from time import process_time

import numpy as np
import pyarrow as pa

from jobs.experiments.running import RunningExperiments, running_for
from jobs.publishing.night_contents import NightContents
from jobs.publishing.publish import publish
from serving.api.worker import Worker
from serving.settings import EndpointSettings
from serving.shelf.request import ShelfRequest
from serving.stores import open_store
from tests.bench.figures import Figure
from tests.bench.shop import many, user_id
from tests.jobs.experiments.declared import declared

USERS, ITEMS, LIMIT = 4_000, 20_000, 20
BLOCK, PAIRS = 1_500, 21
DAYS = "from: 2026-02-01\n    to: 2026-02-28"
THREE = f"""
experiments:
  varied-head:
    layer: one
    {DAYS}
    arms:
      control: {{}}
      varied: {{parameters: {{shelves.blend.mmr_lambda: 0.5}}}}
    shares: {{control: 0.5, varied: 0.5}}
  fewer-old:
    layer: two
    {DAYS}
    arms:
      control: {{}}
      newer: {{parameters: {{shelves.new_items.boost: 1}}}}
    shares: {{control: 0.5, newer: 0.5}}
  asked-anew:
    layer: three
    unit: request
    {DAYS}
    arms:
      control: {{}}
      as-ever: {{endpoint: {{explore_share: 0.1}}}}
    shares: {{control: 0.5, as-ever: 0.5}}
"""
INTERLEAVED = f"""
experiments:
  two-orders:
    layer: one
    kind: interleave
    {DAYS}
    arms:
      control: {{}}
      varied: {{parameters: {{shelves.blend.mmr_lambda: 0.5}}}}
    shares: {{interleaved: 1.0}}
"""


def night_of(running: RunningExperiments) -> NightContents:
    """A night whose shoppers have the shelves that their answers read."""
    plain = many(USERS, n_items=ITEMS)
    if not running:
        return plain

    def shelves(shard: int) -> pa.Table:
        rows = plain.shelves(shard)
        users = rows["user_id"].combine_chunks().cast(pa.string())
        needed = {user: running.assigner.night_variants(user) for user in users.unique().to_pylist()}
        every = sorted(set().union(*needed.values()))
        parts = []
        for variant in every:
            mine = pa.array([variant in needed[user] for user in users.to_pylist()])
            kept = rows.filter(mine)
            at = kept.column_names.index("variant")
            parts.append(kept.set_column(at, "variant", pa.repeat(variant, len(kept)).dictionary_encode()))
        return pa.concat_tables(parts, promote_options="permissive").unify_dictionaries()

    return replace(plain, shelves=shelves, experiments=running)


async def worker_of(up: AsyncExitStack, folder: Path, text: str) -> Worker:
    """A worker whose night has these experiments."""
    folder.mkdir()
    running = running_for(declared(folder, text), date(2026, 1, 31))
    with closing(open_store(f"lmdb://{folder}/store")) as store:
        publish(night_of(running), store)
    (folder / "landing").mkdir()
    (folder / "state").mkdir()
    settings = EndpointSettings(f"lmdb://{folder}/store", f"{folder}/landing", folder / "state", folder / "keys.json")
    worker = Worker(settings)
    await up.enter_async_context(worker.running())
    return worker


def seconds(ask: Callable[[ShelfRequest], object], requests: list[ShelfRequest]) -> float:
    """The processor's seconds for a block of requests."""
    began = process_time()
    for request in requests:
        ask(request)
    return process_time() - began


async def measured() -> list[Figure]:
    """The ratios, and what an answer takes without experiments."""
    draw = np.random.default_rng(3)
    async with AsyncExitStack() as up:
        folder = Path(up.enter_context(tempfile.TemporaryDirectory()))
        plain = await worker_of(up, folder / "plain", "")
        figures = []
        for what, text in (("three experiments", THREE), ("an interleaved shelf", INTERLEAVED)):
            other = await worker_of(up, folder / what.replace(" ", "-"), text)
            everybody = [ShelfRequest(user_id=user_id(user), limit=LIMIT) for user in range(USERS)]
            for worker in (plain, other):  # so that caches are warm
                seconds(worker.answers.recommend, everybody)
            pairs = []
            for number in range(PAIRS):
                block = [
                    ShelfRequest(user_id=user_id(int(user)), limit=LIMIT) for user in draw.integers(USERS, size=BLOCK)
                ]
                turns = [plain, other] if number % 2 else [other, plain]
                taken = {id(worker): seconds(worker.answers.recommend, block) for worker in turns}
                pairs.append((taken[id(other)], taken[id(plain)]))
                await asyncio.sleep(0.3)  # the log empties
            ratio = median(with_them / without for with_them, without in pairs)
            bare = 1e6 * median(without for _, without in pairs) / BLOCK
            wanted = "a ratio of at most 1.05" if what == "three experiments" else ""
            figures.append(Figure(f"an answer with {what}", ratio * bare, "µs", bare, "without", wanted))
        return figures


def main() -> list[Figure]:
    """Measure."""
    return asyncio.run(measured())
