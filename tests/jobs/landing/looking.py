"""Look at landed files: at their headers, as an ingest does first, and at their rows."""

from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow.dataset

from jobs.landing.folders import Landing
from jobs.landing.rows import LandedFiles, inspect

D1, D2, D3 = "2026-01-01", "2026-01-02", "2026-01-03"
EVENTS = "user_id,item_id,event_type,ts\nu1,i1,view,2026-01-01T10:00:00Z\n"


def look(landing: Path, table: str = "events", ds: str = D1) -> LandedFiles:
    """Read every header of a table up to a day, and check it against the contract."""
    source = Landing(str(landing))
    days = source.days(table, date.fromisoformat(ds))
    return inspect(source, table, (file for day in days for file in day.files))


def landed(landing: Path, table: str, day: str) -> pd.DataFrame:
    """Return all rows of a day's files."""
    dataset = pyarrow.dataset.dataset(landing / table / f"ds={day}", exclude_invalid_files=True)
    return dataset.to_table().to_pandas()
