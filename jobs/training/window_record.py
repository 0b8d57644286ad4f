"""The record of a night's windows, `runs/ds=<day>/label_windows.json`: what the stage train_ranker trains on.

>>> windows = current_windows(lake, ds, parameters)
"""

from collections.abc import Sequence
from datetime import date

import msgspec

from jobs.config.parameters import Parameters
from jobs.lake.code_version import code_of
from jobs.lake.lake import Lake
from jobs.lake.tables import EXAMPLES, HELD_OUT
from jobs.training import windows
from jobs.training.examples import Window


class RecordedWindow(msgspec.Struct, frozen=True):
    """One window as the record has it."""

    ds: date
    held_out: bool
    calibrates: bool
    examples: str | None
    """Fingerprint of its examples, None if they are not built."""


class WindowRecord(msgspec.Struct, frozen=True):
    """The windows of one night, and what they were built with."""

    windows: tuple[RecordedWindow, ...]
    parameters: str
    code: str


def build_and_record(lake: Lake, ds: date, parameters: Parameters) -> list[Window]:
    """Build the windows of night `ds` and record them: train_ranker may run as a command of its own."""
    built = windows.build(lake, ds, parameters)
    lake.put_json(_path(ds), msgspec.to_builtins(_record_of(lake, built, parameters)))
    return built


def read_windows(lake: Lake, ds: date) -> list[Window]:
    """Return the windows that were last recorded for night `ds`; none without a record."""
    record = _read(lake, ds)
    held_out = Lake(f"{lake.root}/{HELD_OUT}")
    recorded = record.windows if record else ()
    return [Window(held_out if window.held_out else lake, window.ds, window.calibrates) for window in recorded]


def current_windows(lake: Lake, ds: date, parameters: Parameters) -> list[Window] | None:
    """Return the recorded windows of night `ds`, maybe none; None if there is no record, or if it is out of date.

    It is out of date when examples, parameters or code have changed since.
    """
    recorded = read_windows(lake, ds)
    return recorded if _record_of(lake, recorded, parameters) == _read(lake, ds) else None


def _path(ds: date) -> str:
    return f"runs/ds={ds}/label_windows.json"


def _read(lake: Lake, ds: date) -> WindowRecord | None:
    record = lake.get_json(_path(ds))
    return msgspec.convert(record, WindowRecord) if record else None


def _record_of(lake: Lake, built: Sequence[Window], parameters: Parameters) -> WindowRecord:
    return WindowRecord(
        windows=tuple(
            RecordedWindow(window.ds, window.lake.root != lake.root, window.calibrates, _examples_fingerprint(window))
            for window in built
        ),
        parameters=parameters.digest(),
        code=code_of(windows.__name__).digest,
    )


def _examples_fingerprint(window: Window) -> str | None:
    manifest = window.lake.find_manifest(EXAMPLES, window.ds)
    return manifest.fingerprint if manifest else None
