"""Airflow's plugin that names a night's run by its day: `scheduled__night-of-2026-01-27`.

Airflow names runs by the moment they start, which is the day after. It asks no timetable for the name of a backfill's
run, so that keeps Airflow's name. Its components find this file by AIRFLOW__CORE__PLUGINS_FOLDER, and the DAG by
PYTHONPATH; infra/airflow/start.sh sets both.
"""

from datetime import datetime
from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin
from airflow.timetables.base import DataInterval
from airflow.timetables.interval import CronDataIntervalTimetable
from airflow.utils.types import DagRunType


class NightTimetable(CronDataIntervalTimetable):
    """A run a day; a scheduled one is named by the day whose night it is."""

    def generate_run_id(
        self, *, run_type: DagRunType, run_after: datetime, data_interval: DataInterval | None, **extra: Any
    ) -> str:
        """Return the run's name; it begins with the run's type, as Airflow wants it."""
        if data_interval is not None and run_type == DagRunType.SCHEDULED:
            return run_type.generate_run_id(suffix=f"night-of-{data_interval.start:%Y-%m-%d}")
        return super().generate_run_id(run_type=run_type, run_after=run_after, data_interval=data_interval, **extra)


class TopshelfPlugin(AirflowPlugin):
    """Tells Airflow of the timetable."""

    name = "topshelf"
    timetables: ClassVar = [NightTimetable]
