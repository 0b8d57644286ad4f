"""What an ingest remarked on what it read: rows kept and set aside by reason, columns missing and passed over.

Remarks stand in the metrics of each day's `staging/quarantine`, so that a night which finds the day current can tell
them too, and the report.

>>> remarks_of(lake, date(2026, 1, 31)).lines
"""

from collections.abc import Mapping, Sequence
from datetime import date

import msgspec

from jobs.lake.lake import Lake
from jobs.lake.tables import QUARANTINE

MOST_LINES = 100
MOST_CHARACTERS = 500


class Remarks(msgspec.Struct, frozen=True):
    """The remarks of the run that read a day. It may have read others too: all lines are of all of them."""

    days_read: list[date] = []
    """The first and the last day that the run read."""
    lines: list[str] = []

    @property
    def span(self) -> str:
        """The days read, in words."""
        return " to ".join(str(day) for day in dict.fromkeys(self.days_read))


def remarks_of(lake: Lake, ds: date) -> Remarks:
    """Return what was remarked when a day was read; nothing where it never was, or by an earlier version."""
    manifest = lake.find_manifest(QUARANTINE, ds)
    return manifest.metrics_as(Remarks) if manifest else Remarks()


def remarks_as_metrics(days: Sequence[date], lines: Sequence[str]) -> Mapping[str, object]:
    """Return the remarks on `days`, ascending, as the metrics of a manifest."""
    return {"days_read": [str(days[0]), str(days[-1])], "lines": shortened(lines)}


def shortened(lines: Sequence[str]) -> list[str]:
    """Return at most MOST_LINES lines, the last of which counts the others, of at most MOST_CHARACTERS each."""
    kept = lines if len(lines) <= MOST_LINES else lines[: MOST_LINES - 1]
    more = [f"and {len(lines) - len(kept):,} more"] if len(kept) < len(lines) else []
    return [_shortened(line) for line in kept] + more


def _shortened(line: str) -> str:
    whole = line.encode(errors="backslashreplace").decode()  # half a surrogate pair cannot be read back from JSON
    return whole if len(whole) <= MOST_CHARACTERS else whole[: MOST_CHARACTERS - 1] + "…"
