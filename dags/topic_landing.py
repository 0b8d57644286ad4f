"""# Topics

Every quarter of an hour what came into Kafka's topics is landed: each message once, into the folder of its day. A day
is marked as complete a quarter of an hour after it ended, so the night finds it. A run that was killed is finished by
the next one. While Kafka is away, runs fail and the topics keep what comes. Nothing is lost unless they drop it.

This DAG is there only where `TOPSHELF_KAFKA_TOPICS` names topics, as `events=shop.events items=shop.catalogue`.
"""

import os
import re
from datetime import timedelta

from airflow.sdk import DAG
from airflow.timetables.trigger import CronTriggerTimetable
from topshelf_job import DEFAULT_ARGS, job_task, start_date


def topics() -> dict[str, str]:
    """Return the topic of each table that has one. Raises ValueError for what cannot be meant."""
    named = {}
    for word in os.environ.get("TOPSHELF_KAFKA_TOPICS", "").split():
        table, _, topic = word.partition("=")
        if table not in {"events", "items"} or not re.fullmatch(r"[A-Za-z0-9._-]+", topic):
            raise ValueError(f"TOPSHELF_KAFKA_TOPICS has {word!r}; give events=TOPIC or items=TOPIC")
        named[table] = topic
    return named


if TOPICS := topics():
    with DAG(
        dag_id="topic_landing",
        description="Every quarter of an hour: what came into Kafka's topics is landed.",
        schedule=CronTriggerTimetable("*/15 * * * *", timezone="UTC"),
        start_date=start_date(),
        catchup=False,
        max_active_runs=1,
        default_args=DEFAULT_ARGS | {"retries": 2, "execution_timeout": timedelta(hours=3)},
        doc_md=__doc__,
        tags=["topshelf"],
    ):
        before = None  # one after the other: each runs a Spark of its own
        for table, topic in TOPICS.items():
            landed = job_task(
                task_id=f"land_{table}",
                job="landing",
                arguments=["topic", table, "--topic", topic],
                by_day=False,
                doc_md=f"`topshelf landing topic {table} --topic {topic}` does the same by hand.",
            )
            if before is not None:
                before >> landed
            before = landed
