"""Build `artifacts/ranker` for one night: LightGBM heads, trained on the windows before it, and judge them.

    topshelf stage train_ranker --ds 2026-01-31

`ranking.head_weight` says which heads there are (`jobs.ranking.heads`); what a shop has no events for is left out,
and the manifest says why. The night's own evaluation (`marts/evaluation/ds=…/holdout.json`) scores a shadow ranker
that never saw the newest window on that window.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import partial
from typing import Any

import numpy as np

from jobs.config.parameters import Parameters
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest, digest_of
from jobs.lake.tables import EXAMPLES, RANKER, SHOWN
from jobs.ranking.coarse_cut import kept_per_user
from jobs.ranking.heads import TERMS, asked_facts, lesson
from jobs.ranking.pair_features import FEATURES
from jobs.ranking.ranker import Ranker
from jobs.training.examples import Examples, Window, load_examples
from jobs.training.holdout import holdout, holdout_path
from jobs.training.train_heads import APART, split, train


def build(lake: Lake, ds: date, windows: Sequence[Window], parameters: Parameters) -> Manifest:
    """Train on the windows' examples, judge a shadow, and write both, unless they stand already.

    Raises:
        MissingPartitionError: a window was not built.
    """
    facts = asked_facts(parameters.ranking.head_weight.positive())
    inputs: dict[str, str] = {}
    for window in windows:
        place = "" if window.lake.root == lake.root else "held_out/"
        tables = [EXAMPLES, *([SHOWN] if _has_shown(window, facts) else [])]
        inputs |= {place + key: value for key, value in window.lake.fingerprints(window.ds, *tables).items()}
    chosen = ranker_parameters(parameters)

    def write() -> Manifest:
        twin = _twin(lake, ds, inputs, chosen)
        if twin is not None:
            return _copied(lake, twin, ds, inputs, chosen)
        return _train(lake, ds, windows, parameters, inputs)

    # A ranker counts only together with the holdout report, which is written before it.
    return lake.build_if_stale(RANKER, ds, inputs, chosen, write) if lake.get_json(holdout_path(ds)) else write()


def _train(
    lake: Lake, ds: date, windows: Sequence[Window], parameters: Parameters, inputs: Mapping[str, str]
) -> Manifest:
    """Train on the windows' examples and judge a shadow; write both, the judgement first."""
    facts, chosen = asked_facts(parameters.ranking.head_weight.positive()), ranker_parameters(parameters)
    examples = [load_examples(window.lake, window.ds, facts) for window in windows]
    apart = examples.pop() if windows[-1].calibrates else None
    ranker = train(examples, parameters, apart)
    models = {name: booster.model_to_string() for name, booster in ranker.models.items()}
    version = digest_of([*models.values(), str(sorted(ranker.curves.items()))])[:12]
    metrics = {"model_version": version} | _told(ranker, examples, apart, windows, parameters)
    lake.put_json(holdout_path(ds), holdout(windows, examples, partial(train, apart=apart), parameters))
    return lake.write_artifact(
        RANKER,
        ds,
        {},
        texts={f"{name}.txt": model for name, model in models.items()},
        inputs=inputs,
        parameters=chosen,
        metrics=metrics,
    )


def _told(
    ranker: Ranker,
    examples: Sequence[Examples],
    apart: Examples | None,
    windows: Sequence[Window],
    parameters: Parameters,
) -> dict[str, Any]:
    """Return what a ranker says of itself; what it was split from is free again when this returns."""
    teaching, rest = split(examples, parameters, apart)
    return {
        "orders_by": "heads" if ranker.heads else "rank fusion: no head has enough labels",
        "value": {term: f"{weight:g} x {' x '.join(TERMS[term])}" for term, weight in ranker.weights.items()},
        "heads": heads_facts(ranker, teaching, windows, parameters),
        "left_out": dict(ranker.left_out),
        "calibrated_on": _calibrated_on(windows, bool(rest), parameters),
    }


def _twin(lake: Lake, ds: date, inputs: Mapping[str, str], chosen: Mapping[str, Any]) -> date | None:
    """Return a day of the week before `ds` whose ranker learned from the same: training would give it again."""
    for day in (ds - timedelta(days=ago) for ago in range(1, 8)):
        if not lake.why_stale(RANKER, day, inputs, chosen) and lake.get_json(holdout_path(day)):
            return day
    return None


def _copied(lake: Lake, twin: date, ds: date, inputs: Mapping[str, str], chosen: Mapping[str, Any]) -> Manifest:
    manifest = lake.manifest(RANKER, twin)
    texts = {name: lake.text(RANKER, twin, name) for name in manifest.files}
    lake.put_json(holdout_path(ds), lake.get_json(holdout_path(twin)))
    return lake.write_artifact(
        RANKER, ds, {}, texts=texts, inputs=inputs, parameters=chosen, metrics=manifest.metrics
    )


def ranker_parameters(parameters: Parameters) -> dict[str, Any]:
    """Return the parameters that shape the ranker."""
    ranking, keep = parameters.ranking, kept_per_user(parameters)
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


def _has_shown(window: Window, facts: Sequence[str]) -> bool:
    return "place" in facts and window.lake.find_manifest(SHOWN, window.ds) is not None


def _calibrated_on(windows: Sequence[Window], enough: bool, parameters: Parameters) -> str:
    """Return what calibrates the heads, and nothing else."""
    if parameters.ranking.calibration == "none":
        return "nothing"
    if not enough:
        return "nothing, as no window and too few shoppers can be spared"
    if not windows[-1].calibrates:
        return f"one shopper in {APART} of the windows, as none of them can be spared"
    first, last = (windows[-1].ds + timedelta(days=days) for days in (1, parameters.training.horizon_days))
    return f"{first} to {last}"


def heads_facts(
    ranker: Ranker, teaching: Sequence[Examples], windows: Sequence[Window], parameters: Parameters
) -> dict[str, Any]:
    """Return what each head says of itself: population, label, horizon, size, curve, and what it splits on most."""
    assert ranker.reading is not None, "of a ranker that was trained just now"
    found = {}
    for name, booster in ranker.heads.items():
        taught = [lesson(name, window.labels, ranker.reading) for window in teaching]
        strongest = np.argsort(-booster.feature_importance("gain"), kind="stable")[:10]
        found[name] = {
            "population": taught[0].population,
            "label": taught[0].told,
            "horizon_days": parameters.training.horizon_days,
            "as_of": [str(window.ds) for window in windows if not window.calibrates],
            "examples": sum(len(of.label) for of in taught),
            "positives": sum(int((of.label > 0).sum()) for of in taught),
            "negative_share": 1.0 if name in ranker.of_all_rows else ranker.negative_share,
            "curve": ranker.curves[name].told() if name in ranker.curves else None,
            "places": [round(float(odds), 6) for odds in ranker.places.get(name, [])],
            "strongest_features": [FEATURES[index] for index in strongest],
        }
    return found
