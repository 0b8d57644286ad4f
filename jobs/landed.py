"""Tell whether a day's events have landed whole: exit status 0 if so, 4 if not yet.

python -m jobs.landed --ds 2026-01-31 --landing s3://shop/landing
"""

import sys
from datetime import date

from pyarrow import fs

from jobs.filesystems import filesystem_of
from jobs.landing import SUCCESS
from jobs.settings import stage_arguments

NOT_YET_STATUS = 4


def has_landed(landing: str, ds: date) -> bool:
    """Tell whether `landing/events/ds=<day>` is marked as complete; `landing` is a folder or `s3://bucket/prefix`."""
    filesystem, base = filesystem_of(landing)
    return bool(filesystem.get_file_info(f"{base}/events/ds={ds}/{SUCCESS}").type == fs.FileType.File)


def main() -> None:
    """Look from the command line."""
    given = stage_arguments(__doc__)
    landed = has_landed(given.settings.landing, given.ds)
    print(f"{given.settings.landing}/events/ds={given.ds} {'has' if landed else 'has not'} landed")
    sys.exit(0 if landed else NOT_YET_STATUS)


if __name__ == "__main__":
    main()
