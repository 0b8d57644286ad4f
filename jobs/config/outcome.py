"""What a command came to, for the program that started it: JSON in the file that TOPSHELF_OUTCOME names.

    {"reason": "landing/events/ds=2026-01-31/a.parquet: it is cut off; land it again", "lasting": true}
    {"promoted": true, "version": "2026-01-31-5c0e", "day": "2026-01-31", "users": 800, "items": 1200, "reason": "…"}

Airflow's tasks read it: text for people changes, these names do not. Without the variable nothing is written.
It is ASCII of at most LIMIT_BYTES, as Kubernetes keeps no more of a pod that has ended; a longer reason is cut.
"""

import json
import os
from pathlib import Path

LIMIT_BYTES = 4096


def write_outcome(reason: str, **facts: object) -> None:
    """Write the reason and the facts, over those of before."""
    if path := os.environ.get("TOPSHELF_OUTCOME"):
        text = json.dumps({"reason": reason, **facts})
        while len(text) > LIMIT_BYTES:
            over = len(text) - LIMIT_BYTES
            reason = reason[: -over // 12 - 2] + "…"  # a letter is at most twelve bytes
            text = json.dumps({"reason": reason, **facts})
        Path(path).write_text(text)


def is_lasting(error: Exception) -> bool:
    """Tell whether trying again cannot help: an error of ours about what was given, such as a file or a setting.

    A full disk, a store out of reach, a lock, and whatever nobody foresaw may heal.
    """
    is_ours = type(error).__module__.split(".")[0] in ("jobs", "serving")
    return is_ours and isinstance(error, ValueError | LookupError)
