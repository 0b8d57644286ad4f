"""Read without Spark what landed since the night. Its days are still being written, so only good rows count.

>>> recent_rows("data/landing", "events", [date(2026, 2, 1)], ("item_id", "ts"))
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake.contracts import contract
from jobs.lake.tables import STAGED_AS
from jobs.landing.file_plans import FILE_ERRORS, inspect
from jobs.landing.file_rows import read_batches
from jobs.landing.folders import LandedFile, Landing
from jobs.landing.vectors import VECTOR


def recent_rows(landing: str, table: str, days: Iterable[date], columns: Sequence[str]) -> tuple[pa.Table, list[str]]:
    """Return the good rows of some days, as the night reads them, and a message for each skipped file.

    Columns are text, vectors are lists of numbers; rows are ordered by day and file. A column that a file lacks is
    null. A file that cannot be read is skipped: it may still be being written. If it stays unreadable, the night
    stops and names it.
    """
    source = Landing(landing)
    tables, skipped = [], []
    for ds in sorted(days):
        for file in source.files_of(table, ds):
            try:
                tables += list(_good_rows(source, file, columns))
            except FILE_ERRORS as error:
                skipped.append(f"{table}/ds={ds}/{file.name}: {str(error).splitlines()[0]}")
    return pa.concat_tables([_schema(table, columns).empty_table(), *tables]), skipped


def _schema(table: str, columns: Sequence[str]) -> pa.Schema:
    types = {column.name: column.type for column in contract(STAGED_AS[table]).landing}
    return pa.schema([(name, VECTOR if types[name] == "array<float>" else pa.string()) for name in columns])


def _good_rows(source: Landing, file: LandedFile, columns: Sequence[str]) -> Iterator[pa.Table]:
    schema = _schema(file.table, columns)
    for batch in read_batches(source, inspect(source, file.table, [file]).plans[0]):
        good = batch.filter(pc.is_null(batch.column("fault")))
        yield pa.table([good.column(of.name).cast(of.type) for of in schema], schema)
