"""The version of the code that builds a table or an artifact."""

import hashlib
from functools import cache
from pathlib import Path

SOURCE_ROOT = Path(__file__).resolve().parents[2]


@cache
def code_version() -> str:
    """Return the SHA-256 of the sources a night is made by: `jobs/`, `sql/` and the record's format."""
    digest = hashlib.sha256()
    paths = [
        *SOURCE_ROOT.glob("jobs/**/*.py"),
        *SOURCE_ROOT.glob("sql/**/*.*"),
        SOURCE_ROOT / "serving/snapshot/record.py",
    ]
    for path in sorted(path for path in paths if path.is_file() and "__pycache__" not in path.parts):
        digest.update(path.relative_to(SOURCE_ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
