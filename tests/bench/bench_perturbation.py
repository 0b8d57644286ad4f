"""Perturbed ranked places: what ways to perturb cost in clicks, and what they let a log say of other rankings.

python -m tests.bench perturbation

Of 1% of a million answers the 20 ranked places are perturbed. Everything is computed from the probabilities that
items have in places, so there is no log to draw: a place is estimated by clicks over propensities (IIPS), its bias is
what the log never shows, and its variance follows.
"""

from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from serving.shelf import perturb
from tests.bench.figures import Figure

SHOPS, ITEMS, PLACES = 40, 60, 20
ANSWERS, SHARE = 1_000_000, 0.01
Matrix = NDArray[np.float64]


def swapped_neighbours() -> Matrix:
    """The probability of each item, by its rank, in each place where pairs of neighbours are swapped (FairPairs)."""
    found = np.zeros((ITEMS, PLACES))
    for place in range(PLACES):
        for other in (place - 1, place + 1):
            if 0 <= other < PLACES:
                found[place, other] = 0.25
        found[place, place] = 1 - found[place].sum()
    return found


def shuffled(first: int) -> Matrix:
    """The same where the first places are shuffled."""
    found = np.eye(ITEMS)[:, :PLACES]
    found[:first, :first] = 1 / first
    return found


def drawn_orderings(temperature: float) -> Matrix:
    """The same where a stored ordering of the places is used, as `serving.shelf.perturb` does."""
    found = np.zeros((ITEMS, PLACES))
    with patch.object(perturb, "TEMPERATURE", temperature):
        found[:PLACES] = perturb.orderings.__wrapped__(PLACES).shares
    return found


def judged(perturbed: Matrix, noise: float) -> tuple[float, float, float]:
    """Clicks lost in a perturbed answer, what the log never shows of another ranking, and the error of its estimate.

    All in percent: of the live ranking's clicks, of the other ranking's places, and of its clicks (root mean square
    over shops). `noise` is how far the other ranking lies from the live one.
    """
    draw = np.random.default_rng(7)
    logged = SHARE * perturbed + (1 - SHARE) * np.eye(ITEMS)[:, :PLACES]
    attention = 1 / np.log2(np.arange(PLACES) + 2)
    lost, unseen, error = [], [], []
    for _ in range(SHOPS):
        worth = np.sort(draw.lognormal(-3, 0.5, ITEMS))[::-1] * np.exp(draw.normal(0, 0.2, ITEMS))
        clicks = np.minimum(worth[:, None] * attention, 1)  # by rank of the item and place
        live = clicks[np.arange(PLACES), np.arange(PLACES)].sum()
        lost.append(1 - (perturbed * clicks).sum() / live)
        other = np.argsort(np.arange(ITEMS) + draw.normal(0, noise, ITEMS))[:PLACES]
        at = (other, np.arange(PLACES))
        shown, rate = logged[at], clicks[at]
        bias = rate[shown == 0].sum()
        seen = shown > 0
        variance = (rate[seen] / shown[seen] - rate[seen] ** 2).sum() / ANSWERS
        unseen.append((shown == 0).mean())
        error.append((bias**2 + variance) / rate.sum() ** 2)
    return 100 * float(np.mean(lost)), 100 * float(np.mean(unseen)), 100 * float(np.sqrt(np.mean(error)))


def main() -> list[Figure]:
    """Compare ways to perturb."""
    ways = {
        "nothing": np.eye(ITEMS)[:, :PLACES],
        "neighbours swapped": swapped_neighbours(),
        "first 5 shuffled": shuffled(5),
        "all 20 shuffled": shuffled(PLACES),
        **{f"orderings, temperature {t}": drawn_orderings(t) for t in (0.1, 0.2, 0.3, 0.5, 1.0)},
    }
    figures = []
    for way, perturbed in ways.items():
        for far, noise in (("near", 0.5), ("farther", 2.0)):
            lost, unseen, error = judged(perturbed, noise)
            figures.append(Figure(f"{way}: unseen places of a {far} ranking", unseen, "%"))
            figures.append(Figure(f"{way}: error of a {far} ranking", error, "%"))
        figures.append(Figure(f"{way}: clicks lost in a perturbed answer", lost, "%"))
    return figures
