"""What became of a landing table's rows, and whether a night may go on with them. The night and the check share it.

>>> refusal("data/landing", "events", date(2026, 1, 31), RowCounts(kept=90, set_aside={"wrong_type": 30}), 0.05)
'data/landing/events/ds=2026-01-31: 30 of 120 rows had to be set aside, more than the allowed 5% (30 wrong_type)'
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

import msgspec

from jobs.landing.folders import topic_of

EXACT_DUPLICATE = "exact_duplicate"
CAME_BEFORE = (EXACT_DUPLICATE, "duplicate_event_id", "conflicting_row")
"""Of rows that are right, and that others stand for."""
FEWEST_MET = 5
"""From so many different products in events on, one of them must be in the catalogue, if there is one."""
FEW_ROWS = 20
"""Up to this many rows set aside in a day never stop a run, whatever their share: a small shop has small days."""


class RowCounts(msgspec.Struct):
    """What became of the rows of one landing table, on one day or on several."""

    kept: int = 0
    repeated: int = 0
    """Rows that equal a kept row, in tables where a repeat adds nothing."""
    set_aside: dict[str, int] = {}
    """Rows in quarantine, by reason."""
    unread: dict[str, int] = {}
    """Cells of optional columns that could not be read and are null, by column."""
    unread_examples: dict[str, str] = {}
    """Of each of these columns, one such cell."""
    with_embedding: int = 0
    """Rows of items, kept, that have a vector of the shop's own."""
    reaches_back_to: date | None = None
    """Events of one day: the earliest event_date of a late row with an event_id."""
    nothing_kept: list[str] = []
    """Files whose rows were all set aside, for other reasons than that they came before."""

    @property
    def set_aside_count(self) -> int:
        """All rows in quarantine."""
        return sum(self.set_aside.values())

    @property
    def landed(self) -> int:
        """All rows that came in."""
        return self.kept + self.repeated + self.set_aside_count

    @property
    def keeps_nothing(self) -> bool:
        """Whether all rows, and at least one, were set aside for other reasons than that they came before."""
        return (
            self.set_aside_count > 0
            and not self.kept
            and not self.repeated
            and not {*self.set_aside} & {*CAME_BEFORE}
        )

    def take(self, reason: str | None, count: int) -> None:
        """Count rows by the reason they were set aside; None for rows that are kept."""
        if reason is None:
            self.kept += count
        elif reason == EXACT_DUPLICATE:
            self.repeated += count
        else:
            self.set_aside[reason] = self.set_aside.get(reason, 0) + count

    def take_unread(self, column: str, count: int, example: str) -> None:
        """Count cells of a column that could not be read, with the last of the examples in order of text."""
        self.unread[column] = self.unread.get(column, 0) + count
        self.unread_examples[column] = max(self.unread_examples.get(column, ""), example)

    def unread_in_words(self) -> list[str]:
        """Return a line for each column of which cells could not be read, with such a cell."""
        return [
            f"{column} could not be read in {count:,} rows, such as {self.unread_examples[column]!r}"
            for column, count in sorted(self.unread.items())
        ]

    def to_metrics(self) -> dict[str, object]:
        """Return the counts as a manifest's `metrics`; `Manifest.metrics_as` turns them back."""
        reaches_back_to = {"reaches_back_to": str(self.reaches_back_to)} if self.reaches_back_to else {}
        return {
            "landed": self.landed,
            "kept": self.kept,
            "repeated": self.repeated,
            "set_aside": dict(sorted(self.set_aside.items())),
            **({"unread": dict(sorted(self.unread.items()))} if self.unread else {}),
            **({"with_embedding": self.with_embedding} if self.with_embedding else {}),
            **({"unread_examples": dict(sorted(self.unread_examples.items()))} if self.unread else {}),
        } | reaches_back_to


def total(counts: Iterable[RowCounts]) -> RowCounts:
    """Return the sum of several days' or files' counts, without `reaches_back_to` and `nothing_kept`."""
    days = list(counts)
    summed = RowCounts(sum(of_day.kept for of_day in days), sum(of_day.repeated for of_day in days))
    for of_day in days:
        summed.with_embedding += of_day.with_embedding
        for reason, count in of_day.set_aside.items():
            summed.take(reason, count)
        for column, count in of_day.unread.items():
            summed.take_unread(column, count, of_day.unread_examples[column])
    return summed


def by_day(of_files: Mapping[tuple[date, str], RowCounts]) -> dict[date, RowCounts]:
    """Return the counts of each day, by those of its files; `of_files` has them by day and name."""
    days: dict[date, dict[str, RowCounts]] = {}
    for (ds, name), counts in sorted(of_files.items()):
        days.setdefault(ds, {})[name] = counts
    summed = {ds: total(files.values()) for ds, files in days.items()}
    for ds, files in days.items():
        summed[ds].nothing_kept = _nothing_kept(files)
        late = [counts.reaches_back_to for counts in files.values() if counts.reaches_back_to]
        summed[ds].reaches_back_to = min(late, default=None)
    return summed


def _nothing_kept(files: Mapping[str, RowCounts]) -> list[str]:
    """Return the files of which nothing is kept. Those of a topic are taken together: one may hold a single row."""
    of_topics: dict[str, list[RowCounts]] = {}
    for name, counts in files.items():
        of_topics.setdefault(topic_of(name) or name, []).append(counts)
    useless = {of for of, counts in of_topics.items() if total(counts).keeps_nothing}
    return [name for name in files if (topic_of(name) or name) in useless]


def strangers(landing: str, events: Sequence[str], catalogue: Sequence[str]) -> str:
    """Return why a night stops where no event meets a product, with examples of the ids of both sides."""
    return (
        f"{landing}: no event is about a product of the catalogue: events have item_id {_quoted(events)}, items have "
        f"{_quoted(catalogue)}. Land both with the same ids, or take the folder items away to go without a catalogue"
    )


def _quoted(ids: Sequence[str]) -> str:
    return ", ".join(map(repr, ids))


def refusal(landing: str, name: str, ds: date, of_day: RowCounts, max_share: float) -> str | None:
    """Return why a night stops at a table's day, None if it goes on.

    It stops where nothing is kept of a file, and where more rows were set aside than `max_share` of the day's rows
    (FEW_ROWS if that is more).
    """
    where = f"{landing}/{name}/ds={ds}"
    by_reason = sorted(of_day.set_aside.items(), key=lambda item: (-item[1], item[0]))
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in by_reason)
    if of_day.set_aside.get("future_timestamp"):
        reasons += f"; if folders are days of another time zone than UTC, say time_zone in {name}/_format.toml"
    if of_day.nothing_kept:
        more = f" and of {len(of_day.nothing_kept) - 1} more files" if len(of_day.nothing_kept) > 1 else ""
        return f"{where}: nothing could be kept of {of_day.nothing_kept[0]}{more} ({reasons})"
    if of_day.set_aside_count <= max(FEW_ROWS, max_share * of_day.landed):
        return None
    return (
        f"{where}: {of_day.set_aside_count:,} of {of_day.landed:,} rows had to be set aside, "
        f"more than the allowed {max_share:.0%} ({reasons})"
    )
