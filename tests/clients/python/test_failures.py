"""What the Python client raises, how long it waits, and when it asks again."""

import inspect
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tenacity import Future, RetryCallState, Retrying

from tests.clients.proxy import BAD_GATEWAY, CUT_ANSWER, GATEWAY_TIMEOUT, LOST_ANSWER, LOST_REQUEST, proxied
from tests.clients.python.conftest import MakeClient
from tests.serving.running import Server, publish_night, serving
from topshelf_client import (
    AsyncClient,
    Client,
    ForbiddenError,
    InvalidRequestError,
    NoAnswerError,
    NotFoundError,
    ProblemError,
    RateLimitedError,
    TopshelfError,
    UnauthorizedError,
    UnavailableError,
    UnreadableAnswerError,
)
from topshelf_client.repeating import Repeats


def address(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}"


def test_a_problem_is_an_exception_of_its_kind_with_detail_and_remedy(client: MakeClient, shop: Server) -> None:
    reading = client(address(shop), shop.keys["read"])
    raised: list[tuple[type[ProblemError], Any]] = [
        (InvalidRequestError, lambda: reading.recommend("user-1", limit=0)),
        (UnauthorizedError, lambda: client(address(shop)).recommend("user-1")),
        (UnauthorizedError, lambda: client(address(shop), "wrong").recommend("user-1")),
        (ForbiddenError, lambda: reading.send_items([{"item_id": "item-00001"}])),
        (NotFoundError, lambda: reading.similar("no-such-item")),
        (InvalidRequestError, lambda: list(reading.recommend_batch(["user-1"], limit=0))),
    ]
    for kind, call in raised:
        with pytest.raises(kind) as problem:
            call()
        assert isinstance(problem.value, TopshelfError)
        assert problem.value.detail in str(problem.value)
        assert problem.value.remedy in str(problem.value)
    with pytest.raises(InvalidRequestError) as invalid:
        reading.recommend("user-1", limit=0, request_id="r-1")
    assert (invalid.value.status, invalid.value.parameter, invalid.value.request_id) == (400, "limit", "r-1")


@pytest.mark.parametrize("fault", [LOST_REQUEST, LOST_ANSWER, CUT_ANSWER, BAD_GATEWAY, GATEWAY_TIMEOUT])
def test_a_read_that_fails_on_its_way_is_sent_again(client: MakeClient, shop: Server, fault: Any) -> None:
    with proxied(shop.port) as proxy:
        proxy.faults += [fault, fault]
        assert client(proxy.address, shop.keys["read"]).recommend("user-1").recommendations
        assert len(proxy.seen) == (1 if fault == CUT_ANSWER else 3)  # a shelf is one line, so it is not cut


def test_a_call_is_sent_as_often_as_attempts_say(client: MakeClient, shop: Server) -> None:
    with proxied(shop.port) as proxy:
        proxy.faults += [BAD_GATEWAY] * 3
        with pytest.raises(UnavailableError) as down:
            client(proxy.address, shop.keys["read"], attempts=3).recommend("user-1")
        assert (down.value.status, down.value.detail) == (502, "an answer without a problem document")
        assert len(proxy.seen) == 3


def test_a_mistake_is_not_repeated(client: MakeClient, shop: Server) -> None:
    with proxied(shop.port) as proxy:
        with pytest.raises(InvalidRequestError):
            client(proxy.address, shop.keys["read"]).recommend("user-1", limit=0)
        assert len(proxy.seen) == 1


def test_a_spent_rate_is_waited_for_as_long_as_the_endpoint_says(client: MakeClient, tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path, keyed=True, rate="2/second") as server, proxied(server.port) as proxy:
        reading = client(proxy.address, server.keys["read"])
        for _ in range(5):
            assert reading.recommend("user-1").recommendations
        assert 429 in proxy.statuses
        assert len(proxy.statuses) <= 5 + 2 * 3  # each window was waited for, and hardly missed


def test_a_rate_that_is_spent_for_longer_than_the_deadline_is_not_waited_for(
    client: MakeClient, tmp_path: Path
) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path, keyed=True, rate="1/day") as server, proxied(server.port) as proxy:
        reading = client(proxy.address, server.keys["read"])
        reading.recommend("user-1")
        with pytest.raises(RateLimitedError) as spent:
            reading.recommend("user-1")
        assert spent.value.retry_after_s is not None
        assert spent.value.retry_after_s > 30
        assert len(proxy.seen) == 2


def test_an_endpoint_without_a_snapshot_is_asked_again(client: MakeClient, tmp_path: Path) -> None:
    with serving(tmp_path, ready=False) as server:
        waiting = client(address(server), attempts=40, deadline_s=60.0)
        assert not waiting.readyz().is_ready
        assert waiting.healthz().status == "ok"
        with pytest.raises(UnavailableError) as early:
            client(address(server), attempts=1).recommend("user-1")
        assert early.value.status == 503
        publish_night(tmp_path, "2026-01-01")
        assert waiting.recommend("user-1").recommendations
        assert waiting.readyz().is_ready


@contextmanager
def mute() -> Iterator[str]:
    """An address that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_an_endpoint_that_says_nothing_or_is_not_there_is_no_answer(client: MakeClient) -> None:
    with mute() as silent:
        with pytest.raises(NoAnswerError) as late:
            client(silent, timeout_s=0.2, attempts=2).recommend("user-1")
        assert late.value.sent
        assert isinstance(late.value.__cause__, httpx.ReadTimeout)
    with pytest.raises(NoAnswerError) as refused:  # nobody listens there any more
        client(silent, attempts=2).send_items([{"item_id": "item-00001", "stock": 1}])
    assert not refused.value.sent
    with pytest.raises(NoAnswerError):
        list(client(silent, attempts=1).recommend_batch(["user-1"]))


def test_an_answer_of_something_else_is_told_apart(client: MakeClient, shop: Server, tmp_path: Path) -> None:
    (tmp_path / "recommendations").write_text("<html>a shop</html>")
    with proxied(shop.port, files=tmp_path) as proxy:
        elsewhere = client(proxy.address.removesuffix("/topshelf"), shop.keys["read"])
        with pytest.raises(UnreadableAnswerError, match="is the base URL the endpoint's"):
            elsewhere.recommend("user-1")


def test_a_base_url_may_have_a_path_and_a_slash_at_its_end(client: MakeClient, shop: Server, tmp_path: Path) -> None:
    with proxied(shop.port, key=shop.keys["read"], files=tmp_path) as proxy:
        assert client(proxy.address + "/").recommend("user-1").recommendations
        assert client(proxy.address).similar("item-00001").recommendations


def test_operators_trace_erase_and_read_metrics(client: MakeClient, tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path, keyed=True) as server:
        admin = client(address(server), server.keys["admin"])
        answer = admin.recommend("user-1", limit=4)
        trace = admin.trace("user-1", limit=4, request_id=answer.request_id, actions=[("view", "item-00001")])
        assert trace.known
        assert len(trace.shelf) == 4
        assert trace.candidates[0].rank == 1
        assert trace.last_actions[0].event_type == "view"
        assert 'topshelf_requests_total{status="200"}' in admin.metrics()
        erased = admin.erase("user-1")
        assert (erased.erased, erased.everywhere, erased.landed) == (True, True, True)
        assert admin.trace("user-1").erased


def test_a_client_of_httpx_may_be_given_and_stays_open(shop: Server) -> None:
    with httpx.Client(headers={"x-forwarded-for": "10.0.0.1"}) as http:
        with Client(address(shop), shop.keys["read"], http=http) as reading:
            assert reading.recommend("user-1").recommendations
        assert not http.is_closed


def test_the_longest_wait_doubles_and_each_is_drawn_below_it() -> None:
    wait = Repeats(attempts=9, deadline_s=60).of(True)["wait"]
    random.seed(1)

    def waits(attempt: int, error: Exception) -> list[float]:
        state = RetryCallState(Retrying(), None, (), {})
        state.attempt_number, state.outcome = attempt, Future(attempt)
        state.outcome.set_exception(error)
        return [wait(state) for _ in range(400)]

    for attempt, longest_s in ((1, 0.1), (2, 0.2), (3, 0.4), (9, 5.0)):
        drawn = waits(attempt, UnavailableError(503, "not yet"))
        assert 0 <= min(drawn) < longest_s / 20
        assert longest_s * 0.95 < max(drawn) <= longest_s
    told = waits(1, RateLimitedError(429, "spent", retry_after_s=3))
    assert 3 <= min(told) < max(told) <= 3.1


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    def methods(kind: type) -> dict[str, Any]:
        found = {name: method for name, method in vars(kind).items() if not name.startswith("_")}
        return {
            name.removeprefix("a"): [str(parameter) for parameter in inspect.signature(method).parameters.values()]
            for name, method in found.items()
        }

    assert methods(AsyncClient) == methods(Client)
