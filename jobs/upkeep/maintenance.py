"""Once a week: remove old partitions, carry out erasures, and prove that the archive can be restored.

    topshelf maintain --landing data/landing --lake data/lake --archive s3://shop/archive

`runs/maintenance/<day>.json` in the lake records what was done.
"""

import tempfile
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta

from pyarrow import fs

from jobs.config.retention import Retention
from jobs.config.settings import Settings
from jobs.lake.filesystems import filesystem_of
from jobs.lake.lake import Lake
from jobs.lake.locks import held
from jobs.lake.tables import HELD_OUT
from jobs.landing.tombstones import erase_from_landing, erased_users
from jobs.publishing.archive import open_archive
from jobs.upkeep.erasure import drop, drop_from_lake
from serving.snapshot.manifest import StoreError
from serving.stores import open_store

REPORT_TABLES = ("marts/validation", "marts/evaluation", "runs")
"""They may quote rows, so they are removed before the 30 days of an erasure are over."""
STILL_WRITTEN_DAYS = 3
"""The endpoint may still write files of this many latest days, so they are left for the next run."""

KEPT = Retention()


@dataclass
class MaintenanceReport:
    """What one run of maintenance did."""

    day: date
    erased_users: int = 0
    redacted_rows: dict[str, int] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    restored: str = ""

    def __str__(self) -> str:
        rows = sum(self.redacted_rows.values())
        return (
            f"{len(self.forgotten)} old partitions removed; {self.erased_users} users erased so far, in this run "
            f"{rows:,} landed rows and {len(self.dropped)} partitions; {self.restored}"
        )


def maintain(settings: Settings, today: date, retention: Retention = KEPT) -> MaintenanceReport:
    """Do the week's work and record it.

    Raises:
        StoreError: the archive's newest snapshot cannot be restored.
    """
    lake, done = Lake(settings.lake), MaintenanceReport(today)
    tombstones = erased_users(settings.landing)
    done.erased_users = len(tombstones)
    with held(lake.root, "staging"), held(lake.root, "features"):
        if len(tombstones):
            before = today - timedelta(days=STILL_WRITTEN_DAYS)
            done.redacted_rows = erase_from_landing(settings.landing, tombstones, before)
            for each in (lake, Lake(f"{lake.root}/{HELD_OUT}")):
                done.dropped += drop_from_lake(each, tombstones)
        done.forgotten = forget(lake, settings.landing, today, retention)
    done.restored = prove_archive(settings.archive)
    days = {"day": str(today), "redacted_before": str(today - timedelta(days=STILL_WRITTEN_DAYS))}
    lake.put_json(f"runs/maintenance/{today}.json", asdict(done) | days)
    return done


def forget(lake: Lake, landing: str, today: date, retention: Retention = KEPT) -> list[str]:
    """Remove derived partitions, reports and landed exposures that are too old; return their names.

    Staging is kept for good, as it is the shop's history.
    """
    removed = []
    for each in (lake, Lake(f"{lake.root}/{HELD_OUT}")):
        tables = [table for layer in ("features", "artifacts", "marts") for table in _folders(each.root, layer)]
        for table in [*tables, "runs"]:
            days = retention.reports_days if table in REPORT_TABLES else retention.derived_days
            removed += _forget_days(each, table, today - timedelta(days=days))
    before = today - timedelta(days=retention.exposures_days)
    return removed + [f"landing/{name}" for name in _forget_days(Lake(landing), "exposures", before)]


def _forget_days(lake: Lake, table: str, before: date) -> list[str]:
    old = [ds for ds in _days(lake.root, table) if ds < before]
    for ds in old:
        drop(lake, table, ds)
    return [f"{table}/ds={ds}" for ds in old]


def _folders(root: str, layer: str) -> list[str]:
    filesystem, base = filesystem_of(root)
    infos = filesystem.get_file_info(fs.FileSelector(f"{base}/{layer}", allow_not_found=True))
    return sorted(f"{layer}/{info.base_name}" for info in infos if info.type == fs.FileType.Directory)


def _days(root: str, table: str) -> list[date]:
    names = (folder.rpartition("/")[2] for folder in _folders(root, table))
    return sorted(date.fromisoformat(name[3:]) for name in names if name.startswith("ds="))


def prove_archive(archive_url: str) -> str:
    """Restore the archive's newest snapshot into a temporary store, compare the two, and return a sentence about it.

    Raises:
        StoreError: a part is missing or altered.
    """
    if not archive_url:
        return "no archive is configured, so none was restored"
    with closing(open_archive(archive_url)) as archive, tempfile.TemporaryDirectory() as folder:
        versions = archive.versions()
        if not versions:
            return f"{archive_url} holds no snapshot yet"
        newest = max(versions, key=lambda manifest: (manifest.day, manifest.published_at))
        with closing(open_store(f"lmdb://{folder}/store")) as store:
            restored = archive.restore(newest.version, store)
        if restored.hash != newest.hash:
            raise StoreError(
                f"{newest.version} restored from {archive_url} is not what was archived; archive it again"
            )
        return f"{newest.version} was restored from the archive, {restored.users:,} users"
