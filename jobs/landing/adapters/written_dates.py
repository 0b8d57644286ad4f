"""Read dates with times as people write them: ISO 8601, or day and month in the order that the whole column shows.

>>> times_of(pd.Series(["2010-12-01 08:26:00", "13.12.2010 9:02"]))
"""

import pandas as pd

_ISO = r"(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})[T ](?P<time>\d{2}:\d{2}(?::\d{2})?)"
_NUMBERS = (
    r"(?P<first>\d{1,2})(?P<sign>[/.-])(?P<second>\d{1,2})(?P=sign)(?P<year>\d{4}) (?P<time>\d{1,2}:\d{2}(?::\d{2})?)"
)
_DAY_FIRST = {"/": False, ".": True}
"""The order where no date of a column shows it: nobody writes a month first with dots; with dashes both are usual."""


class DateOrderError(ValueError):
    """A column does not show whether the day or the month stands first. The message gives examples."""


def times_of(texts: pd.Series) -> pd.Series:
    """Return times without a zone, missing where a text is no date with a time in hours and minutes.

    A column's dates with one sign between the numbers (`/`, `.` or `-`) have one order, the one that their numbers
    above 12 show.

    Raises:
        DateOrderError: they show both orders, or, with dashes, none.
    """
    distinct = pd.Series(texts.unique(), dtype=object)
    iso = distinct.str.extract(f"^{_ISO}$")
    times = _parsed(iso["year"], iso["month"], iso["day"], iso["time"])
    numbers = distinct.str.extract(f"^{_NUMBERS}$")
    for sign, rows in numbers.groupby("sign"):
        is_day_first = _is_day_first(str(sign), rows, distinct)
        day, month = ("first", "second") if is_day_first else ("second", "first")
        times = times.fillna(_parsed(rows["year"], rows[month], rows[day], rows["time"]))
    return texts.map(dict(zip(distinct, times, strict=True))).astype("datetime64[ns]")


def _parsed(year: pd.Series, month: pd.Series, day: pd.Series, time: pd.Series) -> pd.Series:
    hour = time.str.split(":", n=1).str
    written = year + "-" + month.str.zfill(2) + "-" + day.str.zfill(2) + " " + hour[0].str.zfill(2) + ":" + hour[1]
    seconds = written.where(written.str.len() > len("2010-12-01 08:26"), written + ":00")
    return pd.to_datetime(seconds, format="%Y-%m-%d %H:%M:%S", errors="coerce")


def _is_day_first(sign: str, rows: pd.DataFrame, distinct: pd.Series) -> bool:
    first, second = rows["first"].astype(int), rows["second"].astype(int)
    can_be = (first.clip(upper=second) <= 12) & (first.clip(lower=second) <= 31)
    with_day_first = rows.index[can_be & (first > 12)]
    with_month_first = rows.index[can_be & (second > 12)]
    if len(with_day_first) and len(with_month_first):
        raise DateOrderError(
            f"some dates have the day first, such as {distinct[with_day_first[0]]!r}, and some the month, such as "
            f"{distinct[with_month_first[0]]!r}"
        )
    if len(with_day_first) or len(with_month_first):
        return bool(len(with_day_first))
    if sign not in _DAY_FIRST:
        raise DateOrderError(
            f"no date shows whether the day or the month stands first, as in {distinct[rows.index[0]]!r}"
        )
    return _DAY_FIRST[sign]
