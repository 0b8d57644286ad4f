"""Drop what the lake derived from erased shoppers.

`jobs.landing.tombstones` takes their rows out of landing, and the next night stages the changed days again, with
their quarantine. Here the derived partitions that hold an erased shopper are removed; those still needed are built
again. Snapshots leave by their own retention. The endpoint serves nothing personal from the moment of the erasure
(`serving.snapshot.tombstones`), so removal may wait for the weekly run.
"""

from datetime import UTC, date, datetime

import pyarrow.compute as pc
from pyarrow import fs

from jobs.lake.filesystems import filesystem_of
from jobs.lake.lake import Lake
from jobs.lake.manifest import MANIFEST_NAME
from jobs.lake.tables import SETTLED_EVENTS
from serving.snapshot.tombstones import Tombstones

DERIVED = (
    SETTLED_EVENTS,
    "features/user",
    "features/newcomer",
    "features/user_item",
    "features/user_category",
    "marts/candidates",
    "marts/top_n",
    "marts/shopper_lists",
    "marts/examples",
    "marts/labels",
    "marts/shown",
    "marts/experiment_units",
)


def drop_from_lake(lake: Lake, tombstones: Tombstones) -> list[str]:
    """Remove derived partitions that hold a user erased on or after the partition's day; return their names."""
    dropped = []
    for table in DERIVED:
        for ds in lake.days(table):
            day_start = datetime(ds.year, ds.month, ds.day, tzinfo=UTC).timestamp()
            owner = "owner" if table == SETTLED_EVENTS else "user_id"
            users = pc.unique(lake.arrow(table, ds, [owner])[owner]).to_pylist()
            if any((at := tombstones.erased_at(user)) is not None and at >= day_start for user in users if user):
                drop(lake, table, ds)
                dropped.append(f"{table}/ds={ds}")
    return dropped


def drop(lake: Lake, table: str, ds: date) -> None:
    """Remove one partition, its manifest first, so that nothing half removed is trusted."""
    filesystem, base = filesystem_of(lake.root)
    folder = f"{base}/{table}/ds={ds}"
    if filesystem.get_file_info(f"{folder}/{MANIFEST_NAME}").type == fs.FileType.File:
        filesystem.delete_file(f"{folder}/{MANIFEST_NAME}")
    filesystem.delete_dir(folder)
