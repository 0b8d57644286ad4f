"""What a shop's own vectors add to words, for new products of a synthetic shop whose shoppers' true tastes are known.

    python -m tests.bench shop_vectors

The 20 new products nearest to what a shopper did before, by content alone, and what they are truly worth to the
shopper, as a share of the best 20. Vectors show an item's style through noise of so many standard deviations; the
night chooses what they weigh. Intervals are 95% of the difference from words alone, by shopper.
"""

from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from jobs.models.content import ContentParameters, item_vectors, tf_idf, train_content, words_of
from jobs.numeric.arrays import Floats, Values, unit_rows
from jobs.synthetic.catalogue import Shop, embeddings, item_ids, items_of, titles, user_ids
from jobs.synthetic.rows import event_rows
from jobs.synthetic.shoppers import shoppers
from jobs.synthetic.truth import list_values
from jobs.synthetic.words import BRANDS, LEAVES
from tests.bench.figures import Figure

SHOP = Shop(4_000, 2_000, 160_000, date(2026, 1, 1), date(2026, 3, 31), 7)
DAY = 76
"""The night of 2026-03-17, served on the day after it."""
NEW_DAYS, SHELF, FEWEST, MOST = 30, 20, 3, 1_500
WEIGHT = {"view": 1, "click": 1, "rating": 1, "add_to_cart": 3, "purchase": 5}
NOISES = (0.0, 0.5, 1.0, 1.5, 2.0, 1_000.0)


def catalogue() -> pa.Table:
    """What content vectors are made of, as features/item has it."""
    number, attributes = np.arange(SHOP.items), items_of(SHOP)
    return pa.table(
        {
            "title": titles(SHOP, number),
            "category": [LEAVES[leaf].path for leaf in attributes.leaf],
            "brand": [BRANDS[brand] for brand in attributes.brand],
            "price_minor": attributes.full_price_minor,
        }
    )


def history() -> sp.csr_matrix:
    """What shoppers did up to the night, [users, items], logarithms of summed weights."""
    batches = [
        batch for start in range(0, SHOP.users, 1_000) for batch in event_rows(SHOP, np.arange(start, start + 1_000))
    ]
    rows = pa.Table.from_batches(batches)
    is_seen = pc.and_(pc.is_valid(rows["user_id"]), pc.less(rows["ds"], pa.scalar(SHOP.day(DAY))))
    rows = rows.filter(is_seen)
    user = pc.index_in(rows["user_id"], value_set=pa.array(user_ids(np.arange(SHOP.users)))).to_numpy()
    item = pc.index_in(rows["item_id"], value_set=pa.array(item_ids(np.arange(SHOP.items)))).to_numpy()
    weight = np.array([WEIGHT[kind] for kind in rows["event_type"].to_pylist()], float)
    return sp.csr_matrix((weight, (user, item)), shape=(SHOP.users, SHOP.items)).log1p()


def main() -> list[Figure]:
    """Measure words alone, and words with vectors of each noise."""
    with threadpool_limits(1, "blas"):
        return _measured()


def _measured() -> list[Figure]:
    attributes, of = items_of(SHOP), catalogue()
    new = np.flatnonzero(
        (attributes.launch_day <= DAY) & (attributes.launch_day > DAY - NEW_DAYS) & (attributes.retire_day > DAY)
    )
    done = history()
    asked = np.flatnonzero(np.diff(done.indptr) >= FEWEST)[:MOST]
    worth = list_values(SHOP, shoppers(SHOP, asked), np.tile(new, (len(asked), 1)), DAY)
    best = -np.sort(-worth, axis=1)[:, :SHELF].sum(axis=1).mean()

    def share(vectors: Floats) -> Values:
        score = unit_rows(done[asked] @ vectors) @ vectors[new].T
        top = np.argsort(-score, axis=1, kind="stable")[:, :SHELF]
        return np.take_along_axis(worth, top, axis=1).sum(axis=1) / best

    def with_vectors(noise: float) -> tuple[Floats, float]:
        landed = embeddings(replace(SHOP, embedding_noise=noise), attributes)
        arrays, _ = train_content(of, ContentParameters(10, 7), landed, done)
        return arrays["item_vectors"], arrays["embedding_weight"][0]

    texts = [of[name].to_pylist() for name in ("title", "category", "brand", "price_minor")]
    plain = share(item_vectors(tf_idf([words_of(*row) for row in zip(*texts, strict=True)]), 7))
    figures = [
        Figure(f"words alone, {len(asked):,} shoppers, {len(new)} new products", 100 * float(plain.mean()), "%")
    ]
    for noise in NOISES:
        vectors, weight = with_vectors(noise)
        found = share(vectors)
        error = 1.96 * (found - plain).std() / np.sqrt(len(found))
        difference = f"({100 * (found - plain).mean():+.1f} ± {100 * error:.1f})"
        figures.append(
            Figure(f"and vectors, noise {noise:g}, weight {weight:g} {difference}", 100 * float(found.mean()), "%")
        )
    return figures
