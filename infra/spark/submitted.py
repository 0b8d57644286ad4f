"""Run a job where a platform itself starts Spark for a Python file, by `spark-submit` or its like.

    spark-submit infra/spark/submitted.py s3://shop/runs/17.json nightly --ds 2026-01-31

Such platforms tell success from failure and no more. So the job's status and its outcome go to the file named first,
a local one or one on `s3://`, as {"status": 3, "outcome": "{…}"}: what a TOPSHELF_JOB_COMMAND (docs/platforms.md)
passes on.
"""

import json
import os
import sys
import tempfile
import traceback
from pathlib import Path

from jobs.cli import main
from jobs.lake.filesystems import filesystem_of


def run(words: list[str]) -> tuple[int, str]:
    """Run a job in this process, as its Spark is here; return its exit status and its outcome."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "outcome.json"
        os.environ["TOPSHELF_OUTCOME"] = str(file)
        sys.argv = ["topshelf", *words]
        try:
            main()
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except Exception:
            traceback.print_exc()
            status = 1
        return status, file.read_text() if file.exists() else ""


def tell(place: str, status: int, outcome: str) -> None:
    """Write what the job came to."""
    folder, _, name = place.rpartition("/")
    files, path = filesystem_of(folder)
    files.create_dir(path)
    with files.open_output_stream(f"{path}/{name}") as stream:
        stream.write(json.dumps({"status": status, "outcome": outcome}).encode())


if __name__ == "__main__":
    place, *words = sys.argv[1:]
    status, outcome = run(words)
    tell(place, status, outcome)
    sys.exit(status)
