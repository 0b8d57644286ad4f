"""Segments of users and items, and what lists are worth in each."""

import numpy as np

from jobs.evaluation.segments import ITEM_SEGMENTS, by_segment, item_segments, user_segments
from jobs.evaluation.time_split import read_events, time_split
from tests.jobs.evaluation.three_shoppers import DAY, UNTIL, stage


def test_users_are_new_light_or_heavy_by_the_days_on_which_they_bought(lake):
    once = [("new", "mug", "purchase", -5), ("new", "tea", "purchase", -5), ("new", "mug", "view", -1)]
    light = [("light", "mug", "purchase", -day) for day in range(1, 6)]
    heavy = [("heavy", "mug", "purchase", -day) for day in range(1, 7)]
    back = [(user, "mug", "purchase", 3) for user in ("new", "light", "heavy")]
    stage(lake, [*once, *light, *heavy, *back])
    split = time_split(read_events(lake, UNTIL), DAY, UNTIL)

    assert split.user_ids.to_pylist() == ["heavy", "light", "new"]
    assert user_segments(split).tolist() == [2, 1, 0]


def test_the_head_holds_half_of_all_pairs_and_the_tail_the_last_fifth():
    audience = np.array([1, 50, 20, 0, 10, 10, 9])

    assert [ITEM_SEGMENTS[code] for code in item_segments(audience)] == [
        *("tail", "head", "middle", "tail", "middle", "tail", "tail")
    ]


def test_a_segment_s_figures_are_those_of_its_users_and_its_truth_alone(shop):
    split = time_split(read_events(shop, UNTIL), DAY, UNTIL)
    jug, mug = 0, 1
    lists = np.array([[jug, mug], [mug, -1]])  # Ann chooses jug and mug, Bob the pan

    segments = by_segment(split, lists, {"reversed": lists[::-1]})

    assert segments.users["new"].n_users == {"all": 2, "new": 2}
    assert segments.users["new"].metrics["all"]["recall@20"] == 0.5
    assert segments.users["new"].baselines["reversed"]["all"]["recall@20"] == 0.25  # of Ann's truth the mug
    assert set(segments.users) == {"new"}
    assert split.item_ids.to_pylist() == ["jug", "mug", "pan", "tea"]
    assert split.audience.tolist() == [1, 2, 1, 1]
    # Mug and jug hold three of five pairs; the pan begins at three fifths, the tea at four.
    assert segments.items["head"].metrics == {
        **dict.fromkeys(("recall@20", "ndcg@20", "hit_rate@20"), 1.0),
        "share_of_places@20": 1.0,
    }
    assert segments.items["head"].baselines["reversed"]["recall@20"] == 0.5
    assert (segments.items["middle"].n_users, segments.items["middle"].metrics["recall@20"]) == (1, 0.0)
    assert (segments.items["tail"].n_items, segments.items["tail"].n_users) == (1, 0)
