"""Off-policy estimates of slates in shops whose truth is known: ten policies, 200 nights of 60,000 requests.

    python -m tests.bench off_policy

The first shop is `tests/jobs/statistics/slate_shop.py`; the second has the truth of the synthetic shop: what its
shoppers would click on of twelve items each. An estimate is trusted within the limits of `off_policy.trust`;
its interval of 95% is of the policy's clicks a request minus the live policy's. The last part is of single items,
with weights far larger: 400 pairs of policies, 15 logs each.
"""

from collections.abc import Sequence
from datetime import date

import numpy as np

from jobs.statistics import Values
from jobs.statistics.off_policy import ips, judge, policy_value, snips, trust
from jobs.statistics.slate_policies import iips, self_normalised
from jobs.synthetic.catalogue import Shop
from jobs.synthetic.shoppers import shoppers, utility, value
from tests.bench.figures import Figure
from tests.jobs.statistics.slate_shop import GROUPS, Policy, SlateShop, weights
from tests.jobs.statistics.slate_shop import ITEMS as SLATE_ITEMS

NIGHTS, REQUESTS = 200, 60_000
PAIRS, LOGS, ITEMS = 400, 15, 50


def policies(shop: SlateShop) -> dict[str, Policy]:
    """Ten policies, from the best to the worst, near the live one and far from it."""
    live = shop.live.slates.slates[:, 0]
    return {
        "the best ranking": shop.explores(shop.ranking(0.0)),
        "a good ranking": shop.explores(shop.ranking(0.5)),
        "another as good as the live one": shop.explores(shop.ranking(1.0)),
        "a poor ranking": shop.explores(shop.ranking(2.0)),
        "the worst ranking": shop.explores(shop.ranking(0.0, sign=-1.0)),
        "the live one, exploring less": shop.explores(live, 0.05),
        "exploring only": shop.explores(live, 1.0),
        "the best ranking, exploring nothing": shop.explores(shop.ranking(0.0), 0.0),
        "5% worse": shop.worth(0.95),
        "5% better": shop.worth(1.05),
    }


def synthetic_appeal() -> Values:
    """Return [GROUPS, SLATE_ITEMS]: how likely shoppers of the synthetic shop want every fifth of their best items.

    That is the shop's probability of a purchase once an item is looked at, here of a click; at most a third, as some
    shoppers click three times as often.
    """
    day = date(2026, 2, 10)
    shop = Shop(GROUPS, 2_000, 0, day, day, 7)
    person, item = np.repeat(np.arange(GROUPS), shop.items), np.tile(np.arange(shop.items), GROUPS)
    true = utility(shop, shoppers(shop, np.arange(GROUPS)), person, item, np.zeros(len(item), np.int64))
    best = -np.sort(-value(true).reshape(GROUPS, shop.items), axis=1)
    return np.asarray(np.minimum(1 / 3, best[:, : 5 * SLATE_ITEMS : 5]))


def slates(shop: SlateShop, told: str = "", kinds: Sequence[str] = ()) -> list[Figure]:
    """Estimate the ten policies each night, by all estimators or those named."""
    tables = {name: (policy, weights(shop, policy)) for name, policy in policies(shop).items()}
    seen: dict[tuple[str, str], list[tuple[float, bool, bool, str]]] = {}
    for number in range(NIGHTS):
        night = shop.night(REQUESTS, seed=number)
        live = night.clicked.sum(axis=1)
        for name, (policy, table) in tables.items():
            truth = policy.value - shop.live.value
            for kind, weight, estimator in (
                ("IIPS", table.item, iips),
                ("self-normalised IIPS", table.item, self_normalised),
                ("self-normalised RIPS", table.cascade, self_normalised),
                ("pseudo-inverse", table.slate, ips),
            ):
                if kinds and kind not in kinds:
                    continue
                of_night = weight[night.group, night.slate]
                reward = night.clicked if weight.ndim == 3 else live
                difference = policy_value(estimator(reward, of_night) - live, night.user)
                trusted = trust(of_night, reward, night.user)
                seen.setdefault((kind, name), []).append(
                    (
                        difference.value + shop.live.value,
                        difference.low <= truth <= difference.high,
                        not trusted.reasons,
                        judge(difference, trusted).word,
                    )
                )
    figures = []
    for (kind, name), nights in seen.items():
        if kind == "self-normalised IIPS":
            true, mean = tables[name][0].value, float(np.mean([value for value, *_ in nights]))
            figures.append(Figure(f"{told}{name}: clicks a request (true {true:.4f})", mean, ""))
            words = [word for *_, word in nights]
            wanted = {"5% worse": "worse in all", "5% better": "worse in none"}.get(name, "")
            counted = ", ".join(f"{word} {words.count(word)}" for word in ("better", "worse", "cannot tell"))
            figures.append(Figure(f"{told}{name}: {counted}", len(words), "nights", wanted=wanted))
    for kind in dict.fromkeys(kind for kind, _ in seen):
        rows = [row for (of, _), nights in seen.items() if of == kind for row in nights]
        for is_trusted, where in ((True, "within the limits"), (False, "outside them")):
            covers = [covered for _, covered, trusted, _ in rows if trusted == is_trusted]
            if covers:
                wanted = "at least 93" if is_trusted else ""
                what = f"{told}{kind}: coverage {where}, {len(covers)} estimates"
                figures.append(Figure(what, 100 * float(np.mean(covers)), "%", wanted=wanted))
    return figures


def softmax(scores: Values) -> Values:
    """Return probabilities that sum to 1."""
    exponentials = np.exp(scores - scores.max())
    return np.asarray(exponentials / exponentials.sum())


def single_items() -> list[Figure]:
    """Estimate policies that resemble the logging one more or less, from logs of 3,000 to 100,000 rows."""
    draw = np.random.default_rng(20_260_103)  # not 7, on which the limits of trust were chosen
    seen: list[tuple[str, bool, bool]] = []
    for _ in range(PAIRS):
        liked = draw.normal(size=ITEMS)
        wanted = draw.uniform(-1, 1) * liked + 0.7 * draw.normal(size=ITEMS)
        logged, target = softmax(draw.uniform(0.3, 3) * liked), softmax(draw.uniform(0.3, 3) * wanted)
        clicks = 0.02 * np.exp(0.8 * draw.uniform(-1, 1) * wanted + 0.3 * draw.normal(size=ITEMS))
        clicks, n_rows = np.minimum(clicks, 0.5), int(np.exp(draw.uniform(np.log(3_000), np.log(100_000))))
        truth = float((target - logged) @ clicks)
        for _ in range(LOGS):
            item = draw.choice(ITEMS, n_rows, p=logged)
            clicked, weight = (draw.random(n_rows) < clicks[item]).astype(float), (target / logged)[item]
            user = np.arange(n_rows) // 2
            is_trusted = not trust(weight, clicked, user).reasons
            for name, rows in (("IPS", ips(clicked, weight)), ("SNIPS", snips(clicked, weight))):
                found = policy_value(rows - clicked, user)
                seen.append((name, is_trusted, found.low <= truth <= found.high))
    figures = []
    for name in ("IPS", "SNIPS"):
        for is_trusted, told in ((True, "within the limits"), (False, "outside them")):
            covers = [covered for of, trusted, covered in seen if of == name and trusted == is_trusted]
            wanted_share = "at least 93" if is_trusted else ""
            what = f"single items, {name}: coverage {told}, {len(covers)} estimates"
            figures.append(Figure(what, 100 * float(np.mean(covers)), "%", wanted=wanted_share))
    return figures


def main() -> list[Figure]:
    """Run all."""
    synthetic = slates(SlateShop(appeal=synthetic_appeal()), "synthetic, ", ["self-normalised IIPS"])
    return slates(SlateShop()) + synthetic + single_items()
