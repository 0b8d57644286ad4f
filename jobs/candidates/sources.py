"""What candidates are drawn from and scored by, as of one day: the catalogue's lists, CF, content and towers.

A shopper is read in four ways: `all` (the strength of every pair), `touched` (every pair alike), `faded` (pairs by
the age of their last event: the taste of today) and `last` (what was touched on the last day of activity: the basket
of today).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property

import faiss
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares

from jobs.features.catalogue import Catalogue, load_catalogue
from jobs.features.shoppers import ShopperHistories
from jobs.features.strength import faded
from jobs.lake.lake import Lake
from jobs.lake.tables import CF, CONTENT, TOWERS
from jobs.models.als import CfParameters
from jobs.models.nearest_items import exact_index, load_index
from jobs.models.towers import Towers, load_towers
from jobs.numeric.arrays import Floats, unit_rows, values_at

NEIGHBOURS = {"item_item": CF, "ease": CF, "ease_whole": CF, "recent": CF, "content": CONTENT}
"""Item-item matrices, and the artifact that each stands in."""
BY_NEIGHBOURS = {
    "item_item": ("all", "item_item"),
    "ease": ("faded", "ease"),
    "ease_whole": ("touched", "ease_whole"),
    "recent": ("faded", "recent"),
    "recent_last": ("last", "recent"),
    "content": ("faded", "content"),
}
"""Scores that are a reading of the shopper times an item-item matrix."""
BY_TASTE = {"taste": "faded", "taste_last": "last"}
"""Scores that are the cosine of an item's content vector with the mean of a reading of the shopper."""
SCORES = ("als", "two_tower", *BY_NEIGHBOURS, *BY_TASTE)


@dataclass(frozen=True)
class Sources:
    """The catalogue and the artifacts of one day; `neighbours` are CSR matrices of the catalogue by NEIGHBOURS."""

    catalogue: Catalogue
    item_factors: Floats
    item_vectors: Floats
    neighbours: dict[str, sp.csr_matrix]
    cf: CfParameters
    taste_decay_days: float
    towers: Towers | None = None
    """None where they were left out."""
    indexes: Mapping[str, faiss.Index] = field(default_factory=dict)
    """Of the item vectors, by the artifact that holds them; of one that is not here an exact one is made."""

    def without(self, withheld: npt.NDArray[np.bool_]) -> "Sources":
        """Return the same with items [n_items] kept off the lists that are drawn from the catalogue."""
        return replace(self, catalogue=replace(self.catalogue, withheld=withheld))

    @cached_property
    def index(self) -> faiss.Index:
        """The index of the item factors."""
        return self.indexes[CF] if CF in self.indexes else exact_index(self.item_factors)

    @cached_property
    def tower_index(self) -> faiss.Index:
        """The index of the item tower's vectors, which have to be there."""
        assert self.towers is not None
        return self.indexes[TOWERS] if TOWERS in self.indexes else exact_index(self.towers.item_vectors)

    @cached_property
    def als(self) -> AlternatingLeastSquares:
        """The model that folds users in: implicit's own solver around the artifact's item factors."""
        model = AlternatingLeastSquares(
            factors=self.cf.factors, alpha=self.cf.alpha, regularization=self.cf.regularization, num_threads=1
        )
        model.item_factors = np.ascontiguousarray(self.item_factors)
        return model


@dataclass(frozen=True)
class Scored:
    """A batch of shoppers as the sources see them: factors, score matrices (CSR), and content profiles."""

    factors: Floats
    by_neighbours: dict[str, sp.csr_matrix]
    profiles: dict[str, Floats]
    towers: Floats | None = None
    """The user tower's vectors; None where the towers were left out."""

    def at(self, sources: Sources, user: npt.NDArray[np.int64], item: npt.NDArray[np.int32]) -> dict[str, Floats]:
        """Return every score of the pairs (user, item), by SCORES."""
        dots = {"als": (self.factors, sources.item_factors)}
        dots |= {name: (profile, sources.item_vectors) for name, profile in self.profiles.items()}
        if self.towers is not None and sources.towers is not None:
            dots["two_tower"] = (self.towers, sources.towers.item_vectors)
        found = {name: np.einsum("ij,ij->i", of[user], items[item]) for name, (of, items) in dots.items()}
        found.setdefault("two_tower", np.zeros(len(user), np.float32))
        found |= {name: values_at(scores, user, item) for name, scores in self.by_neighbours.items()}
        return {name: found[name].astype(np.float32) for name in SCORES}


def load_sources(lake: Lake, ds: date, taste_decay_days: float, cf: str = CF) -> Sources:
    """Load the catalogue and the artifacts as of `ds`; `cf` names the artifact of a night, or of a label window.

    Raises:
        MissingPartitionError: one of them was not built.
    """
    catalogue = load_catalogue(lake, ds)
    n = len(catalogue)

    def matrix(name: str) -> sp.csr_matrix:
        held = cf if NEIGHBOURS[name] == CF else NEIGHBOURS[name]
        data, indices, indptr = (
            np.array(lake.array(held, ds, f"{name}_{part}")) for part in ("data", "indices", "indptr")
        )
        found = sp.csr_matrix((data, indices, indptr), shape=(n, n))
        found.sort_indices()
        return found

    item_factors, towers = lake.array(cf, ds, "item_factors"), load_towers(lake, ds)
    indexes = {CF: load_index(lake, cf, ds, item_factors)}
    if towers is not None:
        indexes[TOWERS] = load_index(lake, TOWERS, ds, towers.item_vectors)
    return Sources(
        catalogue=catalogue,
        item_factors=item_factors,
        item_vectors=lake.array(CONTENT, ds, "item_vectors"),
        neighbours={name: matrix(name) for name in NEIGHBOURS},
        cf=CfParameters(**lake.manifest(cf, ds).parameters),
        taste_decay_days=taste_decay_days,
        towers=towers,
        indexes=indexes,
    )


def score(shoppers: ShopperHistories, sources: Sources) -> Scored:
    """Fold a batch of shoppers in and multiply their history with every item-item matrix."""
    read = readings(shoppers, sources.taste_decay_days)
    return Scored(
        factors=sources.als.recalculate_user(np.arange(len(shoppers)), read["all"]),
        by_neighbours={
            name: (read[reading] @ sources.neighbours[matrix]).tocsr()
            for name, (reading, matrix) in BY_NEIGHBOURS.items()
        },
        profiles={name: unit_rows(read[reading] @ sources.item_vectors) for name, reading in BY_TASTE.items()},
        towers=sources.towers.vectors(shoppers) if sources.towers else None,
    )


def readings(shoppers: ShopperHistories, decay_days: float) -> dict[str, sp.csr_matrix]:
    """Return users x items in the four readings; a pair without weight (an impression) is in none."""
    strength = shoppers.matrix()
    touched = strength.data > 0
    days = shoppers.history["days_since_last_event"].astype(np.float32)
    latest = np.full(len(shoppers), np.inf, dtype=np.float32)
    np.minimum.at(latest, shoppers.history_user()[touched], days[touched])
    values = {
        "touched": touched,
        "faded": np.where(touched, faded(days, decay_days), 0),
        "last": touched & (days == latest[shoppers.history_user()]),
    }
    found = {"all": strength}
    for name, data in values.items():
        parts = (data.astype(np.float32), strength.indices.copy(), strength.indptr.copy())
        found[name] = sp.csr_matrix(parts, shape=strength.shape)
    for matrix in found.values():
        matrix.eliminate_zeros()
        matrix.sort_indices()
    return found
