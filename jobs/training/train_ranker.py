"""Build `artifacts/ranker` for one night: train the ranker on the windows before it, and evaluate it.

    topshelf stage train_ranker --ds 2026-01-31

`head_weight` decides which heads there are (`jobs.ranking.heads`). A head for which the shop has too few events is
left out, and the manifest says why. The night's own evaluation (`marts/evaluation/ds=…/holdout.json`) scores a shadow
ranker on the newest window, which the shadow was not trained on.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import partial

import msgspec
import numpy as np

from jobs.config.parameters import Parameters
from jobs.lake.evaluations import Holdout
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest, digest_of
from jobs.lake.tables import EXAMPLES, HELD_OUT, RANKER, SHOWN
from jobs.ranking.coarse_cut import coarse_keep
from jobs.ranking.heads import TERMS, head_examples, required_facts
from jobs.ranking.pair_features import FEATURES
from jobs.ranking.ranker import Ranker
from jobs.ranking.ranker_metrics import HeadFacts, RankerMetrics
from jobs.training.examples import Examples, Part, Window, load_examples
from jobs.training.holdout import holdout
from jobs.training.sampling import RESERVED_SHARE, calibration_split
from jobs.training.train_heads import train

REUSE_DAYS = 7
"""A ranker of the last so many nights is copied if it was trained on the same: windows change once a week."""
STRONGEST_FEATURES = 10
NO_HEAD, NO_WINDOW = "no head has enough labels", "too few pairs of shopper and product to learn from"


def build(lake: Lake, ds: date, windows: Sequence[Window], parameters: Parameters) -> Manifest:
    """Train the ranker on the windows and evaluate a shadow, unless both are already built from the same inputs.

    Without a window the ranker has no head and the night no evaluation.

    Raises:
        MissingPartitionError: a window's examples were not built.
    """
    facts = required_facts(parameters.ranking.head_weight.positive())
    inputs: dict[str, str] = {}
    for window in windows:
        prefix = "" if window.lake.root == lake.root else f"{HELD_OUT}/"
        tables = [EXAMPLES, *([SHOWN] if _has_shown(window, facts) else [])]
        inputs |= {prefix + key: value for key, value in window.lake.fingerprints(window.ds, *tables).items()}
    chosen = ranker_parameters(parameters)

    def write() -> Manifest:
        same_day = _day_of_same_ranker(lake, ds, inputs, chosen)
        if same_day is not None:
            return _copy_ranker(lake, same_day, ds, inputs, chosen)
        return _train(lake, ds, windows, parameters, inputs)

    # A ranker counts only together with its evaluation, which is written first.
    is_judged = bool(Holdout.read(lake, ds)) == bool(windows)
    return lake.build_if_stale(RANKER, ds, inputs, chosen, write) if is_judged else write()


def _train(
    lake: Lake, ds: date, windows: Sequence[Window], parameters: Parameters, inputs: Mapping[str, str]
) -> Manifest:
    """Train on the windows' examples and evaluate a shadow; write both, the evaluation first."""
    facts = required_facts(parameters.ranking.head_weight.positive())
    parts = [Part.WHOLE if window.calibrates else Part.SAMPLE for window in windows]
    parts[:1] = [Part.ALL for _ in windows[:1]]
    examples = [
        load_examples(window.lake, window.ds, facts, part) for window, part in zip(windows, parts, strict=True)
    ]
    calibration_window = examples.pop() if windows and windows[-1].calibrates else None
    ranker = train(examples, parameters, calibration_window)
    metrics = ranker_metrics(ranker, examples, calibration_window, windows, parameters)
    if windows:
        # The shadow orders all candidates of its window.
        train_shadow = partial(train, calibration_window=calibration_window, with_coarse_cut=False)
        holdout(windows, examples, train_shadow, parameters).write(lake, ds)
    else:
        Holdout.withdraw(lake, ds)
    return lake.write_artifact(
        RANKER,
        ds,
        {},
        texts={f"{name}.txt": model for name, model in model_texts(ranker).items()},
        inputs=inputs,
        parameters=ranker_parameters(parameters),
        metrics=msgspec.to_builtins(metrics),
    )


def model_texts(ranker: Ranker) -> dict[str, str]:
    """Return every model of a ranker as LightGBM writes it, by name."""
    return {name: booster.model_to_string() for name, booster in ranker.models.items()}


def ranker_metrics(
    ranker: Ranker,
    examples: Sequence[Examples],
    calibration_window: Examples | None,
    windows: Sequence[Window],
    parameters: Parameters,
) -> RankerMetrics:
    """Return what a ranker that was just trained consists of, and what it was trained and calibrated on."""
    training, calibration = calibration_split(examples, parameters, calibration_window)
    return RankerMetrics(
        model_version=digest_of([*model_texts(ranker).values(), str(sorted(ranker.curves.items()))])[:12],
        orders_by="heads" if ranker.heads else f"rank fusion: {NO_HEAD if windows else NO_WINDOW}",
        value={term: f"{weight:g} x {' x '.join(TERMS[term])}" for term, weight in ranker.weights.items()},
        heads={name: _head_facts(name, ranker, training, windows, parameters) for name in ranker.heads},
        left_out=dict(ranker.left_out),
        calibrated_on=_calibrated_on(windows, bool(calibration), parameters),
    )


def _head_facts(
    name: str, ranker: Ranker, training: Sequence[Examples], windows: Sequence[Window], parameters: Parameters
) -> HeadFacts:
    assert ranker.label_definition is not None
    of_windows = [head_examples(name, window.labels, ranker.label_definition) for window in training]
    by_gain = np.argsort(-ranker.heads[name].feature_importance("gain"), kind="stable")
    return HeadFacts(
        population=of_windows[0].population,
        label=of_windows[0].description,
        horizon_days=parameters.training.horizon_days,
        as_of=[window.ds for window in windows if not window.calibrates],
        examples=sum(len(examples.label) for examples in of_windows),
        positives=sum(int((examples.label > 0).sum()) for examples in of_windows),
        negative_share=1.0 if name in ranker.unsampled else ranker.negative_share,
        curve=ranker.curves.get(name),
        places=[round(float(effect), 6) for effect in ranker.place_effects.get(name, [])],
        strongest_features=[FEATURES[index] for index in by_gain[:STRONGEST_FEATURES]],
    )


def _calibrated_on(windows: Sequence[Window], has_examples: bool, parameters: Parameters) -> str:
    """Return what the heads are calibrated on, in words."""
    if parameters.ranking.calibration == "none":
        return "nothing"
    if not has_examples:
        return "nothing, as no window and too few shoppers can be spared"
    if not windows[-1].calibrates:
        return f"one shopper in {RESERVED_SHARE} of the windows, as none of them can be spared"
    first, last = (windows[-1].ds + timedelta(days=days) for days in (1, parameters.training.horizon_days))
    return f"{first} to {last}"


def _has_shown(window: Window, facts: Sequence[str]) -> bool:
    return "place" in facts and window.lake.find_manifest(SHOWN, window.ds) is not None


def _day_of_same_ranker(lake: Lake, ds: date, inputs: Mapping[str, str], chosen: Mapping[str, object]) -> date | None:
    """Return an earlier day whose ranker was trained on the same inputs; training again would give the same bytes."""
    for day in (ds - timedelta(days=ago) for ago in range(1, REUSE_DAYS + 1)):
        if not lake.why_stale(RANKER, day, inputs, chosen) and Holdout.read(lake, day):
            return day
    return None


def _copy_ranker(
    lake: Lake, source: date, ds: date, inputs: Mapping[str, str], chosen: Mapping[str, object]
) -> Manifest:
    """Write the ranker of `source` and its evaluation as those of `ds`."""
    manifest = lake.manifest(RANKER, source)
    texts = {name: lake.text(RANKER, source, name) for name in manifest.files}
    evaluation = Holdout.read(lake, source)
    assert evaluation is not None
    evaluation.write(lake, ds)
    return lake.write_artifact(
        RANKER, ds, {}, texts=texts, inputs=inputs, parameters=chosen, metrics=manifest.metrics
    )


def ranker_parameters(parameters: Parameters) -> dict[str, object]:
    """Return the parameters that shape the ranker."""
    ranking, keep = parameters.ranking, coarse_keep(parameters)
    return {
        "coarse": {"keep": keep, "top_n": parameters.shelves.top_n} if keep is not None else None,
        "trees": ranking.trees,
        "leaves": ranking.leaves,
        "learning_rate": ranking.learning_rate,
        "feature_fraction": ranking.feature_fraction,
        "negative_share": parameters.training.negative_share,
        "order_tilt": ranking.order_tilt,
        "head_weight": ranking.head_weight.positive(),
        "long_view_s": ranking.long_view_s,
        "calibration": ranking.calibration,
        "ranker_threads": ranking.threads,
        "horizon_days": parameters.training.horizon_days,
        "seed": parameters.seed,
    }
