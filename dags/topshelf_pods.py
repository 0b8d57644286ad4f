"""A job as a pod of Kubernetes: what TOPSHELF_RUN_JOBS_IN=kubernetes makes of each task.

It wants the provider of the dependency group `airflow-kubernetes`.
"""

import os
from collections.abc import Sequence
from typing import Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException
from topshelf_job import DAY, day_of
from topshelf_outcome import conclude
from topshelf_places import HOME

TEMPLATE = HOME / (os.environ.get("TOPSHELF_POD_TEMPLATE") or "infra/kubernetes/night-pod.yaml")
MESSAGE = "/dev/termination-log"
"""The file whose last 4,096 bytes Kubernetes keeps with a pod that has ended, failed or not."""
START_S = 1800
"""How long a pod may wait for a node and for its image."""


class JobPodOperator(KubernetesPodOperator):
    """Runs `python -m jobs <job>` in a pod made by TEMPLATE; means what JobOperator means.

    The outcome comes back as the container's termination message: XCom of a failed pod is lost. A worker that dies
    leaves the pod to the task's next try, which goes on watching it.
    """

    def __init__(self, *, job: str, arguments: Sequence[str] = (), by_day: bool = True, **given: Any) -> None:
        day = {"TOPSHELF_DS": DAY} if by_day else {}
        super().__init__(
            name=f"topshelf-{job}",
            pod_template_file=str(TEMPLATE),
            # Kubernetes itself puts the day, a variable of the container, in its place.
            arguments=[job, *(["--ds", "$(TOPSHELF_DS)"] if by_day else []), *arguments],
            env_vars=day | {"TOPSHELF_OUTCOME": MESSAGE},
            startup_timeout_seconds=START_S,
            deferrable=False,
            do_xcom_push=False,
            log_events_on_failure=True,
            log_pod_spec_on_failure=False,
            container_name_log_prefix_enabled=False,
            log_formatter=self._kept,
            **given,
        )
        self.by_day = by_day
        self.last_line = ""

    def _kept(self, container: str, text: str) -> str:
        self.last_line = (text.splitlines() or [""])[-1]
        return text

    def execute(self, context: Context) -> str:
        """Run the pod to its end; raise what its outcome means."""
        if self.by_day:
            self.log.info("The day is %s.", day_of(self.env_vars["TOPSHELF_DS"]))
        super().execute(context)
        return self._conclude(self.remote_pod, context)

    def cleanup(self, pod: Any, remote_pod: Any, xcom_result: Any = None, context: Context | None = None) -> None:
        """Clean up after the pod; where its job failed, raise what that means and not that a pod failed."""
        try:
            super().cleanup(pod, remote_pod, xcom_result, context)
        except AirflowException as error:
            if context is None:
                raise
            if not self._end_of(remote_pod):  # this runs while what went wrong before is on its way up
                raise AirflowException(f"{remote_pod.status.message or error.__context__ or error}") from error
            self._conclude(remote_pod, context)

    def _conclude(self, pod: Any, context: Context) -> str:
        end = self._end_of(pod)
        # A node that takes memory back, or ends a pod, leaves no outcome: it says why in its own words.
        why = pod.status.message or ("OOMKilled: out of memory" if end.reason == "OOMKilled" else "")
        last_line = ". ".join(words for words in (why, self.last_line) if words)
        return conclude(end.exit_code, end.message or "", last_line, self.outlets, context)

    def _end_of(self, pod: Any) -> Any:
        """Return how the job's container ended; None where it did not start, or its end was never told."""
        for container in pod.status.container_statuses or []:
            if container.name == self.base_container_name:
                return container.state.terminated
        return None
