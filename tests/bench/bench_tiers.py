"""What a tier of dormant shoppers saves: from candidates to shelves with reasons on one core, and bytes of records.

The shop of `bench_rank`; half of its shoppers are dormant, or all, so that a shelf's own cost is seen as well.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import get_args

import numpy as np
from threadpoolctl import threadpool_limits

from jobs.candidates.generate import candidates
from jobs.config.parameters import DormantShelf, Parameters
from jobs.features.shoppers import ShopperHistories
from jobs.lake.lake import Lake
from jobs.ranking.compiled_trees import compile_once
from jobs.ranking.pair_features import ranking_features
from jobs.ranking.ranker import ORDER, Ranker
from jobs.shelves.dormant import Dormancy
from jobs.shelves.top_n import RankShard, ShelfPolicy, shelf_rows
from serving.snapshot.record import MAX_REASON_ITEMS
from tests.bench.bench_rank import TOP_N, USERS, shoppers, sources, trained
from tests.bench.figures import Figure, best_of

ITEMS, DORMANT_DAYS = 100_000, 90
SHARES = {"half dormant": 0.5, "all dormant": 1.0}


def with_dormant(batch: ShopperHistories, share: float) -> ShopperHistories:
    """The shoppers, the first of them without an event for longer than DORMANT_DAYS."""
    days = np.where(np.arange(len(batch)) < share * len(batch), DORMANT_DAYS + 1, 1)
    return replace(batch, users=batch.users | {"days_since_last_event": days})


def record_bytes(user: np.ndarray, behind: Sequence[str | None]) -> float:
    """Bytes a shopper of the records that such places make (docs/record.md)."""
    named = {(owner, item) for owner, item in zip(user.tolist(), behind, strict=True) if item is not None}
    reasons = np.bincount([owner for owner, _ in sorted(named)], minlength=USERS).clip(max=MAX_REASON_ITEMS)
    return float((5 + 3 * reasons + 7 * np.bincount(user, minlength=USERS)).mean())


def main() -> Sequence[Figure]:
    per_user = Parameters().candidates.per_user
    figures = []
    with threadpool_limits(1):
        drawn, batch = sources(ITEMS), shoppers(ITEMS)
        features = ranking_features(batch, candidates(batch, drawn, per_user), drawn)
        heads = {"purchase": trained(features, "binary"), ORDER: trained(features, "lambdarank")}
        compiled = {name: compile_once(head.model_to_string()) for name, head in heads.items()}
        chosen = {"order": heads[ORDER], "order_tilt": 0.5, "compiled": compiled}
        ranker = Ranker({"purchase": heads["purchase"]}, {"purchase": 1.0}, 0.15, **chosen)

        def measured(people: ShopperHistories, dormancy: Dormancy) -> tuple[float, float]:
            """Users a second, and bytes a user."""
            shard = RankShard(Lake("none"), date(2026, 1, 31), ShelfPolicy(TOP_N, dormancy=dormancy), 60.0)
            awake = people.awake(dormancy.dormant_days)

            def shelves() -> tuple[np.ndarray, Sequence[str | None]]:
                found = candidates(people.where(awake), drawn, per_user)
                found = replace(found, user=np.flatnonzero(awake)[found.user])
                on = shard.shelves(people, found, drawn, ranker, None)
                return on.user, shelf_rows(people, on, drawn, None).column("reason_item_id").to_pylist()

            return USERS / best_of(3, shelves), record_bytes(*shelves())

        whole, whole_bytes = measured(with_dormant(batch, 0.5), Dormancy())
        figures += [
            Figure("nobody dormant", whole, "users/s a core"),
            Figure("nobody dormant: a record", whole_bytes, "bytes a user"),
        ]
        for told, share in SHARES.items():
            for shelf in get_args(DormantShelf):
                rate, size = measured(with_dormant(batch, share), Dormancy(DORMANT_DAYS, shelf))
                figures += [
                    Figure(f"{told}, {shelf}", rate, "users/s a core", whole, "nobody dormant"),
                    Figure(
                        f"{told}, {shelf}: a record", size, "bytes a user", whole_bytes, "nobody dormant: a record"
                    ),
                ]
    return figures
