"""Whether reasons are what moved an item: the history item that a reason names is taken away, and all scored again.

    python -m tests.bench reasons

A synthetic shop's night, and SAMPLES of its places with a reason that names an item. Each place's shopper is scored
as they are and without that item in their history, from candidates on; their totals in features/user stay. Of
`session`, whose item is the one taken away, the score is whether it brings it. A place's value counts as lower, too,
where the item is no candidate any more.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from jobs.candidates.generate import candidate_parameters, candidates
from jobs.candidates.sources import Sources, load_sources, score
from jobs.config.parameters import Parameters
from jobs.config.settings import Settings
from jobs.features.shoppers import ShopperHistories, shopper_batches
from jobs.lake.lake import Lake
from jobs.lake.tables import SHARDS
from jobs.night.run import run_stages
from jobs.night.stages import STAGES
from jobs.numeric.arrays import pair_keys
from jobs.ranking.pair_features import ranking_features
from jobs.ranking.ranker import Ranker, load_ranker
from jobs.shelves.reasons import reasons
from jobs.shelves.top_n import top_n
from jobs.spark.session import session
from jobs.synthetic.shop import synthetic_shop
from serving.snapshot.record import SOURCES
from tests.bench.figures import Figure

USERS, ITEMS, EVENTS, SEED = 2_000, 1_000, 60_000, 7
FIRST_DAY, DAY = date(2026, 1, 1), date(2026, 2, 14)
PARAMETERS = Parameters()
SAMPLES = 1_000
LEARNED = ("als", "item_item", "ease", "follows", "content")


@dataclass(frozen=True)
class Places:
    """Places on the shelves of one batch of shoppers, each with a history item that its reason names."""

    shoppers: ShopperHistories
    user: np.ndarray
    item: np.ndarray
    source: np.ndarray
    behind: np.ndarray

    def sampled(self, rows: np.ndarray) -> "Places":
        return replace(self, **{name: getattr(self, name)[rows] for name in ("user", "item", "source", "behind")})


def places(lake: Lake, sources: Sources, ranker: Ranker) -> Iterator[Places]:
    """Every place of the night whose reason names an item, as the night ranks and explains it."""
    most = candidate_parameters(PARAMETERS)["candidates_per_user"]
    for shard in range(SHARDS):
        for batch in shopper_batches(lake, DAY, shard, len(sources.catalogue)):
            found = candidates(batch, sources, most)
            row, *_ = top_n(batch, found, sources, ranker, PARAMETERS.shelves.top_n)
            user, item, source = found.user[row], found.item[row], found.source[row]
            _, behind = reasons(batch, sources, user, item, source)
            named = behind >= 0
            yield Places(batch, user[named], item[named], source[named], behind[named])


def copies(of: Places, *, without: bool) -> ShopperHistories:
    """One copy of its shopper for each place, with or without the history item that the reason names."""
    shop = of.shoppers
    rows = [np.arange(shop.indptr[user], shop.indptr[user + 1]) for user in of.user]
    if without:
        rows = [some[shop.history["item_pos"][some] != gone] for some, gone in zip(rows, of.behind, strict=True)]
    flat = np.concatenate(rows)
    return ShopperHistories(
        user_id=shop.user_id.take(pa.array(of.user)),
        users={name: column[of.user] for name, column in shop.users.items()},
        history={name: column[flat] for name, column in shop.history.items()},
        indptr=np.cumsum([0, *(len(some) for some in rows)]),
        n_items=shop.n_items,
    )


def scores(of: Places, sources: Sources, ranker: Ranker, *, without: bool) -> tuple[np.ndarray, np.ndarray]:
    """The source's score and the value of each place; a value of -inf is that of no candidate."""
    shop = copies(of, without=without)
    own = np.arange(len(shop))
    scored = score(shop, sources)
    by_source = np.full(len(shop), 0.0 if without else 1.0)  # of `session`, whose item is the one taken away
    als = np.einsum("ij,ij->i", scored.factors, sources.item_factors[of.item])
    for name in LEARNED:
        at = als if name == "als" else np.asarray(scored.by_neighbours[name][own, of.item]).ravel()
        by_source = np.where(of.source == SOURCES.index(name), at, by_source)
    found = candidates(shop, sources, candidate_parameters(PARAMETERS)["candidates_per_user"])
    value = ranker.value(ranking_features(shop, found, sources))
    keys, wanted = (pair_keys(*pair, shop.n_items) for pair in ((found.user, found.item), (own, of.item)))
    row = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return by_source, np.where(keys[row] == wanted, value[row], -np.inf)


def measured(lake: Lake) -> list[Figure]:
    """The figures of one night's shelves."""
    sources = load_sources(lake, DAY, PARAMETERS.candidates.taste_decay_days)
    ranker = load_ranker(lake, DAY)
    batches = list(places(lake, sources, ranker))
    total = sum(len(of.user) for of in batches)
    drawn = np.sort(np.random.default_rng(SEED).choice(total, SAMPLES, replace=False))
    start = np.cumsum([0, *(len(of.user) for of in batches)])
    parts = [
        of.sampled(drawn[(drawn >= low) & (drawn < low + len(of.user))] - low)
        for of, low in zip(batches, start, strict=False)
    ]
    source = np.concatenate([of.source for of in parts])
    with_it, without = (
        np.concatenate([np.stack(scores(of, sources, ranker, without=gone)) for of in parts if len(of.user)], axis=1)
        for gone in (False, True)
    )
    lower = without < with_it
    figures = [
        Figure("places that name an item", total, ""),
        Figure("source's score falls", 100 * lower[0].mean(), "%", wanted="100"),
        Figure("value falls", 100 * lower[1].mean(), "%", wanted="at least 90"),
        Figure("no candidate any more", 100 * np.isinf(without[1]).mean(), "%"),
        Figure("places drawn", SAMPLES, ""),
    ]
    for name in (*LEARNED, "session"):
        mine = source == SOURCES.index(name)
        if mine.any():
            figures += [
                Figure(f"{name}: places drawn", int(mine.sum()), ""),
                Figure(f"{name}: source's score falls", 100 * lower[0][mine].mean(), "%"),
                Figure(f"{name}: value falls", 100 * lower[1][mine].mean(), "%"),
            ]
    return figures


def main() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.below(Path(folder))
        synthetic_shop(
            session(), Path(settings.landing), Path(folder, "truth"), USERS, ITEMS, EVENTS, FIRST_DAY, DAY, SEED
        )
        names = [stage.name for stage in STAGES]
        run_stages(settings, PARAMETERS, DAY, names[: names.index("train_ranker") + 1])
        session().stop()
        with threadpool_limits(1):
            return measured(Lake(settings.lake))
