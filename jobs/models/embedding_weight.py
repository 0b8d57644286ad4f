"""Choose what a shop's own vectors weigh beside words: by how well each weight finds what the same shoppers touch.

Vectors of any model may land, and nothing tells beforehand whether they know what shoppers care for. So the night
asks its own shoppers: for a sample of products, the nearest ones by words alone, and by words and vectors, are
compared by how many shoppers they share. A weight counts only where the gain is beyond chance; else the vectors are
left out.

>>> choose_weight(text, embedding, pairs)
WeightChoice(weight=0.2, judged_on=866)
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scipy.sparse as sp

from jobs.lake.lake import Lake
from jobs.lake.tables import SHARDS, USER_ITEM
from jobs.models.embedding_space import text_weight
from jobs.numeric.arrays import Flags, Floats, Values, Whole

WEIGHTS = (0.1, 0.2, 0.3)
UNJUDGED = 0.3
"""The weight in a shop that is too young to judge by."""
FEWEST_SHOPPERS = 5
"""Products that so many have touched are judged by."""
FEWEST_JUDGED, MOST_JUDGED = 100, 1_000
MOST_AMONG = 20_000
"""The nearest are looked for among at most so many products."""
NEAREST = 10
MOST_PAIRS = 5_000_000
"""Shards of shoppers are read until there are so many pairs of shopper and product."""
BEYOND_CHANCE = 2.0
"""Standard errors."""


@dataclass(frozen=True)
class WeightChoice:
    """The weight of the shop's own vectors, 0 where they are left out, and how many products it was judged on."""

    weight: float
    judged_on: int


def choose_weight(text: Values | Floats, embedding: Floats, pairs: sp.csr_matrix) -> WeightChoice:
    """Return the one of WEIGHTS that finds most of what shoppers touch together, 0 if none does better than words.

    `text` [n, d] are truncated TF-IDF rows, `embedding` [n, e] unit rows, zeros for items without one, and `pairs`
    [shoppers, n] what each has touched. With fewer than FEWEST_JUDGED products to judge by it is UNJUDGED.
    """
    touched = sp.csr_matrix((np.ones(pairs.nnz, np.float32), pairs.indices, pairs.indptr), pairs.shape)
    shoppers = np.bincount(touched.indices, minlength=pairs.shape[1])
    among = _every(np.flatnonzero(shoppers >= FEWEST_SHOPPERS), MOST_AMONG)
    if len(among) < FEWEST_JUDGED:
        return WeightChoice(UNJUDGED, len(among))
    judged = _every(among, MOST_JUDGED)
    own = (np.arange(len(judged)), np.searchsorted(among, judged))
    shared = (touched[:, judged].T @ touched[:, among]).toarray()
    shared /= np.sqrt(np.outer(shoppers[judged], shoppers[among]))
    by_words, by_vectors = text[judged] @ text[among].T, embedding[judged] @ embedding[among].T
    has = np.asarray(embedding.any(axis=1))

    def found(weight: float) -> Values:
        likeness = text_weight(has[judged], weight)[:, None] * text_weight(has[among], weight) * by_words
        return _shared_by_nearest(likeness + weight * by_vectors, shared, own)

    plain = found(0)
    gains = [(found(weight) - plain, weight) for weight in WEIGHTS]
    beyond = [(gain.mean(), weight) for gain, weight in gains if _is_beyond_chance(gain)]
    return WeightChoice(max(beyond, default=(0, 0.0))[1], len(judged))


def _every(items: Whole, most: int) -> Whole:
    return items[:: max(1, -(-len(items) // most))]


def _shared_by_nearest(likeness: Values, shared: Floats, own: tuple[Whole, Whole]) -> Values:
    """Return for each judged product what it shares with its NEAREST others, nearer ones weighing more, as in DCG."""
    likeness[own] = -np.inf
    nearest = np.argsort(-likeness, axis=1, kind="stable")[:, :NEAREST]
    discount = 1 / np.log2(np.arange(2, NEAREST + 2))
    return np.asarray(np.take_along_axis(shared, nearest, axis=1) @ (discount / discount.sum()))


def _is_beyond_chance(gain: Values) -> bool:
    return bool(gain.mean() > BEYOND_CHANCE * gain.std() / np.sqrt(len(gain)))


def load_touched(lake: Lake, ds: date, n_items: int) -> sp.csr_matrix:
    """Return which shoppers had touched which items by `ds`, [shoppers, n_items]: shards of them, up to MOST_PAIRS.

    Raises:
        MissingPartitionError: the day's features were not built.
    """
    users: list[npt.NDArray[np.int64]] = []
    items: list[npt.NDArray[np.int64]] = []
    n_users = 0
    for shard in range(SHARDS):
        rows = lake.shard(USER_ITEM, ds, shard, ["user_id", "item_pos", "weight_milli"])
        is_touched: Flags = rows["weight_milli"].to_numpy() > 0
        codes = rows["user_id"].cast(pa.string()).combine_chunks().dictionary_encode()
        users.append(codes.indices.to_numpy()[is_touched].astype(np.int64) + n_users)
        items.append(rows["item_pos"].to_numpy()[is_touched].astype(np.int64))
        n_users += len(codes.dictionary)
        if sum(map(len, items)) >= MOST_PAIRS:
            break
    user, item = np.concatenate(users), np.concatenate(items)
    return sp.csr_matrix((np.ones(len(user), np.float32), (user, item)), shape=(n_users, n_items))
