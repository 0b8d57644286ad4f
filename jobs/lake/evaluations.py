"""The records that evaluations of a night write, one JSON file each, under `marts/evaluation/ds=<day>/`.

>>> Holdout.read(lake, date(2026, 1, 31)).metrics["new"]["ndcg@20"]

`holdout.json` is the night's own evaluation; `published.json`, `ablation.json` and `true_value.json` come from
`topshelf evaluate`, `topshelf ablation` and `topshelf true-value`. `shelf_outcomes.json` is the stage's of that name.
"""

from datetime import date
from typing import ClassVar, Self

import msgspec
from msgspec import field

from jobs.lake.lake import Lake
from jobs.numeric.list_metrics import rounded

KINDS = ("all", "new")
"""Metrics count every item, or only the items that are new to the shopper."""

Metrics = dict[str, float]
"""By metric, such as `ndcg@20`."""
KindMetrics = dict[str, Metrics]
"""Metrics by KINDS."""
Bounds = list[float]
"""[low, high] of a 95% interval; of a margin [difference, low, high]."""


class EvaluationRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A record that stands in the lake as `marts/evaluation/ds=<day>/<FILE>`."""

    FILE: ClassVar[str]

    @classmethod
    def path(cls, ds: date) -> str:
        """Return where in the lake the record of a day stands."""
        return f"marts/evaluation/ds={ds}/{cls.FILE}"

    @classmethod
    def read(cls, lake: Lake, ds: date) -> Self | None:
        """Return the record of a day; None if there is none, or if an earlier version wrote other fields."""
        values = lake.get_json(cls.path(ds))
        try:
            return None if values is None else msgspec.convert(values, cls)
        except msgspec.ValidationError:
            return None

    def write(self, lake: Lake, ds: date) -> None:
        """Write the record of a day, whole or not at all."""
        lake.put_json(self.path(ds), msgspec.to_builtins(self))

    @classmethod
    def withdraw(cls, lake: Lake, ds: date) -> None:
        """Write that a day has no such record, whatever an earlier run wrote."""
        if lake.get_json(cls.path(ds)) is not None:
            lake.put_json(cls.path(ds), None)

    def rounded(self) -> Self:
        """Return the record with its floats rounded to six digits, which drops the last bits of sums."""
        return msgspec.convert(rounded(msgspec.to_builtins(self)), type(self))


class DayRange(msgspec.Struct, frozen=True):
    """Days from `first` to `until`, both inclusive."""

    first: date = field(name="from")
    until: date


# holdout.json ----------------------------------------------------------------------------------------------


class SourceShare(msgspec.Struct, frozen=True):
    """One source's shares of candidates, of what shoppers chose, and of the shelf.

    See `jobs.training.holdout_measures.source_shares`.
    """

    share: float
    only: float
    recall: float
    unique_recall: float
    shelf_share: float
    shelf_hits: float


class SourceShares(msgspec.Struct, frozen=True):
    """The candidates of all sources together, and the shares of each source by name."""

    candidates_per_user: float
    recall: float
    by_source: dict[str, SourceShare]


class MmrPoint(msgspec.Struct, frozen=True):
    """Accuracy and diversity of the first places at one lambda."""

    mmr_lambda: float
    ndcg: float
    recall: float
    diversity: float


class MmrCurve(msgspec.Struct, frozen=True):
    """The night's own lambda, and accuracy and diversity over other lambdas."""

    mmr_lambda: float
    curve: list[MmrPoint]


class ReliabilityBin(msgspec.Struct, frozen=True):
    """Examples with similar predictions: their number, mean prediction, and the share that happened."""

    examples: int
    predicted: float
    happened: float


class Reliability(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a head's predictions can be believed; `before` is the same without calibration.

    The spend head predicts money, so it has only `ratio`: no error, loss, bins or `before`.
    """

    examples: int
    positives: int
    ratio: float
    bins: list[ReliabilityBin]
    calibration_error: float | None = None
    log_loss: float | None = None
    before: "Reliability | None" = None


class Holdout(EvaluationRecord, frozen=True, kw_only=True):
    """The night's own evaluation of a shadow ranker; see `jobs.training.holdout`."""

    FILE = "holdout.json"

    window: DayRange
    """The days of the labels."""
    held_out: str
    """Which users were asked, in words."""
    users_of_shadow: int
    """Users that trained the shadow ranker, if it was trained on the same window; else 0."""
    truth: str
    n_users: dict[str, int]
    metrics: KindMetrics
    baselines: dict[str, KindMetrics]
    """`popular`, of the whole catalogue, and `bought_before`, each user's candidates by days they were bought on."""
    intervals: dict[str, dict[str, Bounds]] = {}
    """Of the shelf, by kind and metric."""
    margins: dict[str, dict[str, dict[str, Bounds]]] = {}
    """Of the shelf over each baseline, by kind and metric."""
    sources: SourceShares
    alone: dict[str, KindMetrics]
    """Of shelves by one score each, and of the ranker's (`shelf`) for the same users."""
    diversity: MmrCurve
    heads: dict[str, Reliability]


# shelf_outcomes.json ----------------------------------------------------------------------------------------


class ItemOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How often one item was shown, and what followed."""

    item_id: str
    exposures: int
    clicks: int
    orders: int
    revenue_minor: int


class PageOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How often products of one shelf of a page were shown in its row, and what followed."""

    page: str
    shelf: str
    row: int
    """0-based place of the shelf on the page; -1 where it was asked for alone."""
    exposures: int
    clicks: int
    orders: int
    revenue_minor: int


class ShelfOutcomes(EvaluationRecord, frozen=True, kw_only=True):
    """What shoppers did on the day with what shelves showed them; see `sql/marts/shelf_outcomes.sql`."""

    FILE = "shelf_outcomes.json"

    places: int
    """So many places of a shelf count, from the top."""
    follow_minutes: int
    """An event that names no request follows what was shown less than this long before."""
    requests: int
    users: int
    """Distinct, of those that requests named."""
    exposures: int
    clicks: int
    """Exposures that a click or a view followed."""
    orders: int
    orders_without_price: int
    revenue_minor: int
    """Of the orders that have a price, in minor units of the currency."""
    shop_orders: int
    """The whole shop's of the day, from shelves or not."""
    shop_revenue_minor: int
    most_shown: list[ItemOutcome]
    of_pages: list[PageOutcome] = []
    """By page, row and shelf; empty where no page was shown."""


# off_policy.json -------------------------------------------------------------------------------------------


class OffPolicy(EvaluationRecord, frozen=True, kw_only=True):
    """What shelves would have earned on the answers of the last days; see `jobs.evaluation.off_policy`."""

    FILE = "off_policy.json"

    policy: str
    """The fingerprint of the shelves' table, or the version of a snapshot."""
    window: DayRange
    places: int
    """So many ranked places of each answer count, from the top."""
    answers: int
    users: int
    clicks_an_answer: float
    """On those places, as the answers were given."""
    would_be: float
    """The estimate of the same for the policy."""
    low: float
    """With `high`, the 95% interval of the difference."""
    high: float
    effective_sample: float
    mean_weight: float
    word: str
    """better, worse or cannot tell."""
    reasons: list[str]

    def line(self) -> str:
        """Return it as a sentence."""
        return f"{self.word}: {'; '.join(self.reasons)}"


# published.json --------------------------------------------------------------------------------------------


class UserSegment(msgspec.Struct, frozen=True):
    """The shelf and the baselines for the users of one segment."""

    n_users: dict[str, int]
    metrics: KindMetrics
    baselines: dict[str, KindMetrics]


class ItemSegment(msgspec.Struct, frozen=True):
    """The shelf and the baselines for the truth within one segment of items; `n_users` chose any of it."""

    n_items: int
    n_users: int
    metrics: Metrics
    baselines: dict[str, Metrics]


class Segments(msgspec.Struct, frozen=True):
    """Segments of users and of items by name; see `jobs.evaluation.segments`."""

    users: dict[str, UserSegment] = {}
    items: dict[str, ItemSegment] = {}


class Published(EvaluationRecord, frozen=True, kw_only=True):
    """The published shelves of a day on the days after it; see `jobs.evaluation.evaluate`."""

    FILE = "published.json"

    window: DayRange
    truth: str
    k: int
    n_users: dict[str, int]
    n_items: int
    metrics: KindMetrics
    intervals: dict[str, dict[str, Bounds]]
    bootstrap_draws: int
    baselines: dict[str, KindMetrics]
    margins: dict[str, dict[str, dict[str, Bounds]]]
    """Of the shelf over each baseline, by kind and metric."""
    segments: Segments = Segments()
    n_users_without_shelf: int = 0
    skipped: dict[str, str] = {}
    """Why a baseline was skipped, by its name."""
    model_version: str | None = None
    run_id: str | None = None


# ablation.json ---------------------------------------------------------------------------------------------


class AblationWindow(msgspec.Struct, frozen=True):
    """The training window whose users are asked."""

    as_of: date
    horizon_days: int


class MetricChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What metrics gain without one piece, with 95% intervals; a loss is below zero."""

    diversity: float
    all: Metrics
    all_interval: dict[str, Bounds]
    new: Metrics
    new_interval: dict[str, Bounds]

    def change(self, kind: str, metric: str) -> tuple[float, Bounds]:
        """Return the gain of one metric and its interval."""
        gains, bounds = {"all": (self.all, self.all_interval), "new": (self.new, self.new_interval)}[kind]
        return gains[metric], bounds[metric]


class Ablation(EvaluationRecord, frozen=True, kw_only=True):
    """What each piece of a night is worth; see `jobs.evaluation.ablation`."""

    FILE = "ablation.json"

    window: AblationWindow
    learned_from: list[date]
    seeds: int
    n_users: dict[str, int]
    metrics: KindMetrics
    diversity: float
    without: dict[str, dict[str, MetricChanges]]
    """By kind of piece (`source`, `features`, `head`, `blend`, `coarse cut`) and its name."""


# true_value.json -------------------------------------------------------------------------------------------


class GroupValue(msgspec.Struct, frozen=True, kw_only=True):
    """What lists are worth to a group of shoppers."""

    n_users: int
    best: dict[str, float]
    """Value of the best possible lists by cut (`value@20`)."""
    lists: dict[str, dict[str, float | Bounds]]
    """By list: share of the best by cut (`share@20`), and the shelf's margin over it (`margin@20`)."""

    def share(self, name: str, k: int) -> float | None:
        """Return the share of the best of a list's first k places; None where the group has no such figure."""
        share = self.lists.get(name, {}).get(f"share@{k}")
        return share if isinstance(share, float) else None


class NewItemValue(GroupValue, frozen=True, kw_only=True):
    """What lists are worth by their new items alone; `places` is the share of places that new items have."""

    n_items: int


class TrueValue(EvaluationRecord, frozen=True, kw_only=True):
    """What shelves are truly worth in a synthetic shop; see `jobs.evaluation.true_value`."""

    FILE = "true_value.json"

    day: date
    """The day on which the lists are served."""
    groups: dict[str, GroupValue]
    new_items: NewItemValue
