"""A first night over catalogues of up to a million products: its stages, memory, and what is among the candidates.

The shops have as many shoppers and events, over PRODUCTS products. Recall is that of the newest training window: of
the pairs of a shopper and a product that something happened with in its fortnight, those among so many candidates as
of its day. Half an hour on two cores.
"""

import tempfile
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from jobs.candidates.generate import candidates
from jobs.candidates.sources import load_sources
from jobs.config.parameters import Parameters
from jobs.features.shoppers import shopper_batches
from jobs.lake.lake import Lake
from jobs.lake.tables import LABELS, SHARDS, WINDOW_CF
from jobs.numeric.arrays import find_sorted, pair_keys
from jobs.training.window_record import read_windows
from tests.bench.bench_night import night, topshelf
from tests.bench.figures import Figure

PRODUCTS = (20_000, 100_000, 1_000_000)
SHOPPERS, EVENTS, FIRST, LAST = 20_000, 1_000_000, date(2026, 1, 1), date(2026, 2, 13)
CANDIDATES = (400, 1_000)
LEAST_S = 10.0
"""Stages that take less have no figure of their own."""


def recalls(lake: Lake, ds: date, most: int) -> dict[str, float]:
    """Return the share of the window's pairs that are among `most` candidates: all, bought, and unknown pairs.

    Unknown is a product that the shopper had done nothing with before.
    """
    window = read_windows(lake, ds)[0]
    sources = load_sources(window.lake, window.ds, Parameters().candidates.taste_decay_days, WINDOW_CF)
    found = {"all": [0, 0], "bought": [0, 0], "unknown": [0, 0]}
    n_items = len(sources.catalogue)
    for shard in range(SHARDS):
        labels = window.lake.shard(LABELS, window.ds, shard)
        owners = pc.unique(labels["user_id"])
        for batch in shopper_batches(window.lake, window.ds, shard, n_items, only=owners):
            made = candidates(batch, sources, most)
            user = pc.index_in(labels["user_id"], value_set=batch.user_id).fill_null(-1).to_numpy()
            of_batch = user >= 0
            keys = pair_keys(user[of_batch], labels["item_pos"].to_numpy()[of_batch], n_items)
            hit = find_sorted(pair_keys(made.user, made.item, n_items), keys) >= 0
            known = find_sorted(pair_keys(batch.history_user(), batch.history["item_pos"], n_items), keys) >= 0
            bought = labels["purchased"].to_numpy()[of_batch]
            for name, chosen in (("all", np.ones(len(hit), bool)), ("bought", bought), ("unknown", ~known)):
                found[name][0] += int(hit[chosen].sum())
                found[name][1] += int(chosen.sum())
    return {name: hits / max(total, 1) for name, (hits, total) in found.items()}


def main() -> list[Figure]:
    figures = []
    for products in PRODUCTS:
        with tempfile.TemporaryDirectory() as name:
            size = ("--users", str(SHOPPERS), "--items", str(products), "--events", str(EVENTS))
            topshelf("synthetic-shop", *size, "--from", str(FIRST), "--to", str(LAST), "--landing", f"{name}/landing")
            runs = night(LAST, Path(name))[1]
            figures.append(
                Figure(f"{products:,} products: the night", sum(run.processor_s for run in runs), "s of CPU")
            )
            figures.append(Figure(f"{products:,} products: memory", max(run.peak_mib for run in runs), "MiB"))
            for run in runs:
                if run.processor_s >= LEAST_S:
                    figures.append(Figure(f"{products:,} products: {run.stage}", run.processor_s, "s of CPU"))
            for most in CANDIDATES:
                for of, share in recalls(Lake(f"{name}/lake"), LAST, most).items():
                    figures.append(Figure(f"{products:,} products: recall of {most} candidates, {of}", share, ""))
    return figures
