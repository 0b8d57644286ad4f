"""Say in one comparison how good a night's shelves are: beside the best of the simple lists, with intervals.

>>> headline(holdout).rival
'bought_before'
"""

from dataclasses import dataclass

from jobs.lake.evaluations import Bounds, Holdout, Published
from jobs.numeric.list_metrics import K

METRIC = f"ndcg@{K}"


@dataclass(frozen=True)
class Headline:
    """NDCG of the shelf beside the best baseline's, over the same shoppers and all items."""

    n_users: int
    shelf: float
    interval: Bounds
    """[low, high] of the shelf, 95%; empty if it was not measured."""
    rival: str
    rival_ndcg: float
    margin: Bounds
    """[difference, low, high] of the shelf over the rival, 95%; empty if it was not measured."""

    @property
    def verdict(self) -> str:
        """What the margin's interval lets one say."""
        if not self.margin:
            return "without an interval, chance cannot be told from skill"
        _, low, high = self.margin
        if low > 0:
            return "better than chance explains"
        return "worse than chance explains" if high < 0 else "no difference that chance could not explain"


def headline(evaluation: Holdout | Published) -> Headline | None:
    """Return the comparison of an evaluation; None if it has no baseline or no shopper."""
    if not evaluation.baselines or not evaluation.n_users["all"]:
        return None
    rival = max(sorted(evaluation.baselines), key=lambda name: evaluation.baselines[name]["all"][METRIC])
    return Headline(
        n_users=evaluation.n_users["all"],
        shelf=evaluation.metrics["all"][METRIC],
        interval=evaluation.intervals.get("all", {}).get(METRIC, []),
        rival=rival,
        rival_ndcg=evaluation.baselines[rival]["all"][METRIC],
        margin=evaluation.margins.get(rival, {}).get("all", {}).get(METRIC, []),
    )
