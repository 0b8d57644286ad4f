"""A shop's events cut at a day: what is visible on it, what counts as truth, and lists in the split's order."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from jobs.evaluation.time_split import EvaluationError, all_visible, read_events, time_split
from jobs.lake.partitions import MissingPartitionError
from tests.jobs.evaluation.three_shoppers import BOUGHT, DAY, UNTIL, stage


def test_rows_that_land_after_the_day_are_not_visible_on_it(lake):
    late = ("bob", "mug", "purchase", -2, 1)
    stage(lake, [*BOUGHT, late])
    events = read_events(lake, UNTIL)
    split = time_split(events, DAY, UNTIL)

    assert split.user_ids.to_pylist() == ["ann", "bob"]
    assert split.seen.sum(axis=1).ravel().tolist() == [[2.0, 1.0]]
    assert split.truth.sum(axis=1).ravel().tolist() == [[2.0, 1.0]]


def test_rows_of_the_window_that_land_after_it_are_left_out_whatever_was_read(lake):
    stage(lake, [*BOUGHT, ("bob", "mug", "purchase", 12, 15)], UNTIL + timedelta(days=5))
    read_further = time_split(read_events(lake, UNTIL + timedelta(days=5)), DAY, UNTIL)

    assert read_further.truth.sum(axis=1).ravel().tolist() == [[2.0, 1.0]]


def test_an_item_that_was_only_viewed_before_is_new_to_its_buyer(lake):
    stage(lake, [*BOUGHT, ("ann", "jug", "view", -1)])
    split = time_split(read_events(lake, UNTIL), DAY, UNTIL)
    asked_for_any = time_split(read_events(lake, UNTIL), DAY, UNTIL, truth="any")

    assert split.item_ids.take(pa.array(split.seen[0].indices)).to_pylist() == ["mug", "tea"]
    assert asked_for_any.item_ids.take(pa.array(asked_for_any.seen[0].indices)).to_pylist() == ["jug", "mug", "tea"]


def test_a_rating_below_the_middle_of_the_scale_is_no_positive_event(lake):
    rated = [("ann", "mug", -3), ("ann", "pan", -2), ("bob", "mug", -3), ("bob", "pan", 2), ("ann", "tea", 2)]
    values = {("ann", "mug"): 5.0, ("ann", "pan"): 0.5, ("bob", "mug"): 3.0, ("bob", "pan"): 4.0, ("ann", "tea"): 1.0}
    events = [(user, item, "rating", day) for user, item, day in rated]
    stage(lake, [*events, ("bob", "pan", "view", -9), ("bob", "tea", "return", -9)], ratings=values)
    found = read_events(lake, UNTIL)
    ids = (found.user_ids.to_pylist(), found.item_ids.to_pylist())
    pairs = {(ids[0][user], ids[1][item]) for user, item in zip(found.user, found.item, strict=True)}
    assert pairs == {("ann", "mug"), ("bob", "mug"), ("bob", "pan")}


def test_lists_of_another_catalogue_are_aligned_by_id(shop):
    split = time_split(read_events(shop, UNTIL), DAY, UNTIL, catalogue=pa.array(["extra"]))
    assert split.item_ids.to_pylist() == ["extra", "jug", "mug", "pan", "tea"]

    lists, missing = split.align(
        pa.array(["bob", "zoe"]), pa.array(["tea", "extra"]), np.array([[1, 0, -1], [0, 1, -1]])
    )

    assert lists.tolist() == [[-1, -1, -1], [0, 4, -1]]
    assert missing == 1


def test_a_list_with_items_that_the_split_does_not_know_is_refused(shop):
    split = time_split(read_events(shop, UNTIL), DAY, UNTIL)

    with pytest.raises(EvaluationError, match="give time_split its catalogue"):
        split.align(pa.array(["bob"]), pa.array(["unheard of"]), np.array([[0]]))


def test_a_lake_without_events_names_the_job_that_brings_them(lake):
    with pytest.raises(MissingPartitionError, match=r"run topshelf stage ingest --ds 2026-02-14"):
        read_events(lake, UNTIL)


def test_a_split_without_a_window_has_the_seen_items_of_the_users_given_and_no_truth(shop):
    split = all_visible(read_events(shop, UNTIL), DAY, pa.array(["bob", "ann"]))

    seen = [split.item_ids.take(pa.array(row.indices)).to_pylist() for row in split.seen]
    assert seen == [["jug"], ["mug", "tea"]]
    assert split.truth.nnz == 0
