"""New shelves judged on perturbed answers of old ones, in a shop whose clicks are drawn by a known rule."""

from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from jobs.evaluation.off_policy import (
    JUDGED_PLACES,
    build,
    is_of_lake,
    judged,
    perturbed_share,
    policy_propensity,
)
from jobs.lake.evaluations import DayRange, OffPolicy
from jobs.lake.lake import Lake
from jobs.statistics.slate_policies import SlatePolicy, item_propensity
from serving.snapshot.contents import ORDERINGS
from serving.snapshot.place_orderings import orderings
from tests.jobs.evaluation.three_shoppers import put

WINDOW = DayRange(date(2026, 2, 1), date(2026, 2, 7))
RANKED = 12


def logged_answers(
    new: list[int], *, answers: int = 120_000, share: float = 0.5, seed: int = 1
) -> tuple[pa.Table, float]:
    """Return places of perturbed answers of the ranking 0, 1, 2, …, and the true clicks an answer of `new`.

    The item that the old ranking has at r is clicked in place p with a probability of 0.3 / ((1 + r) (1 + 0.3 p)).
    """
    draw = np.random.default_rng(seed)
    drawn = orderings(RANKED)
    worth, seen = 0.3 / (1 + np.arange(RANKED)), 1 / (1 + 0.3 * np.arange(JUDGED_PLACES))
    is_perturbed = draw.random(answers) < share
    item = np.where(
        is_perturbed[:, None], np.array(drawn.orders)[draw.integers(0, ORDERINGS, answers)], np.arange(RANKED)
    )[:, :JUDGED_PLACES]
    mixed = share * np.array(drawn.shares) + (1 - share) * np.eye(RANKED)
    place = np.broadcast_to(np.arange(JUDGED_PLACES), item.shape)
    rank_of = np.full(RANKED, -1)
    rank_of[new] = np.arange(len(new))
    new_rank = rank_of[item]
    rows = pa.table(
        {
            "request_id": np.repeat([f"r{n:06}" for n in range(answers)], JUDGED_PLACES),
            "user_id": np.repeat([f"u{n % 4_000}" for n in range(answers)], JUDGED_PLACES),
            "place": place.ravel(),
            "ranked_count": np.full(item.size, RANKED),
            "propensity": mixed[item, place].ravel(),
            "is_followed": (draw.random(item.shape) < worth[item] * seen).ravel(),
            "new_rank": pa.array(new_rank.ravel(), mask=new_rank.ravel() < 0),
        }
    )
    whole = [*new, *(item for item in range(RANKED) if item not in new)]
    ranking = np.array(whole)[np.array(drawn.orders)]  # what the new policy shows when it perturbs
    perturbed = (worth[ranking][:, :JUDGED_PLACES] * seen).sum(axis=1).mean()
    truth = share * perturbed + (1 - share) * (worth[whole][:JUDGED_PLACES] * seen).sum()
    return rows, float(truth)


ALMOST = [1, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
LOWERED = [2, 1, 0, 3, 4, 5, 6, 7, 8, 9, 10, 11]


@pytest.mark.parametrize(("new", "word"), [(list(range(RANKED)), "cannot tell"), (ALMOST, "worse")])
def test_shelves_that_earn_less_are_worse_and_the_same_shelves_cannot_be_told(new: list[int], word: str) -> None:
    rows, truth = logged_answers(new)
    found = judged(rows, WINDOW, "p")
    assert found is not None
    assert found.word == word, found.reasons
    live = logged_answers(list(range(RANKED)), answers=1)[1]
    assert found.low <= truth - live <= found.high
    assert (found.answers, found.users) == (120_000, 4_000)
    assert abs(found.mean_weight - 1) < 0.05


def test_a_ranking_that_brings_items_up_earns_more() -> None:
    rows, _ = logged_answers(LOWERED)
    back, truth = logged_answers(list(range(RANKED)))
    worse, same = judged(rows, WINDOW, "p"), judged(back, WINDOW, "p")
    assert worse is not None and same is not None
    assert worse.would_be < same.would_be == pytest.approx(truth, abs=0.01)


def test_little_perturbation_or_items_that_were_never_shown_cannot_tell() -> None:
    rows, _ = logged_answers(LOWERED, answers=2_000, share=0.01)
    found = judged(rows, WINDOW, "p")
    assert found is not None
    assert found.word == "cannot tell"
    rows, _ = logged_answers([5, 6])
    found = judged(rows, WINDOW, "p")
    assert found is not None
    assert found.word == "cannot tell"
    assert any("the log lacks what it would show" in reason for reason in found.reasons)


def test_answers_with_few_ranked_places_are_left_out() -> None:
    rows, _ = logged_answers(ALMOST, answers=100)
    few = rows.set_column(3, "ranked_count", pa.array(np.full(len(rows), JUDGED_PLACES - 1)))
    assert judged(few, WINDOW, "p") is None
    assert judged(rows.slice(0, 0), WINDOW, "p") is None


def test_the_policy_s_propensity_is_that_of_its_slates_enumerated() -> None:
    share, shown = 0.3, np.array([[4, 0, 1, 2, 3, 5, 6, 7, 8, 9]])
    drawn = np.array(orderings(RANKED).orders)[:, :JUDGED_PLACES]
    slates = np.vstack([np.arange(JUDGED_PLACES)[None], drawn])[None]
    probability = np.array([[1 - share, *np.full(ORDERINGS, share / ORDERINGS)]])
    expected = item_propensity(SlatePolicy(slates, probability), shown)
    found = policy_propensity(shown, np.array([RANKED]), share)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert policy_propensity(np.full((1, 10), -1), np.array([RANKED]), share).sum() == 0
    assert policy_propensity(np.full((1, 10), RANKED), np.array([RANKED]), share).sum() == 0


def test_the_share_of_perturbed_answers_is_read_from_the_log() -> None:
    rows, _ = logged_answers(ALMOST, answers=500, share=0.01)
    logged = rows["propensity"].to_numpy().reshape(-1, JUDGED_PLACES)
    assert perturbed_share(logged, np.full(500, RANKED)) == pytest.approx(0.01)
    assert perturbed_share(np.ones((5, 10)), np.full(5, RANKED)) == 0


def test_the_record_is_read_back(lake: Lake) -> None:
    rows, _ = logged_answers(ALMOST, answers=1_000)
    found = judged(rows, WINDOW, "p")
    assert found is not None
    found = found.rounded()
    found.write(lake, WINDOW.until)
    assert OffPolicy.read(lake, WINDOW.until) == found


@pytest.mark.parametrize(
    ("snapshot", "is_ours"),
    [
        ("2026-01-31-abcdef012345", True),
        ("2026-01-31-abc", False),
        ("v7", False),
        ("2026-13-01-abcdef012345", False),
        ("2026-01-30-abcdef012345", False),
    ],
)
def test_only_answers_of_a_night_that_the_lake_still_has_can_be_used(
    lake: Lake, snapshot: str, is_ours: bool
) -> None:
    put(lake, "marts/top_n", date(2026, 1, 31), pa.table({"user_id": ["u"]}), {"run_id": "abcdef0123456789"})
    assert is_of_lake(lake, snapshot) == is_ours


def test_a_log_of_the_shop_s_own_is_no_log_of_an_endpoint(lake: Lake) -> None:
    day = date(2026, 1, 31)
    put(lake, "staging/exposures", day, pa.table({"user_id": ["u", "v"], "snapshot": ["v7", None]}))
    put(lake, "staging/interactions", day, pa.table({"user_id": pa.array([], pa.string())}))
    assert build(lake, day) is None
    assert OffPolicy.read(lake, day) is None
