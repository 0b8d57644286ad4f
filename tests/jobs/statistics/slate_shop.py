"""A small shop of slates whose truth is known: groups of shoppers, a live policy that explores, others to estimate.

A shopper clicks on an item in a place with a probability that depends on the item, the shopper's group, the place,
and the shopper: some click often. What else stands on the slate does not matter.
"""

from dataclasses import dataclass

import numpy as np

from jobs.statistics import Codes, Values
from jobs.statistics.off_policy import importance_weights
from jobs.statistics.slate_policies import SlatePolicy, cascade_propensity, item_propensity, pseudo_inverse_weights

GROUPS, ITEMS, PLACES = 30, 12, 6
EXAMINED = 1 / (1 + 0.12 * np.arange(PLACES))
EXPLORED = 0.5  # share of requests of the live policy that take one of the stored slates


@dataclass(frozen=True)
class Policy:
    """A policy of the shop: [GROUPS, k, PLACES] slates, their probabilities, and its true clicks a request."""

    slates: SlatePolicy
    value: float


@dataclass(frozen=True)
class Night:
    """What was logged: [n] each, and clicks [n, PLACES]. `slate` is the index among the live policy's slates."""

    group: Codes
    slate: Codes
    user: Codes
    clicked: Values


class SlateShop:
    """The shop, its live policy and others: all of them draw from the same stored slates or from rankings."""

    def __init__(self, seed: int = 0, appeal: Values | None = None) -> None:
        """`appeal` [GROUPS, ITEMS] is the probability of a click in the first place; drawn unless given."""
        self.draw = np.random.default_rng(seed)
        self.appeal = self.draw.beta(1.2, 12, (GROUPS, ITEMS)) if appeal is None else appeal
        turns = (np.arange(ITEMS)[:, None] + np.arange(PLACES)) % ITEMS
        orders = np.argsort(self.draw.random((GROUPS, ITEMS)), axis=1)
        self.stored = np.stack([orders[:, turn] for turn in turns], axis=1)  # each item once in each place
        self.live = self.explores(self.ranking(noise=1.0))

    def ranking(self, noise: float, sign: float = 1.0) -> Codes:
        """Return a slate a group [GROUPS, PLACES]: the best by appeal, seen through noise; the worst with sign -1."""
        seen = np.log(self.appeal) + noise * self.draw.normal(size=self.appeal.shape)
        return np.argsort(-sign * seen, axis=1)[:, :PLACES]

    def explores(self, ranking: Codes, share: float = EXPLORED) -> Policy:
        """Show the ranking, or with probability `share` any of the stored slates."""
        return self.mixed([(1 - share, ranking)], share)

    def mixed(self, rankings: list[tuple[float, Codes]], share: float) -> Policy:
        """Show rankings with these probabilities, and with probability `share` any of the stored slates."""
        slates = np.concatenate([*(ranking[:, None] for _, ranking in rankings), self.stored], axis=1)
        weights = np.concatenate([[p for p, _ in rankings], np.full(ITEMS, share / ITEMS)])
        policy = SlatePolicy(slates, np.tile(weights, (GROUPS, 1)))
        clicks = self.appeal[np.arange(GROUPS)[:, None, None], slates] * EXAMINED
        return Policy(policy, float((clicks.sum(axis=2) * policy.probability).sum(axis=1).mean()))

    def worth(self, times: float) -> Policy:
        """Return a policy whose true value is the live one's times `times`: mixed with the best, or the worst."""
        live = self.live.slates.slates[:, 0]
        other = self.ranking(0.0, sign=1.0 if times > 1 else -1.0)
        far = self.mixed([(0.0, live), (1 - EXPLORED, other)], EXPLORED).value
        part = (times - 1) * self.live.value / (far - self.live.value) * (1 - EXPLORED)
        return self.mixed([(1 - EXPLORED - part, live), (part, other)], EXPLORED)

    def night(self, n_requests: int, seed: int) -> Night:
        """Log requests of the live policy; a user makes three on average."""
        draw = np.random.default_rng(seed)
        user = np.sort(draw.integers(0, n_requests // 3, n_requests))
        group = draw.integers(0, GROUPS, n_requests // 3)[user]
        clicks_often = np.minimum(draw.gamma(4, 0.25, n_requests // 3), 3)
        clicks_often /= np.minimum(draw.gamma(4, 0.25, 10**6), 3).mean()
        probability = self.live.slates.probability[0]
        slate = draw.choice(len(probability), n_requests, p=probability)
        item = self.live.slates.slates[group, slate]
        chance = self.appeal[group[:, None], item] * EXAMINED * clicks_often[user][:, None]
        return Night(group, slate, user, (draw.random(item.shape) < chance).astype(float))


@dataclass(frozen=True)
class Weights:
    """A policy's weights over the live one's slates, to be looked up by a night's group and slate.

    `item` and `cascade` are [GROUPS, k, PLACES], of each place for itself and from the top down; `slate` [GROUPS, k]
    is the pseudo-inverse.
    """

    item: Values
    cascade: Values
    slate: Values


def weights(shop: SlateShop, policy: Policy) -> Weights:
    """Return the policy's weights on what the live policy shows."""
    live, every = shop.live.slates, [shop.live.slates.slates[:, number] for number in range(ITEMS + 1)]
    item, cascade = (
        np.stack([importance_weights(of(policy.slates, shown), of(live, shown)) for shown in every], axis=1)
        for of in (item_propensity, cascade_propensity)
    )
    slate = np.stack([pseudo_inverse_weights(live, policy.slates, shown) for shown in every], axis=1)
    return Weights(item, cascade, slate)
