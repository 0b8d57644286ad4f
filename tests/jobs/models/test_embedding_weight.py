"""What a shop's own vectors weigh: what its shoppers touch together decides."""

from datetime import date

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from jobs.lake.lake import Lake
from jobs.models.embedding_space import embedding_space
from jobs.models.embedding_weight import UNJUDGED, WEIGHTS, WeightChoice, choose_weight, load_touched
from tests.jobs.small_shop import lay

GROUPS, LOOKS, EACH = 6, 5, 10
ITEMS = GROUPS * LOOKS * EACH
GROUP, LOOK = np.arange(ITEMS) % GROUPS, np.arange(ITEMS) // GROUPS % LOOKS
TEXT = np.eye(GROUPS)[GROUP]
"""Words tell the group of an item, not how it looks."""


def shoppers(cares_for_looks: bool, n_users: int = 600) -> sp.csr_matrix:
    """Each shopper touches items of one group; who cares for looks, those of one look in it."""
    draw = np.random.default_rng(1)
    rows = []
    for user in range(n_users):
        suits = user % GROUPS == GROUP
        if cares_for_looks:
            suits &= user // GROUPS % LOOKS == LOOK
        rows.append(np.isin(np.arange(ITEMS), draw.choice(np.flatnonzero(suits), 6, replace=False)))
    return sp.csr_matrix(np.array(rows, np.float32))


def seen(noise: float, shown: np.ndarray = LOOK) -> np.ndarray:
    vectors = (np.eye(LOOKS)[shown] + noise * np.random.default_rng(2).normal(size=(ITEMS, LOOKS))).astype(np.float32)
    return embedding_space(vectors).reduced(vectors)


def test_vectors_that_show_what_shoppers_care_for_weigh_something() -> None:
    chosen = choose_weight(TEXT, seen(0.3), shoppers(cares_for_looks=True))
    assert chosen.weight in WEIGHTS and chosen.judged_on > 0.9 * ITEMS


def test_vectors_that_show_nothing_or_what_nobody_cares_for_are_left_out() -> None:
    assert choose_weight(TEXT, seen(1000), shoppers(cares_for_looks=True)).weight == 0
    assert choose_weight(TEXT, seen(0.3), shoppers(cares_for_looks=False)).weight == 0


def test_a_shop_with_little_to_judge_by_takes_the_vectors_on_trust() -> None:
    nobody = sp.csr_matrix((0, ITEMS), dtype=np.float32)
    assert choose_weight(TEXT, seen(1000), nobody) == WeightChoice(UNJUDGED, 0)
    assert choose_weight(TEXT, seen(1000), shoppers(cares_for_looks=True)[:40]).weight == UNJUDGED


def test_half_of_the_products_may_do_without_a_vector() -> None:
    half = seen(0.3) * (np.arange(ITEMS) // 30 % 2 == 0)[:, None]
    assert choose_weight(TEXT, half.astype(np.float32), shoppers(cares_for_looks=True)).weight in WEIGHTS


def test_the_same_shop_gives_the_same_weight() -> None:
    assert choose_weight(TEXT, seen(0.3), shoppers(True)) == choose_weight(TEXT, seen(0.3), shoppers(True))


def test_only_what_shoppers_did_counts_not_what_they_were_shown(lake: Lake) -> None:
    ds = date(2026, 1, 31)
    rows = {"user_id": ["u", "u", "v"], "item_pos": pa.array([0, 2, 2], pa.int32()), "weight_milli": [1000, 0, 3000]}
    lay(lake, "features/user_item", ds, pa.table(rows), shard=3)
    assert load_touched(lake, ds, 4).toarray().tolist() == [[1, 0, 0, 0], [0, 0, 1, 0]]
