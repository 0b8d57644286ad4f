"""Tells people what an operator should know: a failed task, a late night, a snapshot that a gate held back.

TOPSHELF_ALERT_WEBHOOK names an address that takes a JSON document; TOPSHELF_ALERT_EMAIL one or more addresses,
sent through Airflow's connection `smtp_default`. With neither, a notice only stands in the task's log.
"""

import asyncio
import json
import logging
import os
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow.sdk import BaseNotifier
from topshelf_places import HOME, landing_place

SKIP_REASON = "topshelf_skip_reason"
"""Why a task was skipped, in its own context."""
RUNBOOK = os.environ.get("TOPSHELF_RUNBOOK") or (HOME / "docs/runbook.md").as_uri()
EVENTS = {
    "task_failed": "failed",
    "night_slow": "has not ended by half of its deadline",
    "night_late": "has not ended by its deadline",
    "publish_refused": "was held back by a gate; what was live stays live",
}
TIMEOUT_S = 10.0
log = logging.getLogger(__name__)


def notices(event: str) -> list[BaseNotifier]:
    """Return the callbacks that tell of an event."""
    return [Notice(event)]


class Notice(BaseNotifier):
    """Sends one event's notice to where the deployment wants it. A notice that cannot be sent never fails a task."""

    template_fields = ()

    def __init__(self, event: str) -> None:
        super().__init__()
        self.event = event

    def notify(self, context: Mapping[str, Any]) -> None:
        """Send it."""
        send(notice_of(self.event, context))


async def night_late(context: Mapping[str, Any]) -> None:
    """Tell that a run has missed its deadline; called by the triggerer, with the run alone as context."""
    await _tell_if_due("night_late", context)


async def night_slow(context: Mapping[str, Any]) -> None:
    """Tell that a run has not ended by half of its deadline; called as `night_late` is."""
    await _tell_if_due("night_slow", context)


async def _tell_if_due(event: str, context: Mapping[str, Any]) -> None:
    """Send the notice, unless the run is of a backfill: its days wait for each other, and none is due."""
    if _of(context.get("dag_run"), "run_type") != "backfill":
        await asyncio.to_thread(send, notice_of(event, context))


def notice_of(event: str, context: Mapping[str, Any]) -> dict[str, str]:
    """Return the notice as a document: event, day, run, task, reason, log and the runbook's line."""
    run, task = context.get("dag_run"), context.get("ti")
    day = day_of_run(run)
    dag_id = str(_of(run, "dag_id") or "")
    task_id = str(_of(task, "task_id") or "")
    what = " ".join(word for word in (dag_id, task_id, f"of {day}" if day else "") if word)
    reason = str(context.get("exception") or context.get(SKIP_REASON) or _late_since(context, day))
    happened = EVENTS[event] + (_tried(task) if event == "task_failed" else "")
    return {
        "event": event,
        "text": f"Topshelf: {what} {happened}. {reason}".strip(),
        "dag_id": dag_id,
        "run_id": str(_of(run, "run_id") or _of(run, "dag_run_id") or ""),
        "ds": day,
        "task_id": task_id,
        "try_number": str(_of(task, "try_number") or ""),
        "reason": reason,
        "log_url": str(_of(task, "log_url") or ""),
        "runbook": f"{RUNBOOK}#{event.replace('_', '-')}",
    }


def _tried(task: Any) -> str:
    """Say whether a failed task has used its retries up: one that only people can mend, or are told to, has not."""
    tries, retries = (_of(task, name) for name in ("try_number", "max_tries"))
    if tries is None or not retries:
        return ""
    return ", after all its retries" if tries > retries else ", and is not tried again by itself"


def day_of_run(run: Any) -> str:
    """Return the day that a run is of, empty where a manual run does not say it."""
    if _of(run, "run_type") == "manual":
        return str((_of(run, "conf") or {}).get("ds") or "")
    return str(_of(run, "logical_date") or "")[:10]


def _of(thing: Any, name: str) -> Any:
    """Return a field of an object, or of the document that the triggerer gets in its place."""
    return thing.get(name) if isinstance(thing, Mapping) else getattr(thing, name, None)


def _late_since(context: Mapping[str, Any], day: str) -> str:
    deadline = context.get("deadline")
    if not deadline:
        return ""
    since = f"It was due at {_of(deadline, 'deadline_time')}."
    mark = f"{landing_place()}/events/ds={day}/_SUCCESS"
    if day and "://" not in mark and not Path(mark).exists():
        return f"{since} It waits for the shop: {mark} is not there."
    return f"{since} See which task runs or waits."


def send(notice: Mapping[str, str]) -> None:
    """Send a notice to the webhook and by e-mail, whichever is set; what cannot be sent is logged."""
    log.warning("%s", notice["text"])
    webhook, email = os.environ.get("TOPSHELF_ALERT_WEBHOOK"), os.environ.get("TOPSHELF_ALERT_EMAIL")
    for to, way in ((webhook, _post), (email, _mail)):
        if to:
            try:
                way(to, notice)
            except Exception:  # whatever goes wrong here, the run's own outcome stands
                log.exception("the notice could not be sent to %s", "the webhook" if way is _post else to)


def _post(url: str, notice: Mapping[str, str]) -> None:
    body = json.dumps(notice).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310  a setting
    with urllib.request.urlopen(request, timeout=TIMEOUT_S):  # noqa: S310
        pass


def _mail(to: str, notice: Mapping[str, str]) -> None:
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    lines = "\n".join(f"{name}: {value}" for name, value in notice.items() if value)
    with SmtpHook("smtp_default") as smtp:
        smtp.send_email_smtp(to=to.split(","), subject=notice["text"][:150], html_content=f"<pre>{lines}</pre>")
