"""Train the ranker's heads on the examples of windows, and calibrate them on what trained none.

>>> ranker = train(windows, parameters, apart)

The `order` head is no probability: it learns which of a shopper's items come first (LambdaMART, Burges 2010).
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.special import expit

from jobs.config.parameters import Parameters
from jobs.ranking import calibration
from jobs.ranking.calibration import Curve, log_odds
from jobs.ranking.coarse_cut import LEARNED_FROM, kept_per_user, learn_the_cut
from jobs.ranking.heads import ALWAYS, SPEND, Facts, Lesson, Reading, asked_heads, lacks, lesson
from jobs.ranking.pair_features import CATEGORICAL_FEATURES, FEATURES
from jobs.ranking.ranker import Features, Ranker, Values, available_terms
from jobs.training.examples import Examples
from jobs.training.position_bias import of_places, place_offsets

ORDERED_PLACES = 30
"""Pairs of items count for the order head where one of them stands within the first so many places."""
ORDER_EXAMPLES = 1_000_000
"""The order head learns from all examples up to about so many; of a larger shop's negatives a share has to do."""
CALIBRATED_ON = 1_000_000
"""Heads are calibrated on the first shoppers with about so many examples."""
APART = 10
"""Where no window can be spared, one shopper in so many is kept from the heads, to calibrate them on."""


def train(windows: Sequence[Examples], parameters: Parameters, apart: Examples | None = None) -> Ranker:
    """Train the heads that are asked for and that the examples can teach. There may be none.

    They are calibrated on `apart`; without it, on one shopper in APART of the windows, whom no head but the order
    learns from, or, where that would be too few, not at all.
    """
    teaching, rest = split(windows, parameters, apart)
    learned = _learned_from(teaching, parameters.training.negative_share, parameters.seed)
    reading = Reading.of(learned.labels, parameters)
    lessons, left_out = lessons_of(learned.labels, reading, parameters)
    heads: dict[str, lgb.Booster] = {}
    places: dict[str, Values] = {}
    for name, taught in lessons.items():
        rows = taught.rows if taught.rows is not None else np.flatnonzero((taught.label > 0) | learned.drawn)
        label = taught.label if taught.rows is not None else taught.label[rows]
        start = None
        if taught.place is not None:
            places[name] = _places(learned, rows, label, taught.place, parameters)
            start = places[name][taught.place]
        heads[name] = _fit(learned.features[rows], label, parameters, objective(name), start=start)
    order = _fit_order(windows, parameters) if heads and parameters.ranking.order_tilt else None
    ranker = Ranker(
        heads,
        available_terms(parameters.ranking.head_weight.positive(), heads),
        parameters.training.negative_share,
        order,
        parameters.ranking.order_tilt,
        of_all_rows=frozenset(name for name, taught in lessons.items() if taught.rows is not None),
        reading=reading,
        left_out=left_out,
        places=places,
    )
    ranker = replace(ranker, curves=_curves(ranker, rest, parameters))
    return replace(ranker, coarse=_coarse(ranker, windows[0], parameters))


def _coarse(ranker: Ranker, newest: Examples, parameters: Parameters) -> lgb.Booster | None:
    """Return the trees of the coarse cut, where there is anything to cut and a ranker to learn from."""
    if kept_per_user(parameters) is None or not ranker.heads:
        return None
    rows = slice(0, LEARNED_FROM)
    value = ranker.value(newest.features[rows], parameters.ranking.threads)
    return learn_the_cut(newest.features[rows], newest.user[rows], value, parameters)


def split(
    windows: Sequence[Examples], parameters: Parameters, apart: Examples | None = None
) -> tuple[Sequence[Examples], Sequence[Examples]]:
    """Return the examples that heads learn from, and those that they are calibrated on, if any can be spared."""
    if parameters.ranking.calibration == "none":
        return windows, []
    if apart is not None:
        return windows, [apart]
    if sum(int(window.labels["interaction"].sum()) for window in windows) < APART * calibration.MIN_POSITIVES:
        return windows, []
    held = [stands_apart(window.user_id) for window in windows]
    return (
        [of_shoppers(window, ~of) for window, of in zip(windows, held, strict=True)],
        [of_shoppers(window, of) for window, of in zip(windows, held, strict=True)],
    )


def objective(head: str) -> dict[str, Any]:
    """Return what a head minimises; money by gamma's likelihood, whose mean is the money's mean."""
    return {"objective": "gamma" if head == SPEND else "binary"}


def lessons_of(facts: Facts, reading: Reading, parameters: Parameters) -> tuple[dict[str, Lesson], dict[str, str]]:
    """Return what each head that is asked for learns, and of those that cannot be trained the reason, by name."""
    lessons: dict[str, Lesson] = {}
    left_out: dict[str, str] = {}
    for name in asked_heads(parameters.ranking.head_weight.positive()):
        taught = lesson(name, facts, reading)
        reason = lacks(name, taught) or _twin(taught, lessons)
        if reason:
            left_out[name] = reason
        else:
            lessons[name] = taught
    return lessons, left_out


def _twin(taught: Lesson, lessons: Mapping[str, Lesson]) -> str:
    """Tell which head has learned the same: a shop with purchases alone has equal labels twice."""
    for name, other in lessons.items():
        of_all = taught.rows is None and other.rows is None
        if of_all and np.array_equal(taught.label, other.label):
            return f"its examples are those of {name}"
    return ""


@dataclass(frozen=True)
class _Learned:
    """The examples that heads learn from, window after window: every positive one, and a share of the others."""

    features: Features
    labels: dict[str, npt.NDArray[Any]]
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
    graded = [replace(window, labels={name: window.labels[name] for name in ALWAYS}) for window in windows]
    learned = _learned_from(graded, share, parameters.seed)
    grade = learned.labels["interaction"] + 2 * learned.labels["purchase"]
    sizes = np.unique(learned.shopper, return_counts=True)[1]
    chosen = {"objective": "lambdarank", "lambdarank_truncation_level": ORDERED_PLACES}
    return _fit(learned.features, grade, parameters, chosen, sizes)


def _fit(
    features: Features,
    label: npt.NDArray[Any],
    parameters: Parameters,
    objective: dict[str, Any],
    group: npt.NDArray[np.int64] | None = None,
    start: Values | None = None,
) -> lgb.Booster:
    """Fit one head; deterministic for the same rows in the same order.

    `start` is what each row's log-odds are to be without the trees' part of them, which alone the head predicts.
    """
    if start is not None:
        base = of_places(label, np.zeros(len(label), np.int64), start, 1)[0]
        start = start + base
    data = lgb.Dataset(
        features,
        label=label,
        group=group,
        init_score=start,
        feature_name=list(FEATURES),
        categorical_feature=list(CATEGORICAL_FEATURES),
        free_raw_data=True,
        params={"verbosity": -1, "num_threads": parameters.ranking.threads, "data_random_seed": parameters.seed},
    )
    chosen = {
        **objective,
        "num_leaves": parameters.ranking.leaves,
        "learning_rate": parameters.ranking.learning_rate,
        "min_data_in_leaf": 50,
        "feature_fraction": parameters.ranking.feature_fraction,
        "lambda_l2": 5.0,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": parameters.ranking.threads,
        "seed": parameters.seed,
        "verbosity": -1,
    }
    trees = lgb.train(chosen, data, num_boost_round=parameters.ranking.trees)
    if start is not None:  # of rows with a start of their own LightGBM does not learn how likely a click is at all
        for leaf in range(trees.dump_model(num_iteration=1)["tree_info"][0]["num_leaves"]):
            trees.set_leaf_output(0, leaf, trees.get_leaf_output(0, leaf) + base)
    return trees


def stands_apart(user_id: pa.Array) -> npt.NDArray[np.bool_]:
    """Tell which shoppers are kept from the heads where no window can be spared: one in APART, by the id's hash."""
    return np.array([zlib.crc32(f"apart {one}".encode()) % APART == 0 for one in user_id.to_pylist()], np.bool_)


def of_shoppers(examples: Examples, kept: npt.NDArray[np.bool_]) -> Examples:
    """Return the examples of some shoppers, who keep their numbers; `kept` is by shopper."""
    rows = kept[examples.user]
    return replace(
        examples,
        user=examples.user[rows],
        item=examples.item[rows],
        sources=examples.sources[rows],
        features=examples.features[rows],
        labels={name: label[rows] for name, label in examples.labels.items()},
    )


def _places(
    learned: _Learned,
    rows: npt.NDArray[np.int64],
    label: npt.NDArray[Any],
    place: npt.NDArray[np.int64],
    parameters: Parameters,
) -> Values:
    """Return what each place adds to the log-odds of a click, of examples that were shown."""
    features = learned.features[rows]

    def fit(of: npt.NDArray[np.bool_], start: Values) -> Callable[[npt.NDArray[np.bool_]], Values]:
        trees = _fit(features[of], label[of], parameters, objective("click"), start=start[of])
        return lambda others: np.asarray(trees.predict(features[others], raw_score=True))

    return place_offsets(label, place, learned.shopper[rows] % 2 == 0, fit)


@dataclass(frozen=True)
class Foreseen:
    """What a head predicted of the examples that it is about, and what happened."""

    before: Values
    """Without its curve."""
    after: Values
    happened: npt.NDArray[Any]


def foreseen(ranker: Ranker, uncalibrated: Mapping[str, Values], facts: Facts) -> dict[str, Foreseen]:
    """Hold each head against what happened; of what was shown, each row in the place where it stood."""
    assert ranker.reading is not None, "a ranker that was loaded cannot tell how facts were read"
    found = {}
    for name, predicted in uncalibrated.items():
        taught = lesson(name, facts, ranker.reading)
        before = predicted if taught.rows is None else predicted[taught.rows]
        if taught.place is not None:
            offsets = ranker.places[name]
            before = expit(log_odds(before) + offsets[np.minimum(taught.place, len(offsets) - 1)])
        found[name] = Foreseen(before, ranker.calibrated(name, before), taught.label)
    return found


def _curves(ranker: Ranker, apart: Sequence[Examples], parameters: Parameters) -> dict[str, Curve]:
    """Return each head's curve, by what happened to examples that it did not learn from."""
    each: dict[str, list[Foreseen]] = {}
    for examples in apart:
        rows = slice(0, CALIBRATED_ON // len(apart))
        facts = {name: label[rows] for name, label in examples.labels.items()}
        predicted = ranker.uncalibrated(examples.features[rows], parameters.ranking.threads)
        for name, of in foreseen(ranker, predicted, facts).items():
            each.setdefault(name, []).append(of)
    found = {}
    for name, parts in each.items():
        before = np.concatenate([part.before for part in parts])
        happened = np.concatenate([part.happened for part in parts])
        curve = None if name == SPEND else calibration.fitted(parameters.ranking.calibration, before, happened)
        if curve is not None:
            found[name] = curve
    return found
