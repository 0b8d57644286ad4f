"""What a session looks at next: the answers to a visitor without an id, beside session-kNN and simpler lists.

    TOPSHELF_DATA=FOLDER python -m tests.bench sessions

Given a session so far, the next item that it had not looked at is to be among 20. Methods and constants are chosen on
earlier days (the rows "choice"), the last days are held out from that. RetailRocket's visitors bought something, and
the extract has each visitor's view of an item once. Intervals (95%) are from samples of visitors. Lists that are too
short are filled with popular items.
"""

import os
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from numpy.typing import NDArray

from jobs.models import transitions
from serving.shelf import session_items
from serving.shelf.recent_actions import MAX_ACTIONS
from tests.bench.figures import Figure
from tests.bench.session_cases import Resampled, Split, held_out, reciprocal_ranks, retailrocket, sports, yoochoose
from tests.bench.session_lists import (
    Lists,
    endpoint,
    faded_lists,
    item_knn,
    next_lists,
    popular_items,
    rules,
    v_sknn,
)

CHOICE_WEEKS = 4
SPORTS_EVERY = 7  # one shopper of so many is predicted
OURS, V_SKNN, ITEM_KNN = "looked next", "V-SkNN", "item-kNN"
ANSWER = "answer: looked next first"
ANSWER_BEFORE = "answer: neighbours at every third place"
LOOKS, LOOK_ITEMS = 1_000_000, 100_000  # of the drawn sessions that the lists' cost is measured on
Ranks = dict[str, NDArray[np.float64]]


def baselines(split: Split) -> Iterator[tuple[str, Lists]]:
    yield "popular", popular_items(split)
    yield ITEM_KNN, item_knn(split)
    yield V_SKNN, v_sknn(split)
    yield f"{V_SKNN} with idf", v_sknn(split, idf=True)
    yield OURS, rules(split, next_lists(split))


def tried(split: Split) -> Iterator[tuple[str, Lists]]:
    """The rules with one thing changed at a time."""
    lists = next_lists(split)
    for name, places in (("MOST_STEPS", (1, 3, 5, 20)), ("BACKWARD", (0.0, 0.4, 0.6, 1.0))):
        for value in places:
            with patch.object(transitions, name, value):
                yield f"{name} {value:g}", rules(split, next_lists(split))
    for value in (10, 20, 50, 100):
        yield f"MOST_NEXT {value}", rules(split, next_lists(split, value))
    for name, values in (("SEEDS", (1, 3, 20)), ("DECAY", (0.3, 0.7, 0.85, 1.0))):
        for value in values:
            with patch.object(session_items, name, value):
                yield f"{name} {value:g}", rules(split, lists)
    for half_life in (7.0, 30.0, 60.0):
        yield f"half-life of {half_life:g} days", rules(split, faded_lists(split, half_life, 0.0))
    for power in (0.15, 0.3, 0.5):
        yield f"over popularity ** {power:g}", rules(split, faded_lists(split, np.inf, power))


def of_endpoint(split: Split) -> Iterator[tuple[str, Lists]]:
    with endpoint(split) as answers:
        yield ANSWER_BEFORE, answers(False, True)
        yield "answer: looked next at every third place", answers(True, True)
        yield "answer: neighbours first", answers(False, False)
        yield ANSWER, answers(True, False)


def measured(splits: Sequence[Split], *kinds: Callable[[Split], Iterator[tuple[str, Lists]]]) -> Ranks:
    """Return the reciprocal ranks of all cases of the splits, by the name of the list."""
    ranks: dict[str, list[NDArray[np.float64]]] = {}
    for split in splits:
        for kind in kinds:
            for name, lists in kind(split):
                ranks.setdefault(name, []).append(reciprocal_ranks(split.cases, lists))
    return {name: np.concatenate(parts) for name, parts in ranks.items()}


def figures_of(title: str, splits: Sequence[Split], ranks: Ranks) -> Iterator[Figure]:
    cases = [case for split in splits for case in split.cases]
    resampled = Resampled(cases)
    visitors = len({case.visitor for case in cases})
    yield Figure(f"{title}: items to predict, of {visitors:,} visitors", len(cases), "items")
    for name, reciprocal in ranks.items():
        for what, values in (("hit rate@20", reciprocal > 0), ("MRR@20", reciprocal)):
            mean, low, high = resampled.mean(values.astype(np.float64))
            yield Figure(f"{title}: {name} ({low:.4f} to {high:.4f})", mean, what)


def margins(title: str, splits: Sequence[Split], ranks: Ranks, one: str, other: str) -> Iterator[Figure]:
    resampled = Resampled([case for split in splits for case in split.cases])
    for what, change in (("hit rate@20", lambda r: (r > 0).astype(np.float64)), ("MRR@20", lambda r: r)):
        mean, low, high = resampled.mean(change(ranks[one]) - change(ranks[other]))
        yield Figure(f"{title}: {one} - {other} ({low:+.4f} to {high:+.4f})", mean, what, wanted="above 0")


def report(
    title: str, splits: Sequence[Split], *kinds: Callable[[Split], Iterator[tuple[str, Lists]]]
) -> list[Figure]:
    ranks = measured(splits, *kinds)
    figures = list(figures_of(title, splits, ranks))
    pairs = [(OURS, V_SKNN), (OURS, ITEM_KNN), (ANSWER, ANSWER_BEFORE)]
    for one, other in pairs:
        if {one, other} <= ranks.keys():
            figures += margins(title, splits, ranks, one, other)
    return figures


def processor_s(run: Callable[[], object]) -> float:
    """Return the least processor time of a few runs in seconds."""
    taken = []
    for _ in range(5):
        began = time.process_time()
        run()
        taken.append(time.process_time() - began)
    return min(taken)


def cost(split: Split) -> Iterator[Figure]:
    """What an answer with last actions takes, and what the lists of many drawn sessions do."""
    many = [case for case in split.cases if len(case.actions.positions) == MAX_ACTIONS] or split.cases
    with endpoint(split) as answers:
        before, now = (
            processor_s(lambda each=each: [each(case) for case in many])  # type: ignore[misc]
            for each in (answers(False, False), answers(True, False))
        )
    what = f"an answer of 20 items after {len(many[-1].actions.positions)} actions"
    bare = "the same where the snapshot has no such lists, so that neighbours come first"
    yield Figure(what, 1e6 * now / len(many), "µs of processor", 1e6 * before / len(many), bare)
    rng = np.random.default_rng(13)
    session, at = rng.integers(0, LOOKS // 5, LOOKS), rng.random(LOOKS)
    item = (LOOK_ITEMS * rng.random(LOOKS) ** 3).astype(np.int32)  # a tenth of the items has nearly half of the looks
    took = processor_s(lambda: transitions.looked_next(session, item, at, LOOK_ITEMS))
    tracemalloc.start()
    transitions.looked_next(session, item, at, LOOK_ITEMS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    yield Figure(
        f"looked_next of {LOOKS:,} looks at {LOOK_ITEMS:,} items in sessions of about 5", took, "s of processor"
    )
    yield Figure("its highest memory beside the looks", peak / (1 << 20), "MiB")


def main() -> list[Figure]:
    """Predict the sessions of every data set that is there."""
    if not os.environ.get("TOPSHELF_DATA"):
        pytest.skip("TOPSHELF_DATA does not name the folder of published shop data")
    data = Path(os.environ["TOPSHELF_DATA"])
    rows = retailrocket(data)
    last = int(rows["day"].max())
    weeks = [
        held_out("RetailRocket", rows[rows["day"] < last - 6 - 7 * (week - 1)], last - 6 - 7 * week, 7)
        for week in range(CHOICE_WEEKS, 0, -1)
    ]
    figures = report("RetailRocket, choice", weeks, baselines, tried, of_endpoint)
    figures += report("RetailRocket, last week", [held_out("", rows, last - 6, 7)], baselines, of_endpoint)
    figures += report("RetailRocket, last day", [held_out("", rows, last, 1)], baselines, of_endpoint)
    if (data / "yoochoose_clicks").is_dir():
        clicks, day = yoochoose(data)
        chosen = [held_out("YooChoose", clicks[clicks["day"] < day], day - 1, 1)]
        figures += report("YooChoose, choice", chosen, baselines, tried, of_endpoint)
        figures += report("YooChoose, last day", [held_out("", clicks, day, 1)], baselines, of_endpoint)
    figures += report("Amazon Sports, last items", [sports(data, SPORTS_EVERY)], baselines, of_endpoint)
    return [*figures, *cost(held_out("", rows, last - 6, 7))]
