"""What a shop may tune, read once at the edge and frozen.

>>> Parameters(top_n=50).digest()[:8]
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jobs.config.rules import checked_rules, read_rules


@dataclass(frozen=True)
class Parameters:
    """Everything that a shop may tune. Part of a run's identity: other values, other snapshot.

    Weights of events are in thousandths of a view, so that sums stay integers and the same in any order.
    """

    top_n: int = 100
    seed: int = 20260101

    event_weight_milli: dict[str, int] = field(
        default_factory=lambda: {
            "impression": 0,
            "click": 500,
            "view": 1000,
            "rating": 1000,
            "add_to_cart": 3000,
            "purchase": 5000,
        }
    )

    als_factors: int | None = None
    als_alpha: float | None = None
    als_regularization: float | None = None
    """None of the three: chosen by the shop's own data (jobs.models.als_choice)."""
    als_iterations: int = 15
    als_on_spark_from_pairs: int = 200_000_000
    """From so many pairs of shopper and item on, Spark's own ALS fits the factors, not implicit on one machine."""
    neighbours: int = 100
    recent_days: int = 60
    ease_lambda: float = 200.0
    ease_decay_days: float = 120.0
    ease_whole_lambda: float = 500.0
    """Of the EASE that does not fade."""
    ease_max_items: int = 6_000

    content_neighbours: int = 60
    taste_decay_days: float = 60.0
    """A shopper's taste of today fades with their events: to e^-1 after this many days."""
    two_tower: bool = True
    """Train the two towers where JAX is installed; without them the night has a source less, and says so."""
    candidates_per_user: int = 400
    coarse_keep: int = 200
    """So many of them, or twice `top_n`, reach the fine ranker; a few small trees choose which."""
    horizon_days: int = 14
    label_windows: int = 5
    """Of four and more, the oldest calibrates."""
    min_history_days: int = 21
    max_training_users: int = 10_000
    """A window's examples come from at most about this many users, chosen by hash."""
    enough_labels: int = 50_000
    """No older windows are built once this many labels are there (and two windows, so that one can judge)."""
    negative_share: float = 0.15
    """Of the examples without a label, the share that a probability is learned from; it is corrected afterwards."""
    trees: int = 200
    leaves: int = 31
    learning_rate: float = 0.05
    feature_fraction: float = 0.4
    order_tilt: float = 0.5
    """The order head moves a value by e to the power of this times its score; 0 for not at all."""
    ranker_threads: int = 2
    """Fixed, not the machine's count: LightGBM's sums depend on it."""
    head_weight: dict[str, float] = field(default_factory=lambda: {"purchase": 1.0, "interaction": 0.1})
    """The value of an item is the sum over the terms of `jobs.ranking.heads.TERMS` of weight times chance, or times
    money.
    """
    long_view_s: float = 30.0
    """A view of so many seconds is long engagement (a satisfied click: Fox et al., TOIS 2005)."""
    calibration: str = "platt"
    """How heads are calibrated on what trained none: `platt`, `isotonic` or `none`."""
    mmr_lambda: float = 1.0
    """Below 1, the head of a shelf is varied by content: maximal marginal relevance; 1 is value alone."""
    blend_places: int = 20
    """So many first places are the head."""
    most_of: dict[str, int] = field(default_factory=dict)
    """At most so many places of the head go to one `category`, `brand` or `seller_id`; unnamed ones are free."""
    dormant_days: int = 0
    """Shoppers without an event for more days are dormant, and get `dormant_shelf`; 0 for nobody."""
    dormant_shelf: str = "segment"
    """`segment` for none of their own, or `fused` for a few candidates in the order that lists rank them."""
    new_item_boost: float = 0.0
    """The value of an item on its first day is raised by this share, of older ones by less; 0 for not at all."""
    new_item_boost_days: int = 30
    """The age at which nothing is left of the boost."""
    rules: dict[str, Any] = field(default_factory=dict)
    """What the file that TOPSHELF_RULES names says; see jobs.config.rules."""
    max_quarantine_share: float = 0.05

    def digest(self) -> str:
        """Return the SHA-256 of these parameters, as hex."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def parameters_from_environment(top_n: int | None = None) -> Parameters:
    """Return `Parameters`, with what the JSON file named by TOPSHELF_PARAMETERS says laid over the defaults.

    `rules` are those of the YAML file named by TOPSHELF_RULES, where there is one.

    Raises:
        UnknownParameterError: the file names a parameter that does not exist.
        RulesError: the rules cannot be read or meant.
    """
    path = os.environ.get("TOPSHELF_PARAMETERS")
    chosen: dict[str, object] = json.loads(Path(path).read_text()) if path else {}
    unknown = sorted(set(chosen) - set(Parameters.__dataclass_fields__))
    if unknown:
        raise UnknownParameterError(
            f"{path} names {', '.join(unknown)}, which Topshelf does not know; "
            f"it knows {', '.join(Parameters.__dataclass_fields__)}"
        )
    if top_n is not None:
        chosen["top_n"] = top_n
    if rules := os.environ.get("TOPSHELF_RULES"):
        chosen["rules"] = read_rules(rules)
    elif "rules" in chosen:
        chosen["rules"] = checked_rules(chosen["rules"], f"`rules` in {path}")
    return Parameters(**chosen)  # type: ignore[arg-type]


class UnknownParameterError(ValueError):
    """A parameter file names something that is not a parameter."""
