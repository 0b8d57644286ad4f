"""Routes for those who run the endpoint: erasure, health, metrics."""

import asyncio

import msgspec
from litestar import Response, delete, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec

from serving.api.access import key_guard
from serving.api.exposition import CONTENT_TYPE, exposition
from serving.api.openapi import HttpRequest, Id, problems
from serving.api.parameters import id_in_path
from serving.api.worker import Worker
from serving.logs.file_log import LogError
from serving.problems import ProblemError


class Erased(msgspec.Struct, frozen=True):
    """What became of an erasure, which is on this host's disk and heeded by the worker that answers.

    `everywhere`: every worker of this host has read it. `landed`: its tombstone stands under landing, where the night
    reads it. If not, the lander brings it there from this host's disk.
    """

    erased: bool
    everywhere: bool
    landed: bool


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of `/healthz` and `/readyz`. `trouble` names each background task that does not work, and why."""

    status: str
    snapshot: str = ""
    trouble: str = ""


def operator_routes(worker: Worker) -> list[HTTPRouteHandler]:
    """All routes of this module."""
    return [_erase(worker), _healthz(), _readyz(worker), _metrics(worker)]


def _erase(worker: Worker) -> HTTPRouteHandler:
    @delete(
        "/users/{user_id:str}",
        summary="Erase a shopper",
        operation_id="erase_user",
        status_code=200,
        responses=problems(507),
        guards=key_guard(worker.gate, "admin"),
    )
    async def erase(request: HttpRequest, user_id: Id) -> Erased:
        try:
            everywhere, landed = await worker.erase(id_in_path(request.scope["raw_path"]))
        except LogError as error:
            raise ProblemError(507, str(error), "send it again once that is repaired") from error
        return Erased(True, everywhere, landed)

    return erase


def _healthz() -> HTTPRouteHandler:
    @get("/healthz", summary="The process is alive", operation_id="healthz", security=[{}])
    async def healthz() -> Health:
        return Health("ok")

    return healthz


def _readyz(worker: Worker) -> HTTPRouteHandler:
    @get(
        "/readyz",
        summary="A snapshot is loaded, and the live state and the keys are read",
        operation_id="readyz",
        security=[{}],
        responses={503: ResponseSpec(Health, generate_examples=False, description="Not yet")},
    )
    async def readyz() -> Response[Health]:
        loaded, trouble = worker.live_snapshot.loaded, worker.troubles()
        if loaded is None:
            return Response(Health("waiting for a snapshot", trouble=trouble), status_code=503)
        if not worker.has_replayed:
            return Response(Health("reading the live state and the erasures", trouble=trouble), status_code=503)
        if worker.ring.was_never_read:
            return Response(Health("waiting for keys that can be read", trouble=trouble), status_code=503)
        return Response(Health("ready", loaded.snapshot.version, trouble), status_code=200)

    return readyz


def _metrics(worker: Worker) -> HTTPRouteHandler:
    @get(
        "/metrics",
        summary="Metrics of all workers of the host, for Prometheus",
        operation_id="metrics",
        media_type=CONTENT_TYPE,
        responses=problems(),
        guards=key_guard(worker.gate, "metrics"),
    )
    async def metrics() -> bytes:
        return await asyncio.to_thread(exposition, worker.metrics, worker.gauges())

    return metrics
