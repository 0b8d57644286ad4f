"""What all DAGs here share: a task that runs one job's command line, and what every task is owed.

docs/settings.md lists what a deployment may set in the environment of Airflow's processes.
"""

import os
import subprocess
import tempfile
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.sensors.filesystem import FileSensor
from airflow.sdk import BaseOperator, BaseSensorOperator, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSensorTimeout
from topshelf_alerts import notices
from topshelf_outcome import NOT_YET_STATUS, conclude
from topshelf_places import HOME, landing_place

HEAVY_POOL = "topshelf_heavy"
"""Holds as many slots as jobs that fill the machine may run at once: one, unless the deployment has room for more."""
FIRST_NIGHT = os.environ.get("TOPSHELF_FIRST_NIGHT", "")
DEADLINE = timedelta(hours=float(os.environ.get("TOPSHELF_DEADLINE_HOURS", "6")))
RUN_JOBS_IN = os.environ.get("TOPSHELF_RUN_JOBS_IN", "")
"""Where jobs run: `kubernetes` for a pod each, empty for JOB_COMMAND."""
JOB_COMMAND = '${TOPSHELF_JOB_COMMAND:-"${TOPSHELF_PYTHON:-python}" -m jobs}'
"""What a job's words are given to, in Bash. docs/platforms.md has the contract of TOPSHELF_JOB_COMMAND."""

# A manual run's logical date is the moment of the click, so only `params` can say which day is meant.
DAY = "{{ ds if dag_run.run_type in ('scheduled', 'backfill') else (params.ds or '') }}"
NO_DAY = "a manual run must say its day: trigger it again with ds set, as 2026-01-31"

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


def job_task(job: str, **given: Any) -> BaseOperator:
    """Return the task that runs a job, where this deployment runs jobs.

    Raises:
        ValueError: TOPSHELF_RUN_JOBS_IN names no place that is known.
        ModuleNotFoundError: jobs run in Kubernetes, and Airflow's provider for it is not installed.
    """
    if RUN_JOBS_IN == "kubernetes":
        from topshelf_pods import JobPodOperator

        return JobPodOperator(job=job, **given)
    if RUN_JOBS_IN:
        raise ValueError(f"TOPSHELF_RUN_JOBS_IN is {RUN_JOBS_IN!r}; give kubernetes, or leave it out")
    return JobOperator(job=job, **given)


class JobOperator(BashOperator):
    """Runs `python -m jobs <job>` in HOME, or what TOPSHELF_JOB_COMMAND puts in its place.

    The job's last line of output is the task's result. What else the job came to stands in the file that
    TOPSHELF_OUTCOME names, and `topshelf_outcome.conclude` tells what it means.
    """

    def __init__(self, *, job: str, arguments: Sequence[str] = (), by_day: bool = True, **given: Any) -> None:
        words = [f"exec {JOB_COMMAND} {job}"]
        # The day comes through the environment, never in the command's text.
        words += ['--ds "$TOPSHELF_DS"'] if by_day else []
        super().__init__(
            bash_command=" ".join([*words, *arguments]),
            env={"TOPSHELF_DS": DAY} if by_day else {},
            append_env=True,
            **given,
        )
        self.by_day = by_day

    def execute(self, context: Context) -> str:
        """Run the command; raise what its outcome means."""
        if self.by_day:
            self.log.info("The day is %s.", day_of((self.env or {})["TOPSHELF_DS"]))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "outcome.json"
            done = self.subprocess_hook.run_command(
                ["bash", "-c", self.bash_command],
                env=self.get_env(context) | {"TOPSHELF_OUTCOME": str(file)},
                cwd=str(HOME),
            )
            text = file.read_text() if file.exists() else ""
        return conclude(done.exit_code, text, str(done.output), self.outlets, context)


def day_of(rendered: str) -> str:
    """Return a run's day, from the template DAY as it was rendered.

    Raises:
        AirflowFailException: a manual run does not say its day. It is not tried again.
    """
    if not rendered:
        raise AirflowFailException(NO_DAY)
    return rendered


def not_landed(day: str) -> AirflowSensorTimeout:
    """Return the error of a night whose day has not landed in time."""
    hours = DEADLINE.total_seconds() / 3600
    return AirflowSensorTimeout(
        f"{landing_place()}/events/ds={day}/_SUCCESS is not there after {hours:g} hours; land the day and mark it, "
        "an empty day too, then clear this task"
    )


class LandedFileSensor(FileSensor):
    """Waits for a day's mark in a folder, and holds no worker meanwhile."""

    template_fields: Sequence[str] = (*FileSensor.template_fields, "day")

    def __init__(self, *, day: str, **given: Any) -> None:
        super().__init__(filepath=f"{landing_place()}/events/ds={day}/_SUCCESS", deferrable=True, **given)
        self.day = day

    def execute(self, context: Context) -> None:
        """Look for the mark; wait where it is not there."""
        self.log.info("The day is %s.", day_of(self.day))
        super().execute(context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after the wait; say what was awaited where it was in vain."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowSensorTimeout as error:  # a sensor's own name for a deferral that took too long
            raise not_landed(self.day) from error


class LandedSensor(BaseSensorOperator):
    """Waits for a day's events by asking the jobs, which reach landing wherever it lies."""

    template_fields: Sequence[str] = ("day",)

    def __init__(self, *, day: str, **given: Any) -> None:
        super().__init__(mode="reschedule", **given)
        self.day = day

    def execute(self, context: Context) -> Any:
        """Ask until the day has landed; say what was awaited where it was in vain."""
        self.log.info("The day is %s.", day_of(self.day))
        try:
            return super().execute(context)
        except AirflowSensorTimeout as error:
            raise not_landed(self.day) from error

    def poke(self, context: Context) -> bool:
        """Tell whether the day has landed."""
        ask = ["bash", "-c", f'exec {JOB_COMMAND} landed --ds "$0"', self.day]
        done = subprocess.run(ask, check=False, cwd=HOME)
        if done.returncode not in (0, NOT_YET_STATUS):
            raise AirflowException(f"landing could not be looked at: exit status {done.returncode}; see the log")
        return done.returncode == 0
