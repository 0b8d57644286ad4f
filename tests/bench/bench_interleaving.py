"""How many times fewer shoppers an interleaving needs than an A/B test, for the same power, in the synthetic shop.

    python -m tests.bench interleaving

Two rankings of one catalogue: the shop's true utilities with noise, a little less of it for the better ranking. Every
shopper asks four times, looks down the shelf with falling attention, and clicks and buys by the shop's truth. The
units that a test needs are those at which its mean z has the same size: so their ratio is that of the squares of
effect over standard error, a shopper. Intervals of 95% are of 500 bootstrap samples of shoppers.
"""

from datetime import date

import numpy as np

from jobs.statistics import Values
from jobs.synthetic.catalogue import Shop
from jobs.synthetic.exposures import EXAMINED
from jobs.synthetic.shoppers import shoppers, utility, value
from serving.shelf.interleave import draft, draws
from tests.bench.figures import Figure

USERS, ITEMS, PLACES, ANSWERS = 24_000, 400, 10, 4
NOISE = {"control": 2.0, "better": 1.85}
CLICKS_A_PURCHASE = 4.0
SAMPLES = 500
DAY = date(2026, 2, 10)


def main() -> list[Figure]:
    """Rank, ask, click, and compare."""
    draw = np.random.default_rng(20)
    shop = Shop(USERS, ITEMS, 0, DAY, DAY, 7)
    people = shoppers(shop, np.arange(USERS))
    person, item = np.repeat(np.arange(USERS), ITEMS), np.tile(np.arange(ITEMS), USERS)
    true = utility(shop, people, person, item, np.zeros(len(item), np.int64)).reshape(USERS, ITEMS)
    bought_if_seen = value(true)
    shelves = {
        arm: np.argsort(-(true + draw.normal(0, noise, true.shape)), axis=1)[:, : 2 * PLACES]
        for arm, noise in NOISE.items()
    }
    seen = 1 / (1 + EXAMINED * np.arange(PLACES))
    rows = np.arange(USERS)[:, None]

    # Each shopper in both arms, so that effect and spread are known well from few shoppers.
    clicks, bought = {}, {}
    for arm, shelf in shelves.items():
        chance = bought_if_seen[rows, shelf[:, :PLACES]] * seen
        clicks[arm] = np.zeros(USERS)
        buys = np.zeros(USERS, np.bool_)
        for _ in range(ANSWERS):
            clicks[arm] += (draw.random(chance.shape) < np.minimum(1, CLICKS_A_PURCHASE * chance)).sum(axis=1)
            buys |= (draw.random(chance.shape) < chance).any(axis=1)
        bought[arm] = buys.astype(np.float64)

    credit = np.zeros((USERS, 2))
    pairs = (shelves["control"].tolist(), shelves["better"].tolist())
    for _ in range(ANSWERS):
        number = draw.integers(0, len(draws(2)), USERS)
        for user in range(USERS):
            places = draft([pairs[0][user], pairs[1][user]], draws(2)[number[user]], PLACES)
            of = np.array([place[0] for place in places])
            chance = np.minimum(1, CLICKS_A_PURCHASE * bought_if_seen[user, of] * seen)
            clicked = draw.random(PLACES) < chance
            if clicked.any():
                to_better = np.array([place[1] for place in places])[clicked].mean()
                credit[user] += (1 - to_better, to_better)

    weights = np.vstack([np.ones(USERS), draw.multinomial(USERS, np.full(USERS, 1 / USERS), SAMPLES)])
    preference = _strength_of_preference(credit, weights)
    against = {
        "clicks an answer": _strength_of_difference(clicks["control"], clicks["better"], weights),
        "conversion": _strength_of_difference(bought["control"], bought["better"], weights),
    }
    found = []
    for name, strength in against.items():
        ratio = preference / np.maximum(strength, 1e-12)
        low, high = np.quantile(ratio[1:], [0.025, 0.975])
        found.append(
            Figure(
                f"times fewer shoppers than an A/B test of {name} (95%: {low:,.0f} to {high:,.0f})",
                ratio[0],
                "x",
                wanted="at least 5",
            )
        )
    gain = clicks["better"].mean() / clicks["control"].mean() - 1
    return [
        Figure("planted: more clicks an answer", 100 * gain, "%"),
        Figure(
            "planted: more shoppers that buy", 100 * (bought["better"].mean() / bought["control"].mean() - 1), "%"
        ),
        Figure("share of credit of the better ranking", 100 * credit[:, 1].sum() / credit.sum(), "%"),
        *found,
    ]


def _strength_of_difference(control: Values, better: Values, weights: Values) -> Values:
    """Return [samples]: z squared a shopper of an A/B test with halves."""
    whole = weights.sum(axis=1)
    means = [(weights @ values) / whole for values in (control, better)]
    variances = [
        (weights @ values**2) / whole - mean**2 for values, mean in zip((control, better), means, strict=True)
    ]
    return np.asarray((means[1] - means[0]) ** 2 / (2 * (variances[0] + variances[1])))


def _strength_of_preference(credit: Values, weights: Values) -> Values:
    """Return [samples]: z squared a shopper of an interleaving, as `jobs.statistics.interleaving` tests it."""
    whole, shelves = weights.sum(axis=1), credit.sum(axis=1)
    total = weights @ shelves
    lead = (weights @ (credit[:, 1] - credit[:, 0])) / total
    residual = (credit[:, 1] - credit[:, 0])[None, :] - shelves[None, :] * lead[:, None]
    variance = (weights * residual**2).sum(axis=1) / total**2
    return np.asarray(lead**2 / variance / whole)
