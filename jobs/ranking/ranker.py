"""The night's ranker as it scores: heads, what calibrates them, and the value that they come to.

>>> value = load_ranker(lake, ds).value(features)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from jobs.candidates.fusion import RRF_K, reciprocal_rank
from jobs.lake.lake import Lake
from jobs.lake.tables import RANKER
from jobs.ranking.calibration import Curve
from jobs.ranking.coarse_cut import COARSE
from jobs.ranking.compiled_trees import Predict, compile_once, pays
from jobs.ranking.heads import SPEND, TERMS, Reading
from jobs.ranking.pair_features import FEATURES

ORDER = "order"

Features = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ranker:
    """Heads by name, and the weights in the value of an item, by the names of `jobs.ranking.heads.TERMS`."""

    heads: dict[str, lgb.Booster]
    weights: dict[str, float]
    negative_share: float = 1.0
    """The share of negatives that the probabilities were learned from."""
    order: lgb.Booster | None = None
    order_tilt: float = 0.0
    coarse: lgb.Booster | None = None
    """Which candidates are worth the other trees' time; None where all of them are ranked."""
    compiled: Mapping[str, Predict] = field(default_factory=dict)
    """Heads that were compiled, by name; the same predictions from machine code."""
    of_all_rows: frozenset[str] = frozenset()
    """Heads that learned from each of their negatives."""
    curves: Mapping[str, Curve] = field(default_factory=dict)
    """What calibrates a head's probability, by its name; a head without one stays as it is."""
    reading: Reading | None = None
    """How the facts were read that it was trained on; None of one that was loaded."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Why heads that were asked for were not trained, by name; empty of one that was loaded."""
    places: Mapping[str, Values] = field(default_factory=dict)
    """Of a head that learned from what was shown, the log-odds that each place adds; likewise."""

    @property
    def boosters(self) -> dict[str, lgb.Booster]:
        """Every trained head by its name."""
        return self.heads | ({ORDER: self.order} if self.order is not None else {})

    @property
    def models(self) -> dict[str, lgb.Booster]:
        """The heads, and the trees of the coarse cut, which read COARSE_FEATURES alone."""
        return self.boosters | ({COARSE: self.coarse} if self.coarse is not None else {})

    def coarse_score(self, features: Features) -> Values:
        """Return how likely each row of COARSE_FEATURES is to be placed on the shelf at all."""
        assert self.coarse is not None
        return self._predict(COARSE, self.coarse, features, 1)

    def value(self, features: Features, threads: int = 1) -> Values:
        """Return the value of each row: the weighted sum of the terms, tilted by the order head.

        Without a head, a shop of its first days, it is the fusion of the sources' ranks (Cormack et al. 2009).
        """
        return self.value_of(self.probabilities(features, threads), features, threads)

    def value_of(self, probabilities: Mapping[str, Values], features: Features, threads: int = 1) -> Values:
        """Return the value of each row whose probabilities are known already."""
        if not probabilities:
            return rank_fusion(features)
        # Without any term what is left is the order head's own score.
        total = np.zeros(len(features)) if self.weights else np.ones(len(features))
        for term, weight in self.weights.items():
            worth = np.full(len(features), weight)
            for head in TERMS[term]:
                worth *= probabilities[head]
            total += worth
        if self.order is not None:
            total *= np.exp(self.order_tilt * self._predict(ORDER, self.order, features, threads))
        return total

    def probabilities(self, features: Features, threads: int = 1) -> dict[str, Values]:
        """Return each head's prediction of each row, by name: calibrated probabilities, and money by `spend`."""
        return {name: self.calibrated(name, p) for name, p in self.uncalibrated(features, threads).items()}

    def uncalibrated(self, features: Features, threads: int = 1) -> dict[str, Values]:
        """Return what each head would predict without its curve.

        One learned from a share s of the negatives is corrected to p / (p + (1 - p) / s) (Elkan 2001).
        """
        drawn = {name: self._predict(name, booster, features, threads) for name, booster in self.heads.items()}
        return {
            name: p if name == SPEND or name in self.of_all_rows else p / (p + (1 - p) / self.negative_share)
            for name, p in drawn.items()
        }

    def calibrated(self, head: str, predicted: Values) -> Values:
        """Return a head's predictions by its curve."""
        curve = self.curves.get(head)
        return curve(predicted) if curve is not None else predicted

    def _predict(self, name: str, booster: lgb.Booster, features: Features, threads: int) -> Values:
        compiled = self.compiled.get(name)
        return np.asarray(compiled(features) if compiled else booster.predict(features, num_threads=threads))


def rank_fusion(features: Features) -> Values:
    """Return the summed reciprocal ranks of each row by source, and a place for each source that brought it."""
    votes = features[:, FEATURES.index("votes")].astype(np.float64)
    ranks = [features[:, FEATURES.index(f"{source}_rank")] for source in ("als", "item_item", "ease")]
    return votes / RRF_K + sum(reciprocal_rank(rank.astype(np.float64)) for rank in ranks)


def available_terms(weights: Mapping[str, float], heads: Mapping[str, lgb.Booster]) -> dict[str, float]:
    """Return the terms of the value whose heads are all there, and their weights."""
    return {term: float(weights[term]) for term in TERMS if weights.get(term) and set(TERMS[term]) <= set(heads)}


def load_ranker(lake: Lake, ds: date, rows: int = 0) -> Ranker:
    """Load the ranker of one night from its text models, compiled where it is to score that many rows.

    Raises:
        MissingPartitionError: it was not trained.
    """
    manifest = lake.manifest(RANKER, ds)
    chosen, told = manifest.parameters, manifest.metrics.get("heads", {})
    models = {name.removesuffix(".txt"): lake.text(RANKER, ds, name) for name in manifest.files}
    boosters = {name: lgb.Booster(model_str=model) for name, model in models.items()}
    compiled = {name: compile_once(models[name]) for name in boosters if pays(boosters[name], rows)}
    order, coarse = boosters.pop(ORDER, None), boosters.pop(COARSE, None)
    return Ranker(
        boosters,
        available_terms(chosen["head_weight"], boosters),
        float(chosen["negative_share"]),
        order,
        float(chosen["order_tilt"]),
        coarse,
        compiled,
        frozenset(name for name, of in told.items() if of["negative_share"] == 1),
        {name: Curve.of(of["curve"]) for name, of in told.items() if of["curve"]},
    )
