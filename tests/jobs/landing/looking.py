"""Look at landed files: at their beginnings, as an ingest does first, and at their rows."""

from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.dataset

from jobs.landing.file_plans import LandedFiles, inspect
from jobs.landing.file_rows import batch_schema, read_batches
from jobs.landing.folders import Landing

D1, D2, D3 = "2026-01-01", "2026-01-02", "2026-01-03"
EVENTS = "user_id,item_id,event_type,ts\nu1,i1,view,2026-01-01T10:00:00Z\n"


def look(landing: Path, table: str = "events", ds: str = D1) -> LandedFiles:
    """Look at all files of a table up to a day, and hold their columns against the contract."""
    source = Landing(str(landing))
    days = source.days(table, date.fromisoformat(ds))
    return inspect(source, table, (file for day in days for file in day.files))


def read(landing: Path, table: str = "events", ds: str = D1) -> list[dict]:
    """Read all rows of a table up to a day, without Spark."""
    files = look(landing, table, ds)
    batches = (batch for plan in files.plans for batch in read_batches(Landing(str(landing)), plan))
    return pa.Table.from_batches(batches, batch_schema(files.columns)).to_pylist()


def landed(landing: Path, table: str, day: str) -> pd.DataFrame:
    """Return all rows of a day's files."""
    dataset = pyarrow.dataset.dataset(landing / table / f"ds={day}", exclude_invalid_files=True)
    return dataset.to_table().to_pandas()
