"""Off-policy evaluation of slates: the propensities of a policy that draws one of a few slates, and estimators.

A night's policy draws a request's slate from a list: its ranking, stored permutations or swaps of it, other arms. So
every propensity is exact. Items are codes, -1 an empty place. An estimator assumes how shoppers look at a slate:

- `slate_propensity` with `off_policy.ips`: nothing. Only slates that were shown as a whole count.
- `cascade_propensity` with `rips` or `cascade_dr`: from the top down; a place does not depend on those below it.
- `item_propensity` with `iips`: each place for itself.
- `pseudo_inverse_weights` with `off_policy.ips` or `snips`: the slate's reward is a sum over its places, though it is
  only known as a whole.

>>> weight = importance_weights(item_propensity(new, shown), item_propensity(live, shown))
>>> policy_value(iips(clicked, weight), user)
"""

from dataclasses import dataclass

import numpy as np

from jobs.statistics import Codes, Flags, UnusableValuesError, Values
from jobs.statistics.off_policy import snips


@dataclass(frozen=True)
class SlatePolicy:
    """What a policy may show in each of n requests.

    Attributes:
        slates: [n, k, places], item codes; -1 for an empty place. A slate may stand there twice.
        probability: [n, k], of each slate; a row sums to 1. Pad with slates of probability 0.
    """

    slates: Codes
    probability: Values

    def __post_init__(self) -> None:
        if self.slates.ndim != 3 or self.slates.shape[:2] != self.probability.shape:
            raise UnusableValuesError(
                f"slates {self.slates.shape} need a probability each, not {self.probability.shape} of them"
            )
        if (self.probability < 0).any() or not np.allclose(self.probability.sum(axis=1), 1, rtol=0, atol=1e-9):
            raise UnusableValuesError("the probabilities of a request's slates must be at least 0 and sum to 1")


def item_propensity(policy: SlatePolicy, shown: Codes) -> Values:
    """Return [n, places]: the probability of the shown item in its place, whatever the rest of the slate."""
    return np.asarray((_same(policy, shown) * policy.probability[:, :, None]).sum(axis=1))


def cascade_propensity(policy: SlatePolicy, shown: Codes) -> Values:
    """Return [n, places]: the probability of the shown items from the top down to each place."""
    so_far = np.logical_and.accumulate(_same(policy, shown), axis=2)
    return np.asarray((so_far * policy.probability[:, :, None]).sum(axis=1))


def slate_propensity(policy: SlatePolicy, shown: Codes) -> Values:
    """Return [n]: the probability of the whole slate."""
    return cascade_propensity(policy, shown)[:, -1]


def pseudo_inverse_weights(logged: SlatePolicy, target: SlatePolicy, shown: Codes) -> Values:
    """Return [n]: the weight of each slate as a whole, which may be below 0.

    Swaminathan et al., Off-policy evaluation for slate recommendation, NeurIPS 2017. Instead of the paper's matrix of
    items and places, the equal one of the logged slates is inverted: in how many places two of them agree.

    The log can tell the policy's reward in a request only if the policy's items and places are a combination of
    logged slates; so it must hold many different ones. Elsewhere the weight is 0, and the mean weight, below 1, says
    so.

    Raises:
        UnusableValuesError: shapes differ, or a shown slate is none that the logged policy could show.
    """
    is_shown = _same(logged, shown).all(axis=2) & (logged.probability > 0)
    if not is_shown.any(axis=1).all():
        raise UnusableValuesError(
            f"slate {int(np.argmin(is_shown.any(axis=1)))} is none that the logged policy shows"
        )
    row, which = np.arange(len(shown)), is_shown.argmax(axis=1)
    root = np.sqrt(logged.probability)
    among = root[:, :, None] * _agreeing(logged, logged) * root[:, None, :]
    wanted = np.einsum("nt,ntk->nk", target.probability, _agreeing(target, logged)) * root
    inverse = np.linalg.pinv(among, rcond=1e-10, hermitian=True)
    told = np.einsum("nk,nkj,nj->n", wanted, inverse, wanted)
    whole = np.einsum("nt,ntu,nu->n", target.probability, _agreeing(target, target), target.probability)
    weight = np.einsum("nk,nk->n", wanted, inverse[row, :, which]) / root[row, which]
    return np.where(told > (1 - 1e-6) * whole, weight, 0.0)


def independent_pseudo_inverse_weights(weight: Values) -> Values:
    """Return [n]: the same where the logging policy drew each place for itself: sum(weight) - places + 1.

    `weight` [n, places] is of `item_propensity`.
    """
    return np.asarray(weight.sum(axis=1) - weight.shape[1] + 1)


def iips(reward: Values, weight: Values) -> Values:
    """Return [n]: independent inverse propensity scores of slates; both inputs are [n, places].

    Li et al., Offline Evaluation of Ranking Policies with Click Models, KDD 2018. `weight` is of `item_propensity`.
    """
    return np.asarray((weight * reward).sum(axis=1))


def rips(reward: Values, weight: Values) -> Values:
    """Return [n]: reward interaction scores; as `iips`, with `weight` of `cascade_propensity`.

    McInerney et al., Counterfactual Evaluation of Slate Recommendations with Sequential Reward Interactions, KDD
    2020.
    """
    return iips(reward, weight)


def self_normalised(reward: Values, weight: Values) -> Values:
    """Return [n]: `iips` or `rips` with each place's scores divided by the place's mean weight."""
    places = [snips(reward[:, place], weight[:, place]) for place in range(weight.shape[1])]
    return np.asarray(np.sum(places, axis=0))


def cascade_dr(reward: Values, weight: Values, expected: Values, expected_by_target: Values) -> Values:
    """Return [n]: cascade doubly robust scores; all inputs are [n, places].

    Kiyohara et al., Doubly Robust Off-Policy Evaluation for Ranking Policies under the Cascade Behavior Model, WSDM
    2022.

    Args:
        reward: of each place.
        weight: of `cascade_propensity`.
        expected: a model's reward of this place and all below, given the shown items down to it.
        expected_by_target: the same, averaged over the items that the policy would put there, below those shown.
    """
    above = np.concatenate([np.ones((len(weight), 1)), weight[:, :-1]], axis=1)
    return np.asarray((weight * (reward - expected) + above * expected_by_target).sum(axis=1))


def _agreeing(first: SlatePolicy, second: SlatePolicy) -> Values:
    """Return [n, k of first, k of second]: in how many places the slates show the same item."""
    if first.slates.shape[::2] != second.slates.shape[::2]:
        raise UnusableValuesError(f"slates {first.slates.shape} do not fit those of the other policy")
    same = [
        first.slates[:, :, None, place] == second.slates[:, None, :, place] for place in range(first.slates.shape[2])
    ]
    return np.asarray(np.sum(same, axis=0, dtype=np.float64))


def _same(policy: SlatePolicy, shown: Codes) -> Flags:
    if policy.slates.shape[::2] != shown.shape:
        raise UnusableValuesError(f"slates {policy.slates.shape} of a policy do not fit {shown.shape} shown ones")
    return np.asarray(policy.slates == shown[:, None, :])
