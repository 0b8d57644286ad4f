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
from typing import Any

from airflow.sdk import BaseNotifier

RUNBOOK = os.environ.get("TOPSHELF_RUNBOOK", "docs/runbook.md")
EVENTS = {
    "task_failed": "failed, after all its retries",
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
    await asyncio.to_thread(send, notice_of("night_late", context))


def notice_of(event: str, context: Mapping[str, Any]) -> dict[str, str]:
    """Return the notice as a document: event, day, run, task, reason, log and the runbook's line."""
    run, task = context.get("dag_run"), context.get("ti")
    day = str(_of(run, "logical_date") or "")[:10]
    if _of(run, "run_type") == "manual":
        day = str((_of(run, "conf") or {}).get("ds") or "")
    dag_id = str(_of(run, "dag_id") or "")
    task_id = str(_of(task, "task_id") or "")
    what = " ".join(word for word in (dag_id, task_id, f"of {day}" if day else "") if word)
    reason = str(context.get("exception") or _late_since(context))
    return {
        "event": event,
        "text": f"Topshelf: {what} {EVENTS[event]}. {reason}".strip(),
        "dag_id": dag_id,
        "run_id": str(_of(run, "run_id") or _of(run, "dag_run_id") or ""),
        "ds": day,
        "task_id": task_id,
        "try_number": str(_of(task, "try_number") or ""),
        "reason": reason,
        "log_url": str(_of(task, "log_url") or ""),
        "runbook": f"{RUNBOOK}#{event.replace('_', '-')}",
    }


def _of(thing: Any, name: str) -> Any:
    """Return a field of an object, or of the document that the triggerer gets in its place."""
    return thing.get(name) if isinstance(thing, Mapping) else getattr(thing, name, None)


def _late_since(context: Mapping[str, Any]) -> str:
    deadline = context.get("deadline")
    return f"Its deadline was {_of(deadline, 'deadline_time')}." if deadline else ""


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
