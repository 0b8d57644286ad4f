"""Marks days of events as complete, for a shop whose events come only through its endpoints.

landing/events/ds=2026-01-31/_SUCCESS       empty
"""

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from serving.logs.file_log import FileLog, Mark
from serving.logs.landed_rows import received_s
from serving.stores.places import place_of

_MARK_AFTER_S = 900  # late senders have this long after a day's end before the day is marked complete
_SUCCESS = "_SUCCESS"


class CompleteDays:
    """The marks under a landing, a folder or `s3://bucket/prefix`."""

    def __init__(self, landing: str) -> None:
        self._landing, self._marked_to = landing, date.min

    def mark(self, now_s: float, waiting_since_s: float | None) -> None:
        """Mark every day from the first day of events on that ended at least 15 minutes ago and is wholly landed.

        `waiting_since_s` is when the oldest event was received that is not landed yet. Raises OSError or StoreError.
        """
        end = datetime.fromtimestamp(now_s - _MARK_AFTER_S, UTC).date()
        if waiting_since_s is not None:
            end = min(end, datetime.fromtimestamp(waiting_since_s, UTC).date())
        if end <= self._marked_to:
            return
        place = place_of(self._landing)
        marked = _mark_in_folder(place, end) if isinstance(place, Path) else _mark_on_s3(self._landing, end)
        if marked:
            self._marked_to = end


def oldest_event_s(events: FileLog, landed_to: Mark) -> float | None:
    """When the oldest event was received that is not landed yet, in UTC seconds; None where all are landed."""
    with closing(events.reader(landed_to)) as reader:
        while block := reader.read():
            for line in block.splitlines():
                if (received := received_s(line)) is not None:
                    return received
    return None


def _mark_in_folder(landing: Path, end: date) -> bool:
    folder = landing / "events"

    def mark(day: date) -> None:
        path = folder / f"ds={day}" / _SUCCESS
        path.parent.mkdir(exist_ok=True)
        path.touch()

    folders = [path.name for path in folder.glob("ds=*")]
    return _mark_days(folders, end, lambda day: (folder / f"ds={day}" / _SUCCESS).exists(), mark)


def _mark_on_s3(landing: str, end: date) -> bool:
    from serving.stores.s3 import QUICK, S3Prefix

    with closing(S3Prefix(landing, QUICK, "days are marked later")) as place:

        def key(day: date) -> str:
            return place.key("events", f"ds={day}", _SUCCESS)

        return _mark_days(
            place.folders("events"),
            end,
            lambda day: place.holds(key(day)),
            lambda day: place.write_once(key(day), b""),
        )


def _mark_days(
    folders: list[str], end: date, is_marked: Callable[[date], bool], mark: Callable[[date], None]
) -> bool:
    """Mark the days before `end` back to the newest that is marked; return whether there is a day of events.

    Marks are set from the oldest day on, so all days before a marked one are marked.
    """
    days = sorted(date.fromisoformat(name.removeprefix("ds=")) for name in folders if name.startswith("ds="))
    unmarked = []
    day = end - timedelta(days=1)
    while days and day >= days[0] and not is_marked(day):
        unmarked.append(day)
        day -= timedelta(days=1)
    for day in reversed(unmarked):
        mark(day)
    return bool(days)
