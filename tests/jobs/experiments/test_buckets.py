"""Who is in which arm: shares are exact, steps move only whom they must, layers are independent."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from jobs.config.experiments import Experiments
from jobs.experiments.buckets import layers_on
from serving.snapshot.experiments import BUCKETS, UNASSIGNED, bucket_of, choice_names, layer_key
from serving.snapshot.experiments import Experiments as Assigner
from tests.jobs.experiments.declared import VARIED_HEAD, declared

CLICKS = {"ranking.head_weight.click": 0.001}
MARCH = [date(2026, 3, day) for day in range(1, 32)]


ONE = (
    VARIED_HEAD
    + """    shares:
      2026-03-01: {control: 0.10, varied: 0.10}
      2026-03-08: {control: 0.20, varied: 0.20}
      2026-03-15: {control: 0.05, varied: 0.20}
      2026-03-22: {control: 0.20, varied: 0.20}
"""
)
TWO = (
    ONE
    + """
  other-weights:
    layer: ranking
    from: 2026-03-10
    to: 2026-03-20
    arms:
      control: {}
      clicks: {parameters: {ranking.head_weight.click: 0.2}}
    shares: {control: 0.3, clicks: 0.3}
  more-new:
    layer: exploring
    unit: request
    from: 2026-03-01
    to: 2026-03-31
    arms:
      control: {}
      more: {endpoint: {explore_share: 0.2}}
    shares: {control: 0.5, more: 0.5}
"""
)


def arms_by_user(experiments: Experiments, day: date, users: list[str], layer: str = "ranking") -> np.ndarray:
    """The code of each user's choice in a layer, 0 for none."""
    layers, buckets = layers_on(experiments, day)
    row = [one.name for one in layers].index(layer)
    assigner = Assigner([layers[row]], buckets[row : row + 1])
    code = {name: number for number, name in enumerate(choice_names(layers[row]), 1)}
    found = (next(iter(assigner.assigned(user, b"").arms.items()), None) for user in users)
    return np.array([code[name] if name else 0 for name in found])


def owners(experiments: Experiments, day: date) -> np.ndarray:
    layers, buckets = layers_on(experiments, day)
    return np.asarray(buckets[[one.name for one in layers].index("ranking")])


def test_shares_are_exact_to_a_bucket(tmp_path: Path) -> None:
    codes = owners(declared(tmp_path, ONE), MARCH[0])
    assert [(codes == code).sum() for code in range(3)] == [8_000, 1_000, 1_000]


def test_a_step_moves_only_the_buckets_that_its_shares_ask_for(tmp_path: Path) -> None:
    experiments = declared(tmp_path, ONE)
    first, second, third, last = (owners(experiments, MARCH[day]) for day in (0, 7, 14, 21))
    assert (first != second).sum() == 2_000
    assert (first[first > 0] == second[first > 0]).all(), "nobody who had an arm lost it"
    assert (second != third).sum() == 1_500
    assert (last == second).all(), "an arm that grows again takes its own former units"


def test_no_bucket_has_two_arms_of_an_experiment_over_its_days(tmp_path: Path) -> None:
    experiments = declared(tmp_path, ONE)
    days = np.array([owners(experiments, day) for day in MARCH[:28]])
    assert all(len(set(bucket[bucket > 0].tolist())) <= 1 for bucket in days.T)


def test_experiments_of_a_layer_share_no_unit_and_leave_each_other_alone(tmp_path: Path) -> None:
    alone, both = declared(tmp_path, ONE), declared(tmp_path, TWO, CLICKS)
    layers, buckets = layers_on(both, MARCH[11])
    row = [layer.name for layer in layers].index("ranking")
    by_code = dict(enumerate(choice_names(layers[row]), 1))
    shares = {name: int((buckets[row] == code).sum()) for code, name in by_code.items()}
    assert shares == {
        ("other-weights", "control"): 3_000,
        ("other-weights", "clicks"): 3_000,
        ("varied-head", "control"): 2_000,
        ("varied-head", "varied"): 2_000,
    }
    of_head = [code for code, name in by_code.items() if name[0] == "varied-head"]
    before = owners(alone, MARCH[11])
    assert np.array_equal(np.isin(buckets[row], of_head), before > 0), "the other took free buckets alone"


def test_arms_of_two_layers_are_independent_of_each_other(tmp_path: Path) -> None:
    second_one = ONE.replace("\nexperiments:", "").replace("varied-head", "second-head")
    text = ONE + second_one.replace("layer: ranking", "layer: ranking2").replace(
        "blend.mmr_lambda", "new_items.boost"
    )
    experiments = declared(tmp_path, text)
    users = [f"user-{number}" for number in range(20_000)]
    first = arms_by_user(experiments, MARCH[8], users) > 0
    second = arms_by_user(experiments, MARCH[8], users, "ranking2") > 0
    assert first.mean() == pytest.approx(0.4, abs=0.012)
    assert second[first].mean() == pytest.approx(second[~first].mean(), abs=0.02)


def test_of_a_million_ids_a_step_moves_only_those_that_it_must(tmp_path: Path) -> None:
    experiments = declared(tmp_path, ONE)
    key = layer_key("ranking")
    bucket = np.array([bucket_of(key, b"shopper-%d" % number) for number in range(1_000_000)])
    first, second = (owners(experiments, day)[bucket] for day in (MARCH[0], MARCH[7]))
    assert (first != second).mean() == pytest.approx(0.2, abs=0.002)
    assert not ((first > 0) & (first != second)).any()
    assert first[first > 0].mean() == pytest.approx(1.5, abs=0.005), "both arms are as large"


def test_outside_its_days_an_experiment_has_nobody(tmp_path: Path) -> None:
    experiments = declared(tmp_path, ONE)
    for day in (date(2026, 2, 28), date(2026, 3, 29)):
        layers, buckets = layers_on(experiments, day)
        assert layers == [] and buckets.shape == (0, BUCKETS)


def test_a_request_without_a_shopper_is_in_no_experiment_of_shoppers(tmp_path: Path) -> None:
    layers, buckets = layers_on(declared(tmp_path, ONE.replace("0.20", "0.50")), MARCH[8])
    assigner = Assigner(layers, buckets)
    assert assigner.assigned(None, b"0123456789abcdef") == UNASSIGNED
    assert assigner.assigned("anna", b"").arms.keys() == {"varied-head"}
