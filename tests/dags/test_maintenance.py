"""Airflow's own history: runs leave its database with the logs that belong to them."""

import os
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

NOT_ALLOWED = "airflow-db-not-allowed:///"
"""What Airflow puts into the environment of a task for its database."""


def forget_runs(found: dict[str, Any], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the task's command with a program in Airflow's place that prints its database and its words."""
    program = folder / "python"
    program.write_text('#!/bin/sh\necho "$AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"\necho "$@"\n')
    program.chmod(0o755)
    own = {"PATH": os.environ["PATH"], "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": NOT_ALLOWED}
    command = found["dags"]["maintenance"]["tasks"]["forget_runs"]["command"]
    environment = own | {"AIRFLOW_PYTHON": str(program)} | variables
    return subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=False)


def test_runs_go_after_as_many_days_as_logs_from_the_database_of_the_deployment(
    found: dict[str, Any], tmp_path: Path
) -> None:
    done = forget_runs(found, tmp_path, TOPSHELF_AIRFLOW_DB="postgresql://u:p@host:5432/airflow")
    database, words = done.stdout.splitlines()
    assert database == "postgresql+psycopg2://u:p@host:5432/airflow"
    assert words.startswith("-m airflow db clean --yes --skip-archive --error-on-cleanup-failure ")
    before = datetime.fromisoformat(words.split()[-1])
    days = re.search(r"-mtime \+(\d+)", found["dags"]["maintenance"]["tasks"]["forget_logs"]["command"])
    assert days is not None
    age = datetime.now(UTC) - before
    assert timedelta(days=int(days[1])) <= age < timedelta(days=int(days[1]), minutes=10)


@pytest.mark.parametrize("variables", [{}, {"TOPSHELF_AIRFLOW_DB": ""}], ids=["not set", "empty"])
def test_an_airflow_whose_database_is_not_ours_is_left_alone(
    found: dict[str, Any], tmp_path: Path, variables: dict[str, str]
) -> None:
    done = forget_runs(found, tmp_path, **variables)
    assert done.returncode == 99  # the task is skipped
    assert "whoever runs Airflow must run airflow db clean" in done.stdout
