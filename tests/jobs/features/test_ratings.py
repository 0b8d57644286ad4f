"""Which ratings are no liking, read without Spark as sql/features/counted_events.sql says."""

import pyarrow as pa
import pytest

from jobs.features.ratings import low_ratings


def low_of(*given: float | None, kind: str = "rating") -> list[float | None]:
    """The values that are low among these."""
    value = pa.chunked_array([pa.array(given, pa.float64())])
    found = low_ratings(pa.chunked_array([[kind] * len(given)]), value)
    return [one for one, is_low in zip(given, found, strict=True) if is_low]


@pytest.mark.parametrize(
    ("given", "low"),
    [
        ([0.5, 2.5, 3.0, 5.0], [0.5, 2.5]),
        ([1, 2, 3, 4, 5], [1, 2]),
        ([0, 1], [0]),
        ([-1, 1], [-1]),
        ([0, 49, 50, 100], [0, 49]),
        ([4, 4], []),
        ([1, None, 5], [1]),
        ([], []),
    ],
    ids=["half stars", "stars", "thumbs", "thumbs below zero", "percent", "one value", "unsaid", "none"],
)
def test_below_the_middle_of_the_scale_is_low(given: list[float | None], low: list[float]) -> None:
    assert low_of(*given) == low


def test_one_slip_among_hundreds_does_not_stretch_the_scale() -> None:
    assert low_of(*[1.0, 3.0, 5.0] * 100, 500.0) == [1.0] * 100


def test_the_value_of_another_event_is_no_rating() -> None:
    assert low_of(1.0, 500.0, kind="view") == []
