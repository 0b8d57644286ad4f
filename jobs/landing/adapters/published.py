"""Read published csv files as text, and refuse files that are not what was published.

>>> read_published(Path("events.csv.gz"), ["user", "item", "event", "ts"])
"""

import csv
import gzip
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv

BLOCK_BYTES = 16 << 20
BlockFilter = Callable[[pa.RecordBatch], pa.RecordBatch]


class SourceError(Exception):
    """A published file cannot be read. The message names the file, the fault and the remedy."""


def published_file(src: Path, stem: str) -> Path | None:
    """Return `src/<stem>.csv` or `src/<stem>.csv.gz`, or None when neither exists.

    Raises:
        SourceError: both exist.
    """
    paths = [path for path in (src / f"{stem}.csv", src / f"{stem}.csv.gz") if path.is_file()]
    if len(paths) > 1:
        raise SourceError(f"{src} holds {stem}.csv and {stem}.csv.gz; remove one of them")
    return paths[0] if paths else None


def read_published(
    path: Path,
    columns: list[str],
    renamed: Mapping[str, str] | None = None,
    keep: BlockFilter | None = None,
) -> pd.DataFrame:
    """Return `columns` of one published `.csv` or `.csv.gz` as text; a missing value is ''. Ignore other columns.

    `renamed` maps other published names of a column to ours. `keep` filters each block before the next is read, for
    files that do not fit in memory.

    Raises:
        SourceError: the file is empty, cut short or no csv, or lacks a column.
    """
    renamed = renamed or {}
    try:
        header = _header(path)
        published = [name for name in header if renamed.get(name, name) in columns]
        _require_columns(path, header, [renamed.get(name, name) for name in published], columns)
        try:
            rows = _read_text(path, published, keep, "utf8")
        except UnicodeError:
            rows = _read_text(path, published, keep, "latin-1")  # as Kaggle's copy of Online Retail
    except (OSError, EOFError, zlib.error, pa.ArrowInvalid) as error:
        raise SourceError(f"{path} cannot be read ({error}); get the published file again") from error
    return rows.rename(columns=renamed)[columns]


def rows_to_keep(faults: Mapping[str, pd.Series]) -> tuple[pd.Series, dict[str, int]]:
    """Return which rows have none of the faults, and how many have each; a row counts for its first fault.

    `faults` holds a boolean series for each reason to leave a row out, all of the same index.
    """
    left_out: dict[str, int] = {}
    kept = pd.Series(True, index=next(iter(faults.values())).index)
    for reason, at_fault in faults.items():
        left_out[reason] = int((kept & at_fault).sum())
        kept &= ~at_fault
    return kept, left_out


def _header(path: Path) -> list[str]:
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        first_line = file.readline().decode("utf-8-sig", errors="replace").strip()
    if not first_line:
        raise SourceError(f"{path} is empty; get the published file again")
    return next(csv.reader([first_line]))


def _require_columns(path: Path, header: list[str], present: list[str], wanted: list[str]) -> None:
    missing = [column for column in wanted if column not in present]
    if missing:
        raise SourceError(
            f"{path} has no column {', '.join(missing)} (it has: {', '.join(header)}); "
            f"the published file has {','.join(wanted)}"
        )


def _read_text(path: Path, names: list[str], keep: BlockFilter | None, encoding: str) -> pd.DataFrame:
    """Return the named columns as text.

    Raises:
        UnicodeError: the file is not in `encoding`.
    """
    try:
        with pa_csv.open_csv(
            path,
            read_options=pa_csv.ReadOptions(block_size=BLOCK_BYTES, encoding=encoding),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), include_columns=names, strings_can_be_null=False
            ),
        ) as reader:
            blocks = [keep(block) if keep else block for block in reader]
            return pa.Table.from_batches(blocks, schema=reader.schema).to_pandas()
    except pa.ArrowInvalid as error:
        if "invalid UTF8" in str(error):
            raise UnicodeError(str(error)) from error
        raise
