"""Position bias: what stands first is clicked more, and a head must not take that for taste."""

from dataclasses import replace

import numpy as np
import pytest

from jobs.config.parameters import Parameters
from jobs.ranking.heads import LabelDefinition
from jobs.ranking.pair_features import FEATURES
from jobs.training.examples import Examples
from jobs.training.fit_heads import place_effects_of
from jobs.training.sampling import examples_of_users
from jobs.training.train_heads import train
from tests.jobs.training.test_train_ranker import examples

PLACES = 10
CHOSEN = Parameters().with_values(
    {
        "ranking.trees": 40,
        "ranking.leaves": 7,
        "ranking.feature_fraction": 1.0,
        "ranking.threads": 1,
        "ranking.order_tilt": 0.0,
        "ranking.calibration": "none",
        "ranking.head_weight": {"purchase": 0.0, "interaction": 0.0, "click": 1.0},
    }
)
PLACED_BY, WANTED_BY = FEATURES.index("item_user_count_30d"), FEATURES.index("ease")


def shelves(n_users: int = 4_000, seed: int = 5) -> Examples:
    """Shelves of PLACES that an old policy filled by one feature, mostly; clicks want another one, and to be seen."""
    draw = np.random.default_rng(seed)
    n = n_users * PLACES
    features = np.zeros((n, len(FEATURES)), np.float32)
    features[:, WANTED_BY] = draw.normal(size=n)
    features[:, PLACED_BY] = draw.normal(size=n)
    by_policy = (features[:, PLACED_BY] + 0.7 * draw.normal(size=n)).reshape(n_users, PLACES)
    place = np.argsort(np.argsort(-by_policy, axis=1), axis=1).ravel()
    clicked = draw.random(n) < seen(place) * wanted(features)
    bare = examples(n_users, PLACES)
    facts = {"place": (place + 1).astype(np.int32), "followed": clicked.astype(np.int32)}
    none = np.zeros(n, np.int32)
    labels = {"purchase": none, "interaction": none, "view_count": facts["followed"], **facts}
    return replace(bare, features=features, labels=labels)


def seen(place: np.ndarray) -> np.ndarray:
    return 1 / (1 + 0.5 * place)


def wanted(features: np.ndarray) -> np.ndarray:
    return 0.3 / (1 + np.exp(-1.5 * features[:, WANTED_BY].astype(np.float64)))


def order_error(value: np.ndarray, features: np.ndarray) -> float:
    """Share of pairs that truly differ in worth and that a score puts the other way round."""
    truth = wanted(features)
    first, second = np.arange(0, len(truth) - 1, 2), np.arange(1, len(truth), 2)
    apart = np.abs(truth[first] - truth[second]) > 0.02
    return float(((truth[first] > truth[second]) != (value[first] > value[second]))[apart].mean())


def test_a_head_that_knows_of_places_is_not_misled_by_what_the_old_shelf_put_first() -> None:
    given, fresh = shelves(), shelves(seed=6)
    ours = train([given], CHOSEN).probabilities(fresh.features)["click"]
    nowhere = given.labels | {"place": (given.labels["place"] > 0).astype(np.int32)}  # all in the first place
    naive = train([replace(given, labels=nowhere)], CHOSEN).probabilities(fresh.features)["click"]

    def pull(value: np.ndarray) -> float:
        """How much what the policy went by moves a prediction, where all that is wanted is the same."""
        alike = np.abs(fresh.features[:, WANTED_BY]) < 0.3
        high, low = (value[alike & (sign * fresh.features[:, PLACED_BY] > 1)].mean() for sign in (1, -1))
        return float(np.log(high / low))

    assert pull(naive) > 0.35  # misled: it takes the first places' clicks for taste
    assert abs(pull(ours)) < 0.3 * pull(naive)
    assert order_error(ours, fresh.features) < 0.75 * order_error(naive, fresh.features)


def test_what_places_add_is_what_attention_takes_away() -> None:
    given = shelves()
    label, place = given.labels["followed"], given.labels["place"].astype(np.int64) - 1
    found = np.exp(place_effects_of(given.features, label, place, given.user, CHOSEN))
    assert found[0] == 1
    np.testing.assert_allclose(found, seen(np.arange(PLACES)), rtol=0.3)


def test_a_prediction_is_that_of_the_first_place() -> None:
    given = shelves()
    p = train([given], CHOSEN).probabilities(given.features)["click"]
    first = given.labels["place"] == 1
    assert p[first].mean() == pytest.approx(given.labels["followed"][first].mean(), rel=0.1)
    assert p[~first].mean() > 1.5 * given.labels["followed"][~first].mean()


def test_with_few_clicks_on_shelves_a_head_learns_of_all_candidates() -> None:
    given = shelves(60)
    assert LabelDefinition.of_shop(given.labels, CHOSEN).clicks_from_exposures is False
    some = examples_of_users(given, np.arange(60) < 30)
    assert not train([some], CHOSEN).place_effects
