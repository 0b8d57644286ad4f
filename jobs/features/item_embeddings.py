"""Load the vectors that a shop landed for its items, `embedding`, in catalogue order.

They stay in staging, as a table of features would hold a copy of all of them for each day. A vector stands until
another one lands for its item: a row without one takes nothing away. All vectors of a night have one length, that of
most items' newest vectors. Vectors of other lengths are left out, and counted.

>>> load_embeddings(lake, date(2026, 1, 31), item_ids).length
512
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest, digest_of
from jobs.lake.tables import ITEM, ITEMS
from jobs.numeric.arrays import Floats

COLUMNS = ["item_id", "embedding"]


class EmbeddingDays(msgspec.Struct, frozen=True):
    """What the manifest of features/item says of embeddings."""

    embedding_days: list[date] = []
    """The days of staging/items that hold embeddings, ascending."""


@dataclass(frozen=True)
class ItemEmbeddings:
    """The vectors of a catalogue's items."""

    vectors: Floats
    """[n_items, length] float32, as they landed; zeros for an item without one."""
    of_other_length: int
    """Items whose newest vector has another length, and is left out."""

    @property
    def length(self) -> int:
        """How many numbers a vector has."""
        return int(self.vectors.shape[1])

    def facts(self) -> dict[str, int]:
        """Return what an artifact's manifest says of them."""
        other = {"embeddings_of_another_length": self.of_other_length} if self.of_other_length else {}
        count = int(self.vectors.any(axis=1).sum())
        return {"embeddings": count, "numbers_an_embedding": self.length} | other


def days_as_metrics(staged: Sequence[tuple[date, Manifest]]) -> dict[str, Any]:
    """Return EmbeddingDays as metrics of a manifest, from the days of staging/items; nothing where none has any."""
    days = [str(day) for day, manifest in staged if manifest.metrics.get("with_embedding")]
    return {"embedding_days": days} if days else {}


def embedding_inputs(lake: Lake, ds: date) -> dict[str, str]:
    """Return what `load_embeddings` reads, as a manifest's inputs; nothing in a shop without embeddings.

    Raises:
        MissingPartitionError: the day's features were not built.
    """
    days = _days(lake, ds)
    fingerprints = digest_of(lake.manifest(ITEMS, day).fingerprint for day in days)
    return {f"{ITEMS}/ds<={ds}, embedding": fingerprints} if days else {}


def load_embeddings(lake: Lake, ds: date, item_ids: pa.Array) -> ItemEmbeddings | None:
    """Return the newest embeddings up to `ds` of these items; None in a shop without any.

    Raises:
        MissingPartitionError: the day's features were not built.
    """
    newest_first = reversed(_days(lake, ds))
    return newest_embeddings((lake.arrow(ITEMS, day, COLUMNS) for day in newest_first), item_ids)


def _days(lake: Lake, ds: date) -> list[date]:
    return lake.manifest(ITEM, ds).metrics_as(EmbeddingDays).embedding_days


def newest_embeddings(days: Iterable[pa.Table], item_ids: pa.Array) -> ItemEmbeddings | None:
    """Return the first embedding of each item in tables of COLUMNS, the newest day first; None if none has one.

    Days are read until every item has its vector. Of lengths that equally many items have, the newest counts, then
    the largest.
    """
    is_waiting = np.append(
        np.ones(len(item_ids), bool), False
    )  # the last place, -1, is of items that are not asked for
    found: list[tuple[np.ndarray[Any, Any], pa.Array]] = []
    counts: Counter[int] = Counter()
    for day in days:
        rows = day.filter(pc.is_valid(day["embedding"]))
        item = pc.fill_null(pc.index_in(rows["item_id"], value_set=item_ids), -1).to_numpy()
        is_new = is_waiting[item]
        vectors = rows["embedding"].filter(pa.array(is_new)).combine_chunks()
        found.append((item[is_new], vectors))
        is_waiting[item[is_new]] = False
        of_day = Counter(pc.list_value_length(vectors).to_pylist())
        counts.update(dict(sorted(of_day.items(), reverse=True)))  # the first of equal counts is the one chosen below
        if not is_waiting.any():
            break
    if not counts:
        return None
    [(length, _)] = counts.most_common(1)
    matrix = np.zeros((len(item_ids), length), np.float32)
    for item, vectors in found:
        has_length = pc.equal(pc.list_value_length(vectors), length).to_numpy(zero_copy_only=False)
        numbers = pc.list_flatten(vectors.filter(pa.array(has_length)))
        matrix[item[has_length]] = numbers.to_numpy(zero_copy_only=False).reshape(-1, length)
    return ItemEmbeddings(matrix, sum(counts.values()) - counts[length])
