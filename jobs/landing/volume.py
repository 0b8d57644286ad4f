"""Hold a day's events against the same weekday before it: a day that is marked too early has few.

>>> usual = usual_events(date(2026, 1, 31), kept_on)
>>> volume_remark(usual, kept=400)
'400 events, where this weekday usually has 1,000'
"""

from collections.abc import Callable
from datetime import date, timedelta
from statistics import median

WEEKS = 4
"""So many of the same weekday before are looked at."""
FEWEST_WEEKS = 2
"""With fewer of them, nothing is usual yet."""
FEW_SHARE = 0.5
"""Below this share of what is usual, a day is remarked on."""
LARGE_DAY = 1_000
"""From so many usual events on, a day can stop a night: a small shop has empty days."""


def usual_events(ds: date, kept_on: Callable[[date], int | None]) -> int | None:
    """Return the median of the same weekday's events in the WEEKS before, None where too few of them are known.

    `kept_on` returns a day's events, None for a day that did not land.
    """
    before = [kept_on(ds - timedelta(weeks=week)) for week in range(1, WEEKS + 1)]
    known = [kept for kept in before if kept is not None]
    return round(median(known)) if len(known) >= FEWEST_WEEKS else None


def volume_remark(usual: int | None, kept: int) -> str | None:
    """Return in words that a day has few events, None where it has not."""
    if usual is None or kept >= FEW_SHARE * usual:
        return None
    return f"{kept:,} events, where this weekday usually has {usual:,}"


def volume_refusal(landing: str, ds: date, usual: int | None, kept: int, min_share: float) -> str | None:
    """Return why a night stops at a day with too few events, None if it goes on."""
    if usual is None or usual < LARGE_DAY or kept >= min_share * usual:
        return None
    return (
        f"{landing}/events/ds={ds}: {volume_remark(usual, kept)}, less than the allowed {min_share:.0%}; "
        "land the rest of the day. If the day is right, as on a holiday, run it with "
        "TOPSHELF_PARAMETERS__STAGING__MIN_VOLUME_SHARE=0"
    )
