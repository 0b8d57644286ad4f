"""Whether explored items appear as often as their logged propensities say, over 100,000 requests.

    python -m tests.bench propensity

Requests of different users and filters over a shop whose stock changes as they come; keys are counted up from a fixed
seed. For each set of eligible items and each slot, a chi-square test compares how often each item was shown with the
propensity logged for it; items expected fewer than five times are taken together.
"""

import hashlib
import tempfile
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from jobs.publishing.publish import publish
from serving.shelf.explore import exploration_slots
from serving.shelf.fill import fill_shelf
from serving.shelf.fill_levels import LEVELS
from serving.shelf.item_state import LiveItems
from serving.shelf.request import POLICY, ShelfRequest
from serving.shelf.snapshot import Snapshot
from serving.stores import open_store
from tests.bench.figures import Figure
from tests.serving.small_shop import night

REQUESTS, ITEMS, USERS, LIMIT = 100_000, 800, 10, 20
CHANGE_EVERY = 12_500  # requests between two changes of what is in stock
LEAST_EXPECTED = 5.0
ALPHA = 0.001


@dataclass
class Slot:
    """One slot of the requests with one set of eligible items: what was shown, and what was logged for it."""

    shown: Counter[int] = field(default_factory=Counter)
    logged: dict[int, float] = field(default_factory=dict)

    def chi_square(self) -> tuple[float, int]:
        """The statistic and its degrees of freedom; what was never shown is the rest of the probability."""
        n = sum(self.shown.values())
        observed, expected, rest = [], [], 0.0
        rare = 0
        for item, share in self.logged.items():
            if share * n < LEAST_EXPECTED:
                rare, rest = rare + self.shown[item], rest + share * n
            else:
                observed.append(self.shown[item])
                expected.append(share * n)
        rest += n * (1 - sum(self.logged.values()))
        if rest >= LEAST_EXPECTED:
            observed.append(rare)
            expected.append(rest)
        elif expected:  # too little to stand alone
            observed[-1] += rare
            expected[-1] += rest
        if len(observed) < 2:
            return 0.0, 0
        of, wanted = np.array(observed, float), np.array(expected)
        return float(((of - wanted) ** 2 / wanted).sum()), len(of) - 1


def requests(snapshot: Snapshot, live: LiveItems) -> tuple[dict[object, Slot], int]:
    """Answer all requests: the slots by what was eligible, and how many items were explored."""
    rng = np.random.default_rng(20260101)
    found: dict[object, Slot] = {}
    explored = 0
    places = exploration_slots(LIMIT, POLICY.explore_share)
    pools = sorted({item for pool in snapshot.pools.values() for item in pool.items})
    for number in range(REQUESTS):
        if number % CHANGE_EVERY == 0:
            for position in pools:
                live.set(position, -2, int(rng.random() < 0.8), 0)
        user, filtered = int(rng.integers(USERS)), rng.random() < 0.3
        request = ShelfRequest(user_id=f"user-{user}", limit=LIMIT, category="home" if filtered else None)
        key = hashlib.sha256(b"bench" + number.to_bytes(8, "big")).digest()[:16]
        filled = fill_shelf(snapshot, live, request, request_key=key)
        ranked = tuple(p for p, level in zip(filled.positions, filled.levels, strict=True) if level != _EXPLORE)
        for place in places:
            if filled.levels[place] != _EXPLORE:
                continue
            # The same stock, filter and ranked items leave the same items eligible.
            slot = found.setdefault((number // CHANGE_EVERY, filtered, ranked, place), Slot())
            item, share = filled.positions[place], filled.propensities[place]
            assert slot.logged.setdefault(item, share) == share
            slot.shown[item] += 1
            explored += 1
    return found, explored


_EXPLORE = LEVELS.index("explore")


def main() -> list[Figure]:
    """Run the requests and the test; raises where the frequencies do not agree with the propensities."""
    tonight = night(n_items=ITEMS, n_users=USERS, explores=True)
    with tempfile.TemporaryDirectory() as folder, closing(open_store(f"lmdb://{folder}/store")) as store:
        publish(tonight, store)
        snapshot = Snapshot(store.open(tonight.version))
        found, explored = requests(snapshot, LiveItems(snapshot))
        snapshot.close()
    tested = [slot.chi_square() for slot in found.values()]
    statistic, degrees = sum(value for value, _ in tested), sum(free for _, free in tested)
    p = float(stats.chi2.sf(statistic, degrees))
    assert p > ALPHA, f"chi-square {statistic:.0f} with {degrees} degrees of freedom, p = {p:.2g}"
    return [
        Figure("requests", REQUESTS, ""),
        Figure("explored items shown", explored, ""),
        Figure("sets of eligible items, by slot", len(found), ""),
        Figure("chi-square", statistic, ""),
        Figure("degrees of freedom", degrees, ""),
        Figure("p", p, "", wanted=f"above {ALPHA}"),
    ]
