"""Where last actions should bring items in for a known shopper: the next look, and what is bought later that week.

    topshelf land retailrocket-buyers FOLDER/retailrocket_buyers
    topshelf nightly --ds 2015-09-04
    TOPSHELF_DATA=FOLDER TOPSHELF_STORE=lmdb://data/store python -m tests.bench known_sessions

The live snapshot is that of a night of RetailRocket's buyers; the sessions of the seven days after it are predicted,
for the shoppers with a stored shelf. Intervals (95%) are from samples of shoppers.
"""

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from jobs.models.transitions import looked_next
from serving.shelf import filler
from serving.shelf.fill import fill_shelf
from serving.shelf.item_state import LiveItems
from serving.shelf.recent_actions import LastActions
from serving.shelf.request import ShelfRequest
from serving.shelf.snapshot import Snapshot
from serving.snapshot.contents import item_list_blobs
from serving.stores import open_store
from tests.bench.figures import Figure
from tests.bench.session_cases import PLACES, Case, Resampled, held_out, reciprocal_ranks, retailrocket
from tests.bench.session_lists import Lists
from tests.serving.item_lists import WithBlobs

DAYS = 7
PLACES_OF_BROUGHT = {"every third place": (3, 1), "every second place": (2, 0), "first": (1, 0)}


def in_catalogue(case: Case, position: NDArray[np.int64]) -> Case:
    """Return the case with positions of the snapshot's catalogue; an unknown item to be predicted is -1."""
    acts = zip(case.actions.positions, case.actions.kinds, case.actions.ages_s, strict=True)
    known = [(int(position[item]), kind, age_s) for item, kind, age_s in acts if position[item] >= 0]
    actions = LastActions(*([row[column] for row in known] for column in range(3)))  # type: ignore[arg-type]
    return replace(case, actions=actions, target=int(position[case.target]))


def bought_later(rows: pd.DataFrame, case: Case, position: NDArray[np.int64]) -> set[int]:
    """Return what the shopper bought in the week from the moment on that is predicted, and had not acted on."""
    own = rows[(rows["visitor"] == case.visitor) & (rows["kind"] == "purchase") & (rows["at_s"] >= case.at_s)]
    return set(position[own["item"].to_numpy()].tolist()) - set(case.actions.positions) - {-1}


def answers(plain: Snapshot, listed: Snapshot) -> Iterator[tuple[str, Lists]]:
    """The answers to the shopper, by what brings items in and where; each is to be used before the next is taken."""
    live = LiveItems(plain)

    def of(snapshot: Snapshot, *, acts: bool = True) -> Lists:
        def lists(case: Case) -> NDArray[np.int64]:
            request = ShelfRequest(user_id=str(case.visitor), limit=PLACES)
            return np.array(fill_shelf(snapshot, live, request, actions=case.actions if acts else None).positions)

        return lists

    yield "the stored shelf alone", of(plain, acts=False)
    yield "neighbours at every third place", of(plain)
    for where, (every, first) in PLACES_OF_BROUGHT.items():
        with patch.multiple(filler, BROUGHT_EVERY=every, FIRST_BROUGHT=first):
            yield f"looked next {where}", of(listed)


def figures_of(what: str, measured: dict[str, NDArray[np.float64]], cases: list[Case]) -> Iterator[Figure]:
    resampled = Resampled(cases)
    for name, values in measured.items():
        mean, low, high = resampled.mean(values)
        yield Figure(f"{name} ({low:.4f} to {high:.4f})", mean, what)
    third, first = (measured[f"looked next {where}"] for where in ("every third place", "first"))
    mean, low, high = resampled.mean(first - third)
    yield Figure(f"first - every third place ({low:+.4f} to {high:+.4f})", mean, what)


def main() -> list[Figure]:
    """Predict the week after the live snapshot's night."""
    for name in ("TOPSHELF_DATA", "TOPSHELF_STORE"):
        if not os.environ.get(name):
            pytest.skip(f"{name} is not set; the bench's first lines say what it needs")
    data = Path(os.environ["TOPSHELF_DATA"])
    rows = retailrocket(data)
    ids = np.unique(pd.read_csv(data / "retailrocket_buyers" / "events.csv.gz", usecols=["item"])["item"])
    with closing(open_store(os.environ["TOPSHELF_STORE"])) as store:
        stored = store.open(str(store.pointer().live))
        plain = Snapshot(stored)
        first = (date.fromisoformat(plain.manifest.day) - date(1970, 1, 1)).days + 1
        week = held_out("", rows[rows["day"] < first + DAYS], first, DAYS)
        position = np.array([plain.position(str(item)) for item in ids])
        columns = [week.train[name].to_numpy() for name in ("session", "item", "at_s")]
        lists = looked_next(columns[0], position[columns[1]], columns[2], len(plain))
        listed = Snapshot(WithBlobs(stored, dict(item_list_blobs("looked_next", *lists, len(plain)))))
        known = {visitor for visitor in {case.visitor for case in week.cases} if plain.shelf(str(visitor))}
        cases = [in_catalogue(case, position) for case in week.cases if case.visitor in known]
        bought = [bought_later(rows[rows["day"] < first + DAYS], case, position) for case in cases]
        buying = [(case, items) for case, items in zip(cases, bought, strict=True) if items]
        ranks, recalls = {}, {}
        for name, shown in answers(plain, listed):
            ranks[name] = reciprocal_ranks(cases, shown)
            found = [len(items.intersection(shown(case).tolist())) / len(items) for case, items in buying]
            recalls[name] = np.array(found)
    hits = {name: (reciprocal > 0).astype(np.float64) for name, reciprocal in ranks.items()}
    buyers = [case for case, _ in buying]
    return [
        Figure(f"looks to predict, of {len(known)} shoppers with a shelf", len(cases), "items"),
        *figures_of("hit rate@20, next look", hits, cases),
        *figures_of("MRR@20, next look", ranks, cases),
        Figure(f"moments before a purchase, of {len({case.visitor for case in buyers})} shoppers", len(buying), ""),
        *figures_of("recall@20, bought later that week", recalls, buyers),
    ]
