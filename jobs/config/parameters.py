"""What a shop may tune: nested by the room that uses it, checked, and frozen.

>>> parameters = Parameters().with_values({"shelves.top_n": 50, "ranking.trees": 300})
>>> parameters.ranking.trees
300

`topshelf config` prints all of them. jobs.config.configuration reads them from topshelf.toml and the environment.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field

from jobs.config.experiments import Experiments
from jobs.config.fields import Number, Section, flat, nested
from jobs.config.rules import PlainRules

CalibrationMethod = Literal["platt", "isotonic", "none"]
DormantShelf = Literal["segment", "fused"]


def _weight(event_type: str) -> object:
    return Field(ge=0, le=1_000_000, description=f"Weight of an event `{event_type}`, in thousandths of a view.")


class StagingParameters(Section):
    """jobs/staging: landed rows become typed tables."""

    max_quarantine_share: Annotated[
        Number, Field(ge=0, le=1, description="Share of a day's rows that may be set aside before ingestion stops.")
    ] = 0.05
    min_volume_share: Annotated[
        Number,
        Field(
            ge=0,
            le=1,
            description="Share of a weekday's usual events below which ingestion stops, in shops with 1,000 or more "
            "a day; 0 for never.",
        ),
    ] = 0.1


class EventWeights(Section):
    """Weights are whole thousandths, so that sums are integers and the same in any order."""

    impression: Annotated[int, _weight("impression")] = 0
    click: Annotated[int, _weight("click")] = 500
    view: Annotated[int, _weight("view")] = 1000
    rating: Annotated[int, _weight("rating")] = 1000
    add_to_cart: Annotated[int, _weight("add_to_cart")] = 3000
    purchase: Annotated[int, _weight("purchase")] = 5000

    def by_event_type(self) -> dict[str, int]:
        """Return the weight of every event type."""
        return dict(self)


class FeatureParameters(Section):
    """jobs/features: what is known of items, shoppers and pairs as of a day."""

    event_weight_milli: EventWeights = EventWeights()


class AlsParameters(Section):
    """Implicit ALS. Without factors, alpha and regularization the shop's own data choose (jobs.models.als_choice)."""

    factors: Annotated[
        int | None, Field(ge=1, le=1024, description="Length of an item's vector; not set: the shop's data choose.")
    ] = None
    alpha: Annotated[
        Number | None,
        Field(gt=0, le=10_000, description="Confidence that one unit of strength adds; not set: the data choose."),
    ] = None
    regularization: Annotated[
        Number | None,
        Field(ge=0, le=10_000, description="L2 penalty of the factors; not set: the shop's data choose."),
    ] = None
    iterations: Annotated[int, Field(ge=1, le=200, description="Rounds of alternating least squares.")] = 15
    on_spark_from_pairs: Annotated[
        int,
        Field(
            ge=0,
            le=10**12,
            description="From this many pairs of shopper and item on, Spark's ALS fits the factors, not implicit.",
        ),
    ] = 200_000_000


class EaseParameters(Section):
    """EASE (Steck 2019) of each item on its nearest items, fitted to pairs that decay with age."""

    regularization: Annotated[Number, Field(gt=0, le=10**9, description="L2 penalty of EASE's weights.")] = 50.0
    decay_days: Annotated[
        Number, Field(gt=0, le=36_500, description="Days after which a pair's strength has decayed to 1/e.")
    ] = 120.0


class ContentVectorParameters(Section):
    """Vectors of what items say of themselves."""

    neighbours: Annotated[int, Field(ge=1, le=1000, description="Neighbours kept for each item, by content.")] = 60


class TwoTowerParameters(Section):
    """The two towers, which need the optional dependency JAX."""

    enabled: Annotated[
        bool, Field(description="Train the two towers where JAX is installed; a night without them says so.")
    ] = True


class ModelParameters(Section):
    """jobs/models: collaborative and content models."""

    neighbours: Annotated[
        int, Field(ge=1, le=1000, description="Neighbours kept for each item, by co-occurrence, EASE and order.")
    ] = 100
    als: AlsParameters = AlsParameters()
    ease: EaseParameters = EaseParameters()
    content: ContentVectorParameters = ContentVectorParameters()
    two_tower: TwoTowerParameters = TwoTowerParameters()


class CandidateParameters(Section):
    """jobs/candidates: a few hundred items for each shopper."""

    per_user: Annotated[
        int, Field(ge=1, le=10_000, description="Candidates for each shopper; at least as many as the shelf is long.")
    ] = 300
    taste_decay_days: Annotated[
        Number,
        Field(gt=0, le=36_500, description="Days after which an event counts 1/e in a shopper's current taste."),
    ] = 60.0


class WindowParameters(Section):
    """Training windows: earlier days whose outcomes are known."""

    max_count: Annotated[
        int, Field(ge=1, le=104, description="Most windows of a night; of four or more the oldest calibrates.")
    ] = 5
    min_history_days: Annotated[int, Field(ge=1, le=3650, description="Fewest days of events before a window.")] = 21
    enough_labels: Annotated[
        int,
        Field(
            ge=1,
            le=10**12,
            description="Where two windows or more hold so many labels, only one older one is built, to calibrate.",
        ),
    ] = 50_000
    max_users: Annotated[
        int, Field(ge=1, le=10**9, description="Most shoppers of a window, about; a hash chooses them.")
    ] = 10_000


class TrainingParameters(Section):
    """jobs/training: labelled examples."""

    horizon_days: Annotated[
        int, Field(ge=1, le=365, description="Days after a window's day in which outcomes count as labels.")
    ] = 14
    negative_share: Annotated[
        Number,
        Field(
            gt=0,
            le=1,
            description="Largest share of examples without a label to learn from; probabilities are corrected.",
        ),
    ] = 0.15
    windows: WindowParameters = WindowParameters()


def _term(meaning: str) -> object:
    return Field(ge=0, le=10**9, description=f"Weight of {meaning} in an item's value; 0 leaves it out.")


class HeadWeights(Section):
    """An item's value is the sum of weight times prediction over the terms of `jobs.ranking.heads.TERMS`."""

    purchase: Annotated[Number, _term("P(purchase)")] = 1.0
    interaction: Annotated[Number, _term("P(interaction)")] = 0.1
    click: Annotated[Number, _term("P(click)")] = 0.0
    click_to_purchase: Annotated[Number, _term("P(click) x P(purchase | click)")] = 0.0
    conversion: Annotated[Number, _term("P(purchase) x P(purchase | click)")] = 30.0
    engagement: Annotated[Number, _term("P(long engagement)")] = 0.0
    revenue: Annotated[Number, _term("P(purchase) x expected spend, in the currency")] = 0.0

    def positive(self) -> dict[str, float]:
        """Return the terms with a weight above 0."""
        return {term: weight for term, weight in self if weight}


class RankingParameters(Section):
    """jobs/ranking: LightGBM heads and their sum, the value."""

    coarse_keep: Annotated[
        int,
        Field(ge=1, le=10_000, description="Candidates of a shopper that reach the fine ranker; at least 2 x top_n."),
    ] = 200
    trees: Annotated[int, Field(ge=1, le=10_000, description="Trees of each head.")] = 100
    leaves: Annotated[int, Field(ge=2, le=131_072, description="Most leaves of a tree; fewer with few labels.")] = 31
    learning_rate: Annotated[Number, Field(gt=0, le=1, description="Share of each tree that is added.")] = 0.1
    feature_fraction: Annotated[Number, Field(gt=0, le=1, description="Share of features that a tree may use.")] = 0.4
    order_tilt: Annotated[
        Number,
        Field(ge=0, le=100, description="Values are multiplied by exp(order_tilt x order score); 0 disables it."),
    ] = 0.5
    threads: Annotated[
        int, Field(ge=1, le=1024, description="LightGBM's threads: fixed, as its sums depend on their number.")
    ] = 2
    long_view_s: Annotated[
        Number,
        Field(gt=0, le=86_400, description="Seconds from which a view is long engagement (Fox et al., TOIS 2005)."),
    ] = 30.0
    calibration: Annotated[
        CalibrationMethod, Field(description="How heads are calibrated, on examples that trained none of them.")
    ] = "platt"
    head_weight: HeadWeights = HeadWeights()


class MaxPer(Section):
    """Caps on the first places of a shelf."""

    category: Annotated[
        int | None, Field(ge=1, le=2000, description="Most of the first places for one category; not set: no cap.")
    ] = None
    brand: Annotated[
        int | None, Field(ge=1, le=2000, description="Most of the first places for one brand; not set: no cap.")
    ] = None
    seller_id: Annotated[
        int | None, Field(ge=1, le=2000, description="Most of the first places for one seller; not set: no cap.")
    ] = None

    def caps(self) -> dict[str, int]:
        """Return the caps that are set, by column."""
        return {column: most for column, most in self if most is not None}


class BlendParameters(Section):
    """How the first places of a shelf are varied."""

    places: Annotated[int, Field(ge=1, le=2000, description="How many first places are varied and capped.")] = 20
    mmr_lambda: Annotated[
        Number, Field(ge=0, le=1, description="Maximal marginal relevance: 1 is value alone, 0 is difference alone.")
    ] = 1.0
    max_per: MaxPer = MaxPer()


class DormantParameters(Section):
    """Shoppers who have been away."""

    after_days: Annotated[
        int, Field(ge=0, le=36_500, description="Shoppers without an event for more days are dormant; 0 for nobody.")
    ] = 0
    shelf: Annotated[
        DormantShelf,
        Field(
            description="Their shelf: `segment` is none of their own, `fused` merges a few lists without a ranker."
        ),
    ] = "segment"


class NewItemParameters(Section):
    """A boost for items on their first days."""

    boost: Annotated[
        Number,
        Field(ge=0, le=1000, description="Share by which an item's value is raised on its first day; 0 disables it."),
    ] = 0.0
    boost_days: Annotated[
        int, Field(ge=1, le=3650, description="Age in days at which nothing is left of the boost.")
    ] = 30


class ShelfParameters(Section):
    """jobs/shelves: the best items of each shopper, in order."""

    top_n: Annotated[int, Field(ge=1, le=2000, description="Items on a shelf.")] = 100
    own_list_length: Annotated[
        int,
        Field(
            ge=0,
            le=50,
            description="Most items to buy again, and most of what a shopper viewed; 0 for no such lists.",
        ),
    ] = 5
    quiet: Annotated[
        Literal["ranked", "kept"],
        Field(description="Shoppers who did nothing since Sunday: `ranked` each night, or Sunday's shelf is `kept`."),
    ] = "ranked"
    blend: BlendParameters = BlendParameters()
    dormant: DormantParameters = DormantParameters()
    new_items: NewItemParameters = NewItemParameters()


class ReportParameters(Section):
    """jobs/reporting: the night's page. It changes no table and no snapshot, so it is no part of a run's identity."""

    currency: Annotated[
        str,
        Field(
            max_length=8,
            description="Sign or code of the shop's currency, such as € or EUR, before amounts; empty for none.",
        ),
    ] = ""


class Parameters(Section):
    """Everything that a shop may tune. Part of a run's identity, all but `report`: other values, other snapshot."""

    seed: Annotated[int, Field(ge=0, le=2**31 - 1, description="Seed of everything that is drawn at random.")] = (
        20260101
    )
    staging: StagingParameters = StagingParameters()
    features: FeatureParameters = FeatureParameters()
    models: ModelParameters = ModelParameters()
    candidates: CandidateParameters = CandidateParameters()
    training: TrainingParameters = TrainingParameters()
    ranking: RankingParameters = RankingParameters()
    shelves: ShelfParameters = ShelfParameters()
    report: ReportParameters = ReportParameters()
    rules: PlainRules = Field(default_factory=PlainRules)
    """The shop's rules as jobs.config.rules reads them; they stand in `[rules]`, not below `[parameters]`."""
    experiments: Experiments = Field(default_factory=Experiments)
    """The shop's experiments, of a file of their own. A run's identity has those that run on its day."""

    def with_values(self, values: Mapping[str, object]) -> Self:
        """Return a copy with other values, by dotted key; all others stay.

        Raises:
            pydantic.ValidationError: a key is unknown, or a value has another type or is out of bounds.
        """
        tables = flat(self.model_dump(exclude={"rules", "experiments"})) | dict(values)
        return self.model_validate({"rules": self.rules, "experiments": self.experiments} | nested(tables))

    def digest(self) -> str:
        """Return the SHA-256 of the parameters that shape a snapshot, as hex."""
        shaping = self.model_dump(exclude={"report", "experiments"})
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()
