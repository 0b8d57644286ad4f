"""Build `artifacts/ranker` for one night: LightGBM heads, trained on the windows before it, and judge them.

    python -m jobs.train_ranker --ds 2026-01-31

A head is a probability: `purchase` within the horizon, or any `interaction`. A shop without purchases, or without
anything but purchases, has one such head, and the manifest says so. The `order` head is no probability: it learns
which of a shopper's items come first (LambdaMART, Burges 2010), and tilts the value. The night's own evaluation
(`marts/evaluation/ds=…/holdout.json`) scores a shadow ranker that never saw the newest window on that window.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from jobs.candidates import RRF_K
from jobs.compiled_trees import Predict, compile_once, pays
from jobs.holdout import holdout, holdout_path
from jobs.label_windows import Window
from jobs.label_windows import build as build_windows
from jobs.lake import Lake
from jobs.manifest import Manifest, digest_of
from jobs.ranking_features import CATEGORICAL_FEATURES, FEATURES
from jobs.settings import Parameters, stage_arguments
from jobs.spark import session
from jobs.training_examples import TABLE, Examples, load_examples

ARTIFACT = "artifacts/ranker"
ORDER = "order"
ORDERED_PLACES = 30
"""Pairs of items count for the order head where one of them stands within the first so many places."""
ORDER_EXAMPLES = 1_000_000
"""The order head learns from all examples up to about so many; of a larger shop's negatives a share has to do."""
MIN_POSITIVES = 50
"""A head with fewer positive examples than this would only learn noise."""


@dataclass(frozen=True)
class Ranker:
    """Heads by name, and their weights in the value of an item."""

    heads: dict[str, lgb.Booster]
    weights: dict[str, float]
    negative_share: float = 1.0
    """The share of negatives that the probabilities were learned from."""
    order: lgb.Booster | None = None
    order_tilt: float = 0.0
    compiled: Mapping[str, Predict] = field(default_factory=dict)
    """Heads that were compiled, by name; the same predictions from machine code."""

    @property
    def boosters(self) -> dict[str, lgb.Booster]:
        """Every trained head by its name."""
        return self.heads | ({ORDER: self.order} if self.order is not None else {})

    def value(self, features: npt.NDArray[np.float32], threads: int = 1) -> npt.NDArray[np.float64]:
        """Return the value of each row: the weighted sum of the heads' probabilities, tilted by the order head.

        Without a head, a shop of its first days, it is the fusion of the sources' ranks (Cormack et al. 2009).
        """
        return self.value_of(self.probabilities(features, threads), features, threads)

    def value_of(
        self,
        probabilities: Mapping[str, npt.NDArray[np.float64]],
        features: npt.NDArray[np.float32],
        threads: int = 1,
    ) -> npt.NDArray[np.float64]:
        """Return the value of each row whose probabilities are known already."""
        if not probabilities:
            return rank_fusion(features)
        total = np.zeros(len(features))
        for name, probability in probabilities.items():
            total += self.weights[name] * probability
        if self.order is not None:
            total *= np.exp(self.order_tilt * self._predict(ORDER, self.order, features, threads))
        return total

    def probabilities(
        self, features: npt.NDArray[np.float32], threads: int = 1
    ) -> dict[str, npt.NDArray[np.float64]]:
        """Return each head's probability of each row, by name.

        One learned from a share s of the negatives is corrected to p / (p + (1 - p) / s) (Elkan 2001).
        """
        drawn = {name: self._predict(name, booster, features, threads) for name, booster in self.heads.items()}
        return {name: p / (p + (1 - p) / self.negative_share) for name, p in drawn.items()}

    def _predict(
        self, name: str, booster: lgb.Booster, features: npt.NDArray[np.float32], threads: int
    ) -> npt.NDArray[np.float64]:
        compiled = self.compiled.get(name)
        return np.asarray(compiled(features) if compiled else booster.predict(features, num_threads=threads))


def rank_fusion(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the summed reciprocal ranks of each row by source, and a place for each source that brought it."""
    votes = features[:, FEATURES.index("votes")].astype(np.float64)
    ranks = [features[:, FEATURES.index(f"{source}_rank")] for source in ("als", "item_item", "ease")]
    return votes / RRF_K + sum(1.0 / (RRF_K + 1.0 + rank.astype(np.float64)) for rank in ranks)


def train(windows: Sequence[Examples], parameters: Parameters) -> Ranker:
    """Train the heads that the examples can carry: those with MIN_POSITIVES positive labels. There may be none."""
    learned = _learned_from(windows, parameters.negative_share, parameters.seed)
    heads: dict[str, lgb.Booster] = {}
    trained_on: list[npt.NDArray[np.int32]] = []
    for name in parameters.head_weight:
        label = learned.labels[name]
        # A shop with purchases alone has equal labels twice; the second head would only cost time.
        same = any(np.array_equal(label, earlier) for earlier in trained_on)
        if label.sum() >= MIN_POSITIVES and not same:
            rows = np.flatnonzero((label > 0) | learned.drawn)
            heads[name] = _fit(learned.features[rows], label[rows], parameters, {"objective": "binary"})
            trained_on.append(label)
    weights = {name: parameters.head_weight[name] for name in heads}
    order = _fit_order(windows, parameters) if heads and parameters.order_tilt else None
    return Ranker(heads, weights, parameters.negative_share, order, parameters.order_tilt)


@dataclass(frozen=True)
class _Learned:
    """The examples that heads learn from, window after window: every positive one, and a share of the others."""

    features: npt.NDArray[np.float32]
    labels: dict[str, npt.NDArray[np.int32]]
    drawn: npt.NDArray[np.bool_]
    """Belongs to the share that was drawn from all examples; a probability takes its negatives from these alone."""
    shopper: npt.NDArray[np.int64]
    """Number of the window's shopper, ascending."""


def _learned_from(windows: Sequence[Examples], share: float, seed: int) -> _Learned:
    """Take the examples out of the windows; most of them are negatives that never need to be copied."""
    random = np.random.default_rng(seed)
    drawn = [random.random(len(window.user)) < share for window in windows]
    positive = [np.logical_or.reduce([label > 0 for label in window.labels.values()]) for window in windows]
    rows = [np.flatnonzero(of_share | of_label) for of_share, of_label in zip(drawn, positive, strict=True)]
    before = np.cumsum([0, *(len(window.user_id) for window in windows)])
    each = list(zip(windows, rows, strict=True))
    return _Learned(
        features=np.concatenate([window.features[of] for window, of in each]),
        labels={name: np.concatenate([window.labels[name][of] for window, of in each]) for name in windows[0].labels},
        drawn=np.concatenate([of_share[of] for of_share, of in zip(drawn, rows, strict=True)]),
        shopper=np.concatenate([window.user[of] + first for (window, of), first in zip(each, before, strict=False)]),
    )


def _fit_order(windows: Sequence[Examples], parameters: Parameters) -> lgb.Booster:
    """Fit the order head: a purchase before any other interaction before none, shopper by shopper."""
    share = min(1.0, ORDER_EXAMPLES / sum(len(window.user) for window in windows))
    learned = _learned_from(windows, share, parameters.seed)
    grade = learned.labels["interaction"] + 2 * learned.labels["purchase"]
    sizes = np.unique(learned.shopper, return_counts=True)[1]
    chosen = {"objective": "lambdarank", "lambdarank_truncation_level": ORDERED_PLACES}
    return _fit(learned.features, grade, parameters, chosen, sizes)


def _fit(
    features: npt.NDArray[np.float32],
    label: npt.NDArray[np.int32],
    parameters: Parameters,
    objective: dict[str, Any],
    group: npt.NDArray[np.int64] | None = None,
) -> lgb.Booster:
    """Fit one head; deterministic for the same rows in the same order."""
    data = lgb.Dataset(
        features,
        label=label,
        group=group,
        feature_name=list(FEATURES),
        categorical_feature=list(CATEGORICAL_FEATURES),
        free_raw_data=True,
        params={"verbosity": -1, "num_threads": parameters.ranker_threads, "data_random_seed": parameters.seed},
    )
    chosen = {
        **objective,
        "num_leaves": parameters.leaves,
        "learning_rate": parameters.learning_rate,
        "min_data_in_leaf": 50,
        "feature_fraction": parameters.feature_fraction,
        "lambda_l2": 5.0,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": parameters.ranker_threads,
        "seed": parameters.seed,
        "verbosity": -1,
    }
    return lgb.train(chosen, data, num_boost_round=parameters.trees)


def build(lake: Lake, ds: date, windows: Sequence[Window], parameters: Parameters) -> Manifest:
    """Train on the windows' examples, judge a shadow, and write both, unless they stand already.

    Raises:
        MissingPartitionError: a window was not built.
    """
    inputs: dict[str, str] = {}
    for window in windows:
        place = "" if window.lake.root == lake.root else "held_out/"
        inputs |= {place + key: value for key, value in window.lake.fingerprints(window.ds, TABLE).items()}
    chosen = ranker_parameters(parameters)
    found = lake.find_manifest(ARTIFACT, ds)
    if found is not None and found.is_current(inputs, chosen) and lake.get_json(holdout_path(ds)) is not None:
        return found
    twin = _twin(lake, ds, inputs, chosen)
    if twin is not None:
        return _copied(lake, twin, ds, inputs, chosen)
    examples = [load_examples(window.lake, window.ds) for window in windows]
    ranker = train(examples, parameters)
    models = {name: booster.model_to_string() for name, booster in ranker.boosters.items()}
    metrics = {
        "model_version": digest_of(models.values())[:12],
        "orders_by": "heads" if ranker.heads else "rank fusion: no head has enough labels",
        "heads": {name: _head_facts(name, ranker, examples, windows, parameters) for name in ranker.heads},
        "left_out": [name for name in parameters.head_weight if name not in ranker.heads],
    }
    lake.put_json(holdout_path(ds), holdout(windows, examples, train, parameters))
    return lake.write_artifact(
        ARTIFACT,
        ds,
        {},
        texts={f"{name}.txt": model for name, model in models.items()},
        inputs=inputs,
        parameters=chosen,
        metrics=metrics,
    )


def _twin(lake: Lake, ds: date, inputs: Mapping[str, str], chosen: Mapping[str, Any]) -> date | None:
    """Return a day of the week before `ds` whose ranker learned from the same: training would give it again."""
    for day in (ds - timedelta(days=ago) for ago in range(1, 8)):
        manifest = lake.find_manifest(ARTIFACT, day)
        if manifest is not None and manifest.is_current(inputs, chosen) and lake.get_json(holdout_path(day)):
            return day
    return None


def _copied(lake: Lake, twin: date, ds: date, inputs: Mapping[str, str], chosen: Mapping[str, Any]) -> Manifest:
    manifest = lake.manifest(ARTIFACT, twin)
    texts = {name: lake.text(ARTIFACT, twin, name) for name in manifest.files}
    lake.put_json(holdout_path(ds), lake.get_json(holdout_path(twin)))
    return lake.write_artifact(
        ARTIFACT, ds, {}, texts=texts, inputs=inputs, parameters=chosen, metrics=manifest.metrics
    )


def ranker_parameters(parameters: Parameters) -> dict[str, Any]:
    """Return the parameters that shape the ranker."""
    shape = ("trees", "leaves", "learning_rate", "feature_fraction", "negative_share", "order_tilt", "head_weight")
    names = (*shape, "ranker_threads", "horizon_days", "seed")
    return {name: getattr(parameters, name) for name in names}


def _head_facts(
    name: str, ranker: Ranker, examples: Sequence[Examples], windows: Sequence[Window], parameters: Parameters
) -> dict[str, Any]:
    """Return what a head says of itself: population, label, horizon, size, and what it splits on most."""
    gain = ranker.heads[name].feature_importance("gain")
    strongest = np.argsort(-gain, kind="stable")[:10]
    return {
        "population": "candidates",
        "label": name,
        "horizon_days": parameters.horizon_days,
        "as_of": [str(window.ds) for window in windows],
        "examples": int(sum(len(window.user) for window in examples)),
        "positives": int(sum(window.labels[name].sum() for window in examples)),
        "strongest_features": [FEATURES[index] for index in strongest],
    }


def load_ranker(lake: Lake, ds: date, rows: int = 0) -> Ranker:
    """Load the ranker of one night from its text models, compiled where it is to score that many rows.

    Raises:
        MissingPartitionError: it was not trained.
    """
    manifest = lake.manifest(ARTIFACT, ds)
    chosen = manifest.parameters
    models = {name.removesuffix(".txt"): lake.text(ARTIFACT, ds, name) for name in manifest.files}
    boosters = {name: lgb.Booster(model_str=model) for name, model in models.items()}
    compiled = {name: compile_once(models[name]) for name in boosters if pays(boosters[name], rows)}
    order = boosters.pop(ORDER, None)
    weights = {name: float(chosen["head_weight"][name]) for name in boosters}
    return Ranker(boosters, weights, float(chosen["negative_share"]), order, float(chosen["order_tilt"]), compiled)


def main() -> None:
    """Run the stage from the command line: windows first, then the ranker."""
    given = stage_arguments(__doc__)
    lake = Lake(given.settings.lake)
    windows = build_windows(session(), lake, given.ds, given.parameters)
    manifest = build(lake, given.ds, windows, given.parameters)
    print(f"{ARTIFACT}/ds={given.ds}: {manifest.metrics}")


if __name__ == "__main__":
    main()
