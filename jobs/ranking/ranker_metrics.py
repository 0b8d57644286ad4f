"""What a ranker's manifest says of it: the `metrics` of `artifacts/ranker`, which reports show.

>>> msgspec.convert(lake.manifest(RANKER, ds).metrics, RankerMetrics).left_out
{'click': 'only 49 positive examples (clicked or viewed); at least 50 are needed'}
"""

from datetime import date

import msgspec

from jobs.ranking.calibration import Curve


class HeadFacts(msgspec.Struct, frozen=True):
    """What one head was trained on, and what it learned."""

    population: str
    """Whose examples it was trained on: `candidates`, `exposed` or a part of either."""
    label: str
    """What a positive label means, in words."""
    horizon_days: int
    as_of: list[date]
    """The days of the training windows, newest first."""
    examples: int
    positives: int
    negative_share: float
    """The share of negatives that it was trained on; its probabilities are corrected for that."""
    curve: Curve | None
    """What calibrates it; None if it stays as it is."""
    places: list[float]
    """Log-odds that each place on a shelf adds to a click; empty if it was not trained on shelves."""
    strongest_features: list[str]
    """The ten features of the largest gain, strongest first."""


class RankerMetrics(msgspec.Struct, frozen=True):
    """What a night's ranker consists of."""

    model_version: str = ""
    orders_by: str = ""
    """`heads`, or why there are none."""
    value: dict[str, str] = {}
    """The formula of each weighted term of the value."""
    heads: dict[str, HeadFacts] = {}
    left_out: dict[str, str] = {}
    """Why a head that a weight asks for was not trained, by head."""
    calibrated_on: str = ""
    """The days or users that the heads were calibrated on."""
