"""Build `artifacts/ranker` for one night: LightGBM heads, trained on the windows before it, and judge them.

    python -m jobs.train_ranker --ds 2026-01-31

A head is a probability: `purchase` within the horizon, or any `interaction`. A shop without purchases, or without
anything but purchases, has one head, and the manifest says so. The night's own evaluation
(`marts/evaluation/ds=…/holdout.json`) scores a shadow ranker that never saw the newest window on that window.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from jobs.candidates import RRF_K
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
MIN_POSITIVES = 50
"""A head with fewer positive examples than this would only learn noise."""


@dataclass(frozen=True)
class Ranker:
    """Heads by name, and their weights in the value of an item."""

    heads: dict[str, lgb.Booster]
    weights: dict[str, float]

    def value(self, features: npt.NDArray[np.float32], threads: int = 1) -> npt.NDArray[np.float64]:
        """Return the value of each row: the weighted sum of the heads' probabilities.

        Without a head, a shop of its first days, it is the fusion of the sources' ranks (Cormack et al. 2009).
        """
        if not self.heads:
            return rank_fusion(features)
        total = np.zeros(len(features))
        for name, booster in self.heads.items():
            total += self.weights[name] * np.asarray(booster.predict(features, num_threads=threads))
        return total


def rank_fusion(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the summed reciprocal ranks of each row by source, and a place for each source that brought it."""
    votes = features[:, FEATURES.index("votes")].astype(np.float64)
    ranks = [features[:, FEATURES.index(f"{source}_rank")] for source in ("als", "item_item", "ease")]
    return votes / RRF_K + sum(1.0 / (RRF_K + 1.0 + rank.astype(np.float64)) for rank in ranks)


def train(windows: Sequence[Examples], parameters: Parameters) -> Ranker:
    """Train the heads that the examples can carry: those with MIN_POSITIVES positive labels. There may be none."""
    features = np.concatenate([window.features for window in windows])
    heads: dict[str, lgb.Booster] = {}
    trained_on: list[npt.NDArray[np.int32]] = []
    for name in parameters.head_weight:
        label = np.concatenate([window.labels[name] for window in windows])
        # A shop with purchases alone has equal labels twice; the second head would only cost time.
        same = any(np.array_equal(label, earlier) for earlier in trained_on)
        if label.sum() >= MIN_POSITIVES and not same:
            heads[name] = _fit(features, label, parameters)
            trained_on.append(label)
    return Ranker(heads, {name: parameters.head_weight[name] for name in heads})


def _fit(features: npt.NDArray[np.float32], label: npt.NDArray[np.int32], parameters: Parameters) -> lgb.Booster:
    """Fit one binary head; deterministic for the same rows in the same order."""
    data = lgb.Dataset(
        features,
        label=label,
        feature_name=list(FEATURES),
        categorical_feature=list(CATEGORICAL_FEATURES),
        free_raw_data=True,
        params={"verbosity": -1, "num_threads": parameters.ranker_threads, "data_random_seed": parameters.seed},
    )
    chosen = {
        "objective": "binary",
        "num_leaves": parameters.leaves,
        "learning_rate": parameters.learning_rate,
        "min_data_in_leaf": 50,
        "feature_fraction": 0.7,
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
    examples = [load_examples(window.lake, window.ds) for window in windows]
    ranker = train(examples, parameters)
    metrics = {
        "model_version": digest_of(booster.model_to_string() for booster in ranker.heads.values())[:12],
        "orders_by": "heads" if ranker.heads else "rank fusion: no head has enough labels",
        "heads": {name: _head_facts(name, ranker, examples, windows, parameters) for name in ranker.heads},
        "left_out": [name for name in parameters.head_weight if name not in ranker.heads],
    }
    lake.put_json(holdout_path(ds), holdout(windows, examples, train, parameters))
    return lake.write_artifact(
        ARTIFACT,
        ds,
        {},
        texts={f"{name}.txt": booster.model_to_string() for name, booster in ranker.heads.items()},
        inputs=inputs,
        parameters=chosen,
        metrics=metrics,
    )


def ranker_parameters(parameters: Parameters) -> dict[str, Any]:
    """Return the parameters that shape the ranker."""
    names = ("trees", "leaves", "learning_rate", "ranker_threads", "head_weight", "horizon_days", "seed")
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


def load_ranker(lake: Lake, ds: date) -> Ranker:
    """Load the ranker of one night from its text models.

    Raises:
        MissingPartitionError: it was not trained.
    """
    manifest = lake.manifest(ARTIFACT, ds)
    weights = manifest.parameters["head_weight"]
    heads = {
        name: lgb.Booster(model_str=lake.text(ARTIFACT, ds, f"{name}.txt")) for name in manifest.metrics["heads"]
    }
    return Ranker(heads, {name: float(weights[name]) for name in heads})


def main() -> None:
    """Run the stage from the command line: windows first, then the ranker."""
    given = stage_arguments(__doc__)
    lake = Lake(given.settings.lake)
    windows = build_windows(session(), lake, given.ds, given.parameters)
    manifest = build(lake, given.ds, windows, given.parameters)
    print(f"{ARTIFACT}/ds={given.ds}: {manifest.metrics}")


if __name__ == "__main__":
    main()
