"""The night's ranker: its heads, their calibration, and the value of an item that they add up to.

>>> value = load_ranker(lake, ds).value(features)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial

import lightgbm as lgb
import msgspec
import numpy as np

from jobs.candidates.fusion import RRF_K, reciprocal_rank
from jobs.lake.lake import Lake
from jobs.lake.tables import RANKER
from jobs.numeric.arrays import Floats, Values
from jobs.ranking.calibration import Curve
from jobs.ranking.coarse_cut import COARSE
from jobs.ranking.compiled_trees import Predict, compile_once, pays
from jobs.ranking.heads import SPEND, TERMS, LabelDefinition
from jobs.ranking.pair_features import FEATURES, RANKED
from jobs.ranking.ranker_metrics import RankerMetrics
from jobs.spark.processes import in_processes

ORDER = "order"


@dataclass(frozen=True)
class Ranker:
    """Heads by name, and the weights of the value's terms by the names of `jobs.ranking.heads.TERMS`.

    `label_definition`, `left_out` and `place_effects` are known only of a ranker that was just trained.
    """

    heads: dict[str, lgb.Booster]
    weights: dict[str, float]
    negative_share: float = 1.0
    """The share of negatives that the probabilities were trained on."""
    order: lgb.Booster | None = None
    order_tilt: float = 0.0
    coarse: lgb.Booster | None = None
    """The trees of the coarse cut; None if every candidate is ranked."""
    compiled: Mapping[str, Predict] = field(default_factory=dict)
    """Models that were compiled to machine code, by name."""
    unsampled: frozenset[str] = frozenset()
    """Heads that were trained on all of their negatives."""
    curves: Mapping[str, Curve] = field(default_factory=dict)
    """The calibration of a head, by its name; a head without one stays as it is."""
    label_definition: LabelDefinition | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Why a head that a weight asks for was not trained, by its name."""
    place_effects: Mapping[str, Values] = field(default_factory=dict)
    """Log-odds that each place on a shelf adds, by the head that was trained on shelves."""

    @property
    def boosters(self) -> dict[str, lgb.Booster]:
        """The heads and the order head, by name."""
        return self.heads | ({ORDER: self.order} if self.order is not None else {})

    @property
    def models(self) -> dict[str, lgb.Booster]:
        """The boosters, and the trees of the coarse cut, which read COARSE_FEATURES alone."""
        return self.boosters | ({COARSE: self.coarse} if self.coarse is not None else {})

    def coarse_score(self, features: Floats) -> Values:
        """Return how likely the fine ranker places each row of COARSE_FEATURES on the shelf."""
        assert self.coarse is not None
        return self._predict(COARSE, self.coarse, features, 1)

    def value(self, features: Floats, threads: int = 1) -> Values:
        """Return the value of each row: the weighted sum of the terms, tilted by the order head.

        A shop in its first days has no head; then it is the reciprocal rank fusion of the sources (Cormack et al.
        2009).
        """
        if self.compiled:  # compiled trees read doubles: one copy for all of them
            features = features.astype(np.float64)
        return self.value_of(self.probabilities(features, threads), features, threads)

    def value_of(self, probabilities: Mapping[str, Values], features: Floats, threads: int = 1) -> Values:
        """Return the value of each row from the heads' predictions."""
        if not probabilities:
            return rank_fusion(features)
        # Without any term, the order head alone decides.
        total = np.zeros(len(features)) if self.weights else np.ones(len(features))
        for term, weight in self.weights.items():
            worth = np.full(len(features), weight)
            for head in TERMS[term]:
                worth *= probabilities[head]
            total += worth
        if self.order is not None:
            total *= np.exp(self.order_tilt * self._predict(ORDER, self.order, features, threads))
        return total

    def probabilities(self, features: Floats, threads: int = 1) -> dict[str, Values]:
        """Return each head's prediction of each row, by name: a calibrated probability, or money by `spend`."""
        return {name: self.calibrated(name, p) for name, p in self.uncalibrated(features, threads).items()}

    def uncalibrated(self, features: Floats, threads: int = 1) -> dict[str, Values]:
        """Return each head's prediction without its curve.

        One trained on a share s of the negatives is corrected to p / (p + (1 - p) / s) (Elkan 2001).
        """
        sampled = {name: self._predict(name, booster, features, threads) for name, booster in self.heads.items()}
        return {
            name: p if name == SPEND or name in self.unsampled else p / (p + (1 - p) / self.negative_share)
            for name, p in sampled.items()
        }

    def calibrated(self, head: str, predicted: Values) -> Values:
        """Return a head's predictions after its curve."""
        curve = self.curves.get(head)
        return curve(predicted) if curve is not None else predicted

    def _predict(self, name: str, booster: lgb.Booster, features: Floats, threads: int) -> Values:
        compiled = self.compiled.get(name)
        return np.asarray(compiled(features) if compiled else booster.predict(features, num_threads=threads))


def rank_fusion(features: Floats) -> Values:
    """Return the sum of each row's reciprocal ranks by RANKED, plus 1 / RRF_K for each source that brought it.

    A score of zero or below has no rank: the source knows nothing of the item.
    """
    total = features[:, FEATURES.index("votes")].astype(np.float64) / RRF_K
    for source in RANKED:
        rank = features[:, FEATURES.index(f"{source}_rank")].astype(np.float64)
        total += np.where(features[:, FEATURES.index(source)] > 0, reciprocal_rank(rank), 0)
    return total


def available_terms(weights: Mapping[str, float], heads: Mapping[str, lgb.Booster]) -> dict[str, float]:
    """Return the weights of the terms whose heads were all trained."""
    return {term: float(weights[term]) for term in TERMS if weights.get(term) and set(TERMS[term]) <= set(heads)}


class FittedParameters(msgspec.Struct, frozen=True):
    """The parameters that a ranker was fitted with, as far as scoring needs them."""

    head_weight: dict[str, float]
    order_tilt: float


def compile_ranker(lake: Lake, ds: date, rows: int) -> None:
    """Compile the models of one night, a process each, if that pays for scoring `rows` rows a night.

    So that the processes of shards, which start together, find them compiled.
    """
    if pays(rows):
        models = [lake.text(RANKER, ds, name) for name in lake.manifest(RANKER, ds).files]
        in_processes(partial(_compile, models), len(models))


def _compile(models: Sequence[str], number: int) -> None:
    compile_once(models[number])


def load_ranker(lake: Lake, ds: date, rows: int = 0) -> Ranker:
    """Load the ranker of one night from its text models; they are compiled if that pays for scoring `rows` rows.

    Raises:
        MissingPartitionError: it was not trained.
    """
    manifest = lake.manifest(RANKER, ds)
    fitted, head_facts = manifest.parameters_as(FittedParameters), manifest.metrics_as(RankerMetrics).heads
    models = {name.removesuffix(".txt"): lake.text(RANKER, ds, name) for name in manifest.files}
    boosters = {name: lgb.Booster(model_str=model) for name, model in models.items()}
    compiled = {name: compile_once(models[name]) for name in boosters} if pays(rows) else {}
    order, coarse = boosters.pop(ORDER, None), boosters.pop(COARSE, None)
    return Ranker(
        boosters,
        available_terms(fitted.head_weight, boosters),
        min((facts.negative_share for facts in head_facts.values()), default=1.0),
        order,
        fitted.order_tilt,
        coarse,
        compiled,
        frozenset(name for name, facts in head_facts.items() if facts.negative_share == 1),
        {name: facts.curve for name, facts in head_facts.items() if facts.curve is not None},
    )
