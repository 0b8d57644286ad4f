"""Dates as people write them: which are read, and when a column's order is not known."""

import pandas as pd
import pytest

from jobs.landing.adapters.written_dates import DateOrderError, times_of


def read(*texts: str) -> list[str]:
    return ["" if pd.isna(time) else str(time) for time in times_of(pd.Series(list(texts), dtype=object))]


@pytest.mark.parametrize(
    "text", ["2010-12-01 08:26:00", "2010-12-01T08:26:00", "2010-12-01 08:26", "12/1/2010 8:26", "1.12.2010 8:26:00"]
)
def test_a_date_alone_is_read_as_it_is_published_or_with_dots_as_in_europe(text: str) -> None:
    assert read(text) == ["2010-12-01 08:26:00"]


def test_one_date_above_twelve_gives_the_order_of_all_with_its_sign() -> None:
    assert read("01/12/2010 8:26", "13/12/2010 8:26") == ["2010-12-01 08:26:00", "2010-12-13 08:26:00"]
    assert read("12-01-2010 8:26", "12-13-2010 8:26") == ["2010-12-01 08:26:00", "2010-12-13 08:26:00"]
    assert read("13-12-2010 8:26", "12/1/2010 8:26") == ["2010-12-13 08:26:00", "2010-12-01 08:26:00"]


@pytest.mark.parametrize("text", ["", "1 Dec 2010", "12/1/10 8:26", "2010-13-01 08:26", "12/1-2010 8:26", "1/1/2010"])
def test_what_is_no_date_is_missing(text: str) -> None:
    assert read(text, "2010-12-01 08:26:00") == ["", "2010-12-01 08:26:00"]


def test_a_number_that_is_no_day_says_nothing_of_the_order() -> None:
    assert read("32/1/2010 8:26", "13/13/2010 8:26", "12/1/2010 8:26") == ["", "", "2010-12-01 08:26:00"]


def test_an_order_that_is_not_shown_or_is_not_one_is_told_with_an_example() -> None:
    with pytest.raises(DateOrderError, match="as in '01-12-2010 8:26'"):
        read("01-12-2010 8:26", "02-12-2010 8:26")
    with pytest.raises(
        DateOrderError, match=r"day first, such as '13/12/2010 8:26', and .* such as '12/14/2010 8:26'"
    ):
        read("13/12/2010 8:26", "12/14/2010 8:26")
