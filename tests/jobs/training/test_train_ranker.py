"""The ranker's heads: what they learn from, what a probability means after sampling, and what an item is worth."""

from dataclasses import replace
from datetime import date

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from jobs.candidates.fusion import RRF_K
from jobs.config.parameters import Parameters
from jobs.lake.evaluations import Holdout
from jobs.lake.lake import Lake
from jobs.lake.tables import RANKER
from jobs.ranking.heads import MIN_POSITIVES
from jobs.ranking.pair_features import FEATURES
from jobs.ranking.ranker import ORDER, load_ranker, rank_fusion
from jobs.training import sampling
from jobs.training.examples import Examples, Window
from jobs.training.sampling import sample_rows, sampled_share
from jobs.training.train_heads import train
from jobs.training.train_ranker import build, model_texts, ranker_metrics, ranker_parameters

SMALL = Parameters().with_values(
    {
        "ranking.trees": 8,
        "ranking.leaves": 7,
        "ranking.feature_fraction": 1.0,
        "ranking.threads": 1,
        "ranking.head_weight.conversion": 0.0,
    }
)
TELLING = FEATURES.index("ease")


def examples(
    n_users: int = 200, a_user: int = 25, rate: float = 0.1, seed: int = 3, telling: float = 1.0
) -> Examples:
    """Candidates of which a share of `rate` is bought, rather those with a large `ease` score, as `telling` says."""
    draw = np.random.default_rng(seed)
    n = n_users * a_user
    features = np.zeros((n, len(FEATURES)), np.float32)
    features[:, TELLING] = draw.normal(size=n)
    wanted = telling * features[:, TELLING] + draw.normal(size=n)
    bought = (wanted > np.quantile(wanted, 1 - rate)).astype(np.int32)
    looked = bought | (draw.random(n) < rate)
    return Examples(
        user=np.repeat(np.arange(n_users), a_user),
        user_id=pa.array([f"user-{number}" for number in range(n_users)]),
        item=np.tile(np.arange(a_user, dtype=np.int32), n_users),
        sources=np.ones(n, np.int32),
        features=features,
        labels={"purchase": bought, "interaction": looked.astype(np.int32)},
        draw=np.random.default_rng([seed, n]).random(n).astype(np.float32),
        is_whole=np.ones(n_users, np.bool_),
    )


def with_views(given: Examples, seed: int = 8) -> Examples:
    """The same examples, of which all that something was done with and some others were looked at."""
    looked = (given.labels["interaction"] > 0) | (np.random.default_rng(seed).random(len(given.user)) < 0.1)
    nothing = np.zeros(len(given.user), np.int32)
    viewed = looked.astype(np.int32) if given.labels["interaction"].any() else nothing
    return replace(given, labels=given.labels | {"view_count": viewed, "place": nothing, "followed": nothing})


@pytest.mark.parametrize("share", [0.05, 0.15, 0.5, 1.0])
def test_probabilities_learned_from_a_share_of_the_negatives_give_back_the_base_rate(share: float) -> None:
    given = examples(n_users=1600, rate=0.04)
    chosen = SMALL.with_values(
        {
            "ranking.trees": 120,
            "ranking.learning_rate": 0.05,
            "training.negative_share": share,
            "ranking.order_tilt": 0.0,
            "ranking.head_weight.interaction": 0.0,
        }
    )
    value = train([given], chosen).value(given.features)
    bought = given.labels["purchase"]
    assert value.mean() == pytest.approx(bought.mean(), rel=0.06)
    # Not only over all: where purchases are likely, and where they are not.
    likely = given.features[:, TELLING] > 1
    assert value[likely].mean() == pytest.approx(bought[likely].mean(), rel=0.08)
    assert value[~likely].mean() == pytest.approx(bought[~likely].mean(), rel=0.12)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_heads_learn_from_a_few_examples_for_each_positive_one_and_give_back_the_base_rate(
    monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    given = examples(n_users=1600, rate=0.04)
    chosen = SMALL.with_values({"training.negative_share": share, "ranking.order_tilt": 0.0})
    assert sampled_share([given], chosen) == share  # so few are all kept
    monkeypatch.setattr(sampling, "FEWEST_SAMPLED", 1)
    few = sampled_share([given], chosen)
    positives = int((given.labels["interaction"] > 0).sum())
    sampled = int((given.draw < few).sum())
    assert sampled == pytest.approx(sampling.SAMPLED_A_POSITIVE * positives, rel=0.05)
    ranker = train([given], chosen)
    assert ranker.negative_share == few < share
    assert ranker.probabilities(given.features)["purchase"].mean() == pytest.approx(
        given.labels["purchase"].mean(), rel=0.06
    )


@pytest.mark.parametrize("share", [0.0, 0.15, 1.0])
def test_sampled_rows_hold_every_positive_and_the_share_of_the_others(share: float) -> None:
    windows = [examples(seed=1), examples(n_users=90, seed=2)]
    learned = sample_rows(windows, share)
    for name in ("purchase", "interaction"):
        assert learned.labels[name].sum() == sum(window.labels[name].sum() for window in windows)
    others = sum((window.labels["interaction"] == 0).sum() for window in windows)
    kept = (learned.labels["interaction"] == 0).sum()
    assert kept == pytest.approx(share * others, abs=4 * np.sqrt(others * share * (1 - share)))
    # The draw does not look at labels: of the positives the same share belongs to it.
    positive = learned.labels["interaction"] > 0
    deviation = np.sqrt(positive.sum() * share * (1 - share))
    assert learned.in_sample[positive].sum() == pytest.approx(share * positive.sum(), abs=4 * deviation)
    assert learned.in_sample[~positive].all()


def test_sampled_rows_keep_their_columns_together_and_the_shoppers_of_two_windows_apart() -> None:
    windows = [examples(seed=1), examples(n_users=90, seed=2)]
    learned = sample_rows(windows, 1.0)
    np.testing.assert_array_equal(learned.features, np.concatenate([window.features for window in windows]))
    np.testing.assert_array_equal(learned.user, np.concatenate([windows[0].user, windows[1].user + 200]))
    part = sample_rows(windows, 0.2)
    assert (np.diff(part.user) >= 0).all()
    rows = {row.tobytes() for row in learned.features[learned.labels["purchase"] > 0]}
    assert {row.tobytes() for row in part.features[part.labels["purchase"] > 0]} == rows


def test_a_head_needs_enough_positives() -> None:
    given = examples()
    few = np.zeros_like(given.labels["purchase"])
    few[: MIN_POSITIVES - 1] = 1
    ranker = train([replace(given, labels=given.labels | {"purchase": few})], SMALL)
    assert list(ranker.heads) == ["interaction"]
    few[MIN_POSITIVES - 1] = 1
    assert list(train([replace(given, labels=given.labels | {"purchase": few})], SMALL).heads) == list(
        SMALL.ranking.head_weight.positive()
    )


def test_a_shop_with_purchases_alone_has_one_probability_and_not_the_same_twice() -> None:
    given = examples()
    ranker = train([replace(given, labels=dict.fromkeys(given.labels, given.labels["purchase"]))], SMALL)
    assert list(ranker.heads) == ["purchase"]
    assert list(ranker.boosters) == ["purchase", ORDER]


def test_without_labels_there_is_no_head_and_value_is_the_fusion_of_ranks() -> None:
    given = examples()
    none = dict.fromkeys(given.labels, np.zeros_like(given.labels["purchase"]))
    ranker = train([replace(given, labels=none)], SMALL)
    assert ranker.boosters == {}
    np.testing.assert_array_equal(ranker.value(given.features), rank_fusion(given.features))


def test_the_fusion_of_ranks_sums_reciprocal_ranks_and_a_place_for_each_vote() -> None:
    features = np.zeros((3, len(FEATURES)), np.float32)
    columns = ("votes", "als_rank", "item_item_rank", "ease_rank")
    features[:, [FEATURES.index(name) for name in columns]] = [[1, 0, 9, 4], [3, 0, 9, 4], [1, 0, 9, 5]]
    features[:, [FEATURES.index(name) for name in ("als", "item_item", "ease")]] = 0.5  # nothing follows
    value = rank_fusion(features)
    assert value[0] == pytest.approx(1 / RRF_K + 1 / (RRF_K + 1) + 1 / (RRF_K + 10) + 1 / (RRF_K + 5))
    assert value[1] - value[0] == pytest.approx(2 / RRF_K)
    assert value[2] < value[0] < value[1]


def test_value_is_the_weighted_sum_of_the_corrected_probabilities_tilted_by_the_order_head() -> None:
    given = examples()
    ranker = train(
        [given],
        SMALL.with_values({"training.negative_share": 0.3, "ranking.order_tilt": 0.7, "ranking.calibration": "none"}),
    )
    raw = {name: booster.predict(given.features) for name, booster in ranker.boosters.items()}
    p = {name: raw[name] / (raw[name] + (1 - raw[name]) / 0.3) for name in ranker.heads}
    wanted = (1.0 * p["purchase"] + 0.1 * p["interaction"]) * np.exp(0.7 * raw[ORDER])
    np.testing.assert_allclose(ranker.value(given.features), wanted, rtol=1e-12)
    assert not np.allclose(wanted, p["purchase"] + 0.1 * p["interaction"])


def test_without_a_tilt_no_order_is_learned() -> None:
    assert ORDER not in train([examples()], SMALL.with_values({"ranking.order_tilt": 0.0})).boosters


def test_heads_put_what_is_bought_before_what_is_not() -> None:
    given = examples(telling=3.0)
    ranker = train([given], SMALL)
    fresh = examples(telling=3.0, seed=99)
    value = {"value": ranker.value(fresh.features)}
    value |= {name: booster.predict(fresh.features) for name, booster in ranker.boosters.items()}
    for name, of in value.items():
        bought = fresh.labels["purchase"] > 0
        assert (of[bought][:, None] > of[~bought][None, :]).mean() > 0.85, name


def test_the_same_examples_give_the_same_models_and_another_seed_others() -> None:
    one, other = train([examples()], SMALL), train([examples()], SMALL)
    assert model_texts(one) == model_texts(other)
    assert model_texts(train([examples()], SMALL.with_values({"seed": 1}))) != model_texts(one)


def test_a_row_is_worth_the_same_alone_and_among_others() -> None:
    given = examples()
    ranker = train([given], SMALL)
    whole = ranker.value(given.features)
    np.testing.assert_array_equal(ranker.value(given.features[1234:1237]), whole[1234:1237])
    np.testing.assert_array_equal(ranker.value(given.features, threads=2), whole)


@pytest.mark.parametrize("with_labels", [True, False])
def test_a_ranker_read_back_from_its_text_is_worth_the_same(
    lake: Lake, with_labels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "FEWEST_SAMPLED", 1)  # so that fewer are sampled than `negative_share` says
    monkeypatch.setattr(sampling, "SAMPLED_A_POSITIVE", 0.5)
    given, ds = examples(n_users=1_000, rate=0.3), date(2026, 1, 31)
    none = dict.fromkeys(given.labels, np.zeros_like(given.labels["purchase"]))
    weights = {"interaction": 0.4, "purchase": 2.0, "click_to_purchase": 3.0}
    chosen = SMALL.with_values(
        {"training.negative_share": 0.3, "ranking.order_tilt": 0.7, "ranking.head_weight": weights}
    )
    taught = with_views(given if with_labels else replace(given, labels=none))
    ranker = train([taught], chosen)
    assert bool(ranker.curves) == with_labels
    texts = {f"{name}.txt": model for name, model in model_texts(ranker).items()}
    window = Window(lake, ds)
    metrics = msgspec.to_builtins(ranker_metrics(ranker, [taught], None, [window], chosen))
    lake.write_artifact(RANKER, ds, {}, texts=texts, inputs={}, parameters=ranker_parameters(chosen), metrics=metrics)
    back = load_ranker(lake, ds)
    heads = {"interaction", "purchase", "click", "purchase_given_click"}
    assert set(back.boosters) == (heads | {ORDER} if with_labels else set())
    assert (back.coarse is not None) == with_labels
    np.testing.assert_allclose(back.value(given.features), ranker.value(given.features), rtol=1e-12)


def test_without_a_window_the_ranker_has_no_head_and_the_night_no_evaluation_not_even_an_earlier_one(
    lake: Lake,
) -> None:
    ds = date(2026, 1, 31)
    lake.put_json(Holdout.path(ds), {"of": "an earlier run of the same day"})
    built = build(lake, ds, [], SMALL)
    assert lake.get_json(Holdout.path(ds)) is None
    assert built.metrics["orders_by"] == "rank fusion: too few pairs of shopper and product to learn from"
    features = np.ones((2, len(FEATURES)), np.float32)
    np.testing.assert_array_equal(load_ranker(lake, ds).value(features), rank_fusion(features))
    assert build(lake, ds, [], SMALL) == built
