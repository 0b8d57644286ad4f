"""What candidates are drawn from and scored by, as of one day: the catalogue's lists, CF, content and towers.

A shopper's history is read in four ways: `all` (the strength of every pair), `faded` (pairs fade with the age of
their last event: today's taste), `last` (pairs of the last day of activity: today's basket) and `ordered` (pairs fade
with the number of later moments at which the shopper turned to something else, be they seconds or months apart).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property

import faiss
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from jobs.features.catalogue import Catalogue, load_catalogue
from jobs.features.shoppers import ShopperHistories
from jobs.features.strength import faded
from jobs.lake.lake import Lake
from jobs.lake.tables import CF, CONTENT, TOWERS
from jobs.models.als import CfParameters
from jobs.models.fold_in import FoldIn
from jobs.models.nearest_items import exact_index, load_index
from jobs.models.towers import Towers, load_towers
from jobs.numeric.arrays import Flags, Floats, Whole, products_of_pairs, sorted_rows, unit_rows, values_at

NEIGHBOURS = {"item_item": CF, "ease": CF, "follows": CF, "content": CONTENT}
"""Item-item matrices, and the artifact that holds each."""
BY_NEIGHBOURS = {
    "item_item": ("all", "item_item"),
    "ease": ("faded", "ease"),
    "ease_ordered": ("ordered", "ease"),
    "follows": ("ordered", "follows"),
    "content": ("faded", "content"),
}
"""Scores that multiply a reading of the shopper with an item-item matrix."""
BY_TASTE = {"taste": "faded", "taste_last": "last"}
"""Scores that are the cosine of an item's content vector with the mean of a reading of the shopper."""
DECAY_MOMENTS = 5.0
"""Later moments after which a pair counts 1/e in the reading `ordered`."""
LEAST_READING = 1e-3
"""Pairs that count less beside the shopper's latest one are left out of the readings `ordered` and `faded`."""
SCORES = ("als", "two_tower", *BY_NEIGHBOURS, *BY_TASTE)


@dataclass(frozen=True)
class Sources:
    """The catalogue and the artifacts of one day; `neighbours` holds CSR [n_items, n_items], by NEIGHBOURS."""

    catalogue: Catalogue
    item_factors: Floats
    item_vectors: Floats
    neighbours: dict[str, sp.csr_matrix]
    cf: CfParameters
    taste_decay_days: float
    towers: Towers | None = None
    """None where they were left out."""
    indexes: Mapping[str, faiss.Index] = field(default_factory=dict)
    """Indexes of item vectors, by the artifact that holds them. For an artifact without one, an exact one is made."""

    def without(self, withheld: Flags) -> "Sources":
        """Return these sources with items [n_items] kept off the lists that are drawn from the catalogue."""
        return replace(self, catalogue=replace(self.catalogue, withheld=withheld))

    @cached_property
    def index(self) -> faiss.Index:
        """The index of the item factors."""
        return self.indexes[CF] if CF in self.indexes else exact_index(self.item_factors)

    @cached_property
    def tower_index(self) -> faiss.Index:
        """The index of the item tower's vectors; only with towers."""
        assert self.towers is not None
        return self.indexes[TOWERS] if TOWERS in self.indexes else exact_index(self.towers.item_vectors)

    @cached_property
    def als(self) -> FoldIn:
        """What folds users in around the artifact's item factors."""
        return FoldIn(self.item_factors, self.cf.alpha, self.cf.regularization)


@dataclass(frozen=True)
class ShopperScores:
    """What the sources say of a batch of shoppers: ALS factors, score matrices (CSR) and content profiles."""

    factors: Floats
    by_neighbours: dict[str, sp.csr_matrix]
    profiles: dict[str, Floats]
    towers: Floats | None = None
    """The user tower's vectors; None where the towers were left out."""

    def at(self, sources: Sources, user: Whole, item: npt.NDArray[np.int32]) -> dict[str, Floats]:
        """Return every score of the pairs (user, item), by SCORES; without towers, `two_tower` is 0.

        `user` ascends.
        """
        indptr = np.searchsorted(user, np.arange(len(self.factors) + 1))
        profiles = np.stack(list(self.profiles.values()), axis=1)
        by_taste = products_of_pairs(profiles, sources.item_vectors, indptr, item)
        scores = {name: by_taste[:, place] for place, name in enumerate(self.profiles)}
        vectors = {"als": (self.factors, sources.item_factors)}
        if self.towers is not None and sources.towers is not None:
            vectors["two_tower"] = (self.towers, sources.towers.item_vectors)
        for name, (users, items) in vectors.items():
            scores[name] = products_of_pairs(users[:, None, :], items, indptr, item)[:, 0]
        scores.setdefault("two_tower", np.zeros(len(user), np.float32))
        scores |= {name: values_at(matrix, indptr, item) for name, matrix in self.by_neighbours.items()}
        return {name: scores[name].astype(np.float32) for name in SCORES}


def load_sources(lake: Lake, ds: date, taste_decay_days: float, cf: str = CF) -> Sources:
    """Load the catalogue and the artifacts as of `ds`; `cf` names the artifact of a night, or of a training window.

    Raises:
        MissingPartitionError: one of them was not built.
    """
    catalogue = load_catalogue(lake, ds)
    item_factors, towers = lake.array(cf, ds, "item_factors"), load_towers(lake, ds)
    indexes = {CF: load_index(lake, cf, ds, item_factors)}
    if towers is not None:
        indexes[TOWERS] = load_index(lake, TOWERS, ds, towers.item_vectors)
    return Sources(
        catalogue=catalogue,
        item_factors=item_factors,
        item_vectors=lake.array(CONTENT, ds, "item_vectors"),
        neighbours={
            name: _load_neighbours(lake, ds, cf if artifact == CF else artifact, name, len(catalogue))
            for name, artifact in NEIGHBOURS.items()
        },
        cf=lake.manifest(cf, ds).parameters_as(CfParameters),
        taste_decay_days=taste_decay_days,
        towers=towers,
        indexes=indexes,
    )


def _load_neighbours(lake: Lake, ds: date, artifact: str, name: str, n_items: int) -> sp.csr_matrix:
    """Return one item-item matrix [n_items, n_items] of an artifact, its indices sorted."""
    arrays = (np.array(lake.array(artifact, ds, f"{name}_{part}")) for part in ("data", "indices", "indptr"))
    matrix = sp.csr_matrix(tuple(arrays), shape=(n_items, n_items))
    matrix.sort_indices()
    return matrix


def score(shoppers: ShopperHistories, sources: Sources) -> ShopperScores:
    """Fold a batch of shoppers in and multiply their history with every item-item matrix."""
    by_reading = readings(shoppers, sources.taste_decay_days)
    return ShopperScores(
        factors=sources.als.users(by_reading["all"]),
        by_neighbours={
            name: sorted_rows(by_reading[reading] @ sources.neighbours[matrix])
            for name, (reading, matrix) in BY_NEIGHBOURS.items()
        },
        profiles={name: unit_rows(by_reading[reading] @ sources.item_vectors) for name, reading in BY_TASTE.items()},
        towers=sources.towers.vectors(shoppers) if sources.towers else None,
    )


def readings(shoppers: ShopperHistories, decay_days: float) -> dict[str, sp.csr_matrix]:
    """Return CSR [users, items] of the four readings; a pair without weight (an impression) is in none of them."""
    # A batch is read once a stage: candidates are written to the lake before the stage `rank` says why (reasons), and
    # four matrices a shopper would take more room and time there than reading the history again.
    strength = shoppers.matrix()
    touched = strength.data > 0
    days = shoppers.history["days_since_last_event"].astype(np.float32)
    latest = np.full(len(shoppers), np.inf, dtype=np.float32)
    np.minimum.at(latest, shoppers.history_user()[touched], days[touched])
    in_order = faded(shoppers.later_moments(), DECAY_MOMENTS)
    before = np.maximum(days - latest[shoppers.history_user()], 0)
    is_recent = faded(before, decay_days) >= LEAST_READING
    values = {
        "ordered": np.where(touched & (in_order >= LEAST_READING), in_order, 0),
        "faded": np.where(touched & is_recent, faded(days, decay_days), 0),
        "last": touched & (before == 0),
    }
    by_reading = {"all": strength}
    for name, data in values.items():
        arrays = (data.astype(np.float32), strength.indices.copy(), strength.indptr.copy())
        by_reading[name] = sp.csr_matrix(arrays, shape=strength.shape)
    for matrix in by_reading.values():
        matrix.eliminate_zeros()
        matrix.sort_indices()
    return by_reading
