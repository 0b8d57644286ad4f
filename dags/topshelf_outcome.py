"""What a job came to, as Airflow's tasks show it, wherever the job ran.

A job says it twice: by its exit status, and in the file that TOPSHELF_OUTCOME names (jobs/config/outcome.py).
"""

import json
from collections.abc import Sequence
from typing import Any, cast

from airflow.sdk import Asset, AssetAlias, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from topshelf_alerts import SKIP_REASON

USAGE_STATUS = 2
"""Exit status of a command line that is wrong."""
REFUSED_STATUS = 3
"""Exit status of a publish that a gate held back."""
NOT_YET_STATUS = 4
"""Exit status of `topshelf landed` for a day that has not landed."""
TOP_N_PUBLISHED = Asset(name="top_n_published", uri="topshelf://snapshot/top_n")
PROMOTION = AssetAlias("top_n_promotion")
"""An outlet of this adds an event to TOP_N_PUBLISHED when a snapshot goes live, and none when it does not."""


def outcome_in(text: str) -> dict[str, Any]:
    """Return the facts of an outcome's file; none where the job, or what carried the file, was cut off."""
    try:
        facts = json.loads(text)
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def conclude(status: int, text: str, last_line: str, outlets: Sequence[Any], context: Context) -> str:
    """Return a job's last line as its task's result; tell of a snapshot that went live.

    Raises:
        AirflowSkipException: a gate held the snapshot back.
        AirflowFailException: only people can mend it, such as a corrupt file. It is not tried again.
        AirflowException: any other failure.
    """
    outcome = outcome_in(text)
    if status:
        raise _error(status, str(outcome.get("reason") or last_line), outcome, context)
    if outcome.get("promoted") and PROMOTION in outlets:
        about = {name: outcome[name] for name in ("version", "day", "users", "items")}
        context["outlet_events"][PROMOTION].add(TOP_N_PUBLISHED, extra=about)
    return last_line


def _error(status: int, reason: str, outcome: dict[str, Any], context: Context) -> AirflowException:
    if status == REFUSED_STATUS:
        cast(dict[str, Any], context)[SKIP_REASON] = reason  # Airflow gives callbacks of a skip no exception
        return AirflowSkipException(reason)
    if outcome.get("lasting") or status == USAGE_STATUS:
        return AirflowFailException(reason)
    return AirflowException(f"exit status {status}: {reason}")
