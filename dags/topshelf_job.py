"""What all DAGs here share: a task that runs one job's command line, and what every task is owed.

A deployment sets these in the environment of Airflow's processes; without them, the defaults stand:

- TOPSHELF_PYTHON: the Python that has the jobs, `python`
- TOPSHELF_FIRST_NIGHT: nights from this day on are caught up by themselves, and earlier ones cannot be backfilled;
  without it, nights run from now on, and any day can be backfilled
- TOPSHELF_DEADLINE_HOURS: hours that a night may take, waiting included, before it is told to be late, 6
- TOPSHELF_RETRY_DELAY_S: seconds before a first retry, 60; doubled each time
"""

import os
import subprocess
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import BaseSensorOperator, Context
from airflow.sdk.exceptions import AirflowException, AirflowSkipException
from topshelf_alerts import notices

HEAVY_POOL = "topshelf_heavy"
"""Holds as many slots as jobs that fill the machine may run at once: one, unless the deployment has room for more."""
REFUSED_STATUS = 3
"""Exit status of a publish that a gate held back."""
NOT_YET_STATUS = 4
"""Exit status of `topshelf landed` for a day that has not landed."""
FIRST_NIGHT = os.environ.get("TOPSHELF_FIRST_NIGHT", "")
DEADLINE = timedelta(hours=float(os.environ.get("TOPSHELF_DEADLINE_HOURS", "6")))

# A manual run's logical date is the moment of the click, so only `params` can say which day is meant.
DAY = (
    "{{ ds if dag_run.run_type in ('scheduled', 'backfill') "
    "else (params.ds or 'a manual run must say its day: trigger it with ds set, as 2026-01-31') }}"
)

DEFAULT_ARGS: dict[str, Any] = {
    "owner": "topshelf",
    "retries": 3,
    "retry_delay": timedelta(seconds=float(os.environ.get("TOPSHELF_RETRY_DELAY_S", "60"))),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=30),
    "execution_timeout": timedelta(hours=3),
    # What was begun is finished before more is begun: of two nights at once, the one further on goes first.
    "weight_rule": "upstream",
    "on_failure_callback": notices("task_failed"),
}


def start_date() -> datetime:
    """Return the first day that can be run: TOPSHELF_FIRST_NIGHT, else one that lies before any shop's data."""
    return datetime.fromisoformat(FIRST_NIGHT) if FIRST_NIGHT else datetime(2000, 1, 1)


class JobOperator(BashOperator):
    """Runs `python -m jobs <job>`; the job's last line of output is the task's result, or its failure's reason.

    A job that ends with REFUSED_STATUS skips its task, with that line as the reason.
    """

    def __init__(self, *, job: str, arguments: Sequence[str] = (), by_day: bool = True, **given: Any) -> None:
        words = [f'exec "${{TOPSHELF_PYTHON:-python}}" -m jobs {job}']
        # The day comes through the environment, never in the command's text.
        words += ['--ds "$TOPSHELF_DS"'] if by_day else []
        super().__init__(
            bash_command=" ".join([*words, *arguments]),
            env={"TOPSHELF_DS": DAY} if by_day else {},
            append_env=True,
            **given,
        )

    def execute(self, context: Context) -> str:
        """Run the command; raise what its exit status means."""
        done = self.subprocess_hook.run_command(["bash", "-c", self.bash_command], env=self.get_env(context))
        if done.exit_code == REFUSED_STATUS:
            raise AirflowSkipException(done.output)
        if done.exit_code:
            raise AirflowException(f"exit status {done.exit_code}: {done.output}")
        return str(done.output)


class LandedSensor(BaseSensorOperator):
    """Waits for a day's events by asking the jobs, which reach landing wherever it lies."""

    template_fields: Sequence[str] = ("day",)

    def __init__(self, *, day: str, **given: Any) -> None:
        super().__init__(**given)
        self.day = day

    def poke(self, context: Context) -> bool:
        """Tell whether the day has landed."""
        python = os.environ.get("TOPSHELF_PYTHON", "python")
        done = subprocess.run([python, "-m", "jobs", "landed", "--ds", self.day], check=False)
        if done.returncode not in (0, NOT_YET_STATUS):
            raise AirflowException(f"landing could not be looked at: exit status {done.returncode}; see the log")
        return done.returncode == 0
