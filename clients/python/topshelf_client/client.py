"""The client: `Client`, and `AsyncClient` beside it in `async_client`."""

from collections.abc import Iterable, Iterator
from typing import Self, TypeVar, Unpack

import httpx
from tenacity import Retrying

from topshelf_client import calls
from topshelf_client.answers import (
    Answer,
    BatchAnswer,
    BatchProblem,
    Erased,
    Health,
    Page,
    PagePlan,
    SharedPage,
    SimilarItems,
    Taken,
    Trace,
)
from topshelf_client.batches import Batch, Lines, batches
from topshelf_client.calls import Call
from topshelf_client.feeds import Tally, event_calls, item_calls
from topshelf_client.options import (
    BatchOptions,
    EventRow,
    ItemOptions,
    ItemRow,
    PageOptions,
    SharedOptions,
    ShelfOptions,
    TraceOptions,
)
from topshelf_client.problems import NoAnswerError, ProblemError, RowsRefusedError, no_answer, problem_of
from topshelf_client.repeating import Repeats

T = TypeVar("T")


class Client:
    """Calls one endpoint. It keeps connections open and may be shared by threads; close it, or use it in a `with`.

    `key` is one of `topshelf keys create`. `timeout_s` is how long an attempt may wait for the endpoint. A call that
    may be repeated is sent up to `attempts` times, and not again once `deadline_s` would be over. `http` is a client
    of httpx to send with instead, for proxies and certificates of your own; it stays open.

    Every method raises TopshelfError (`topshelf_client.problems`).
    """

    def __init__(
        self,
        base_url: str,
        key: str | None = None,
        *,
        timeout_s: float = 5.0,
        attempts: int = 4,
        deadline_s: float = 30.0,
        http: httpx.Client | None = None,
    ) -> None:
        self._http, self._owned = http or httpx.Client(), http is None
        self._address = calls.Address(base_url, key, timeout_s)
        self._repeats = Repeats(attempts, deadline_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        if self._owned:
            self._http.close()

    # Shelves ------------------------------------------------------------------------------------------------

    def recommend(self, user_id: str | None = None, **options: Unpack[ShelfOptions]) -> Answer:
        """A shopper's shelf; without a `user_id`, what anybody gets."""
        return self._answer(calls.recommend(user_id, options))

    def recommend_batch(
        self, user_ids: Iterable[str], **options: Unpack[BatchOptions]
    ) -> Iterator[BatchAnswer | BatchProblem]:
        """Yield a shelf for each of any number of shoppers, in their order, or why there is none.

        They are asked for 1,000 at a time. Where the key's rate is spent or the connection breaks, the client waits
        and asks for the rest.
        """
        for batch in batches(user_ids, options):
            while batch:
                yield from self._lines(batch)

    def page(self, name: str, user_id: str | None = None, **options: Unpack[PageOptions]) -> Page:
        """All shelves of a page, such as `homepage`."""
        return self._answer(calls.page(name, user_id, options))

    def pages(self) -> list[PagePlan]:
        """Which pages there are, and which shelves they have."""
        return self._answer(calls.pages())

    def similar(self, item_id: str, **options: Unpack[ItemOptions]) -> SimilarItems:
        """Items like one."""
        return self._answer(calls.similar(item_id, options))

    def shared_shelf(self, **options: Unpack[SharedOptions]) -> SimilarItems:
        """A shelf for everybody, which caches may keep; it is not logged as shown."""
        return self._answer(calls.shared_shelf(options))

    def shared_page(self, name: str, **options: Unpack[SharedOptions]) -> SharedPage:
        """All shelves of a page for everybody, which caches may keep; they are not logged as shown."""
        return self._answer(calls.shared_page(name, options))

    # Feeds --------------------------------------------------------------------------------------------------

    def send_items(self, rows: Iterable[ItemRow]) -> Taken:
        """Send live price, stock and moderation: any number of rows, 10,000 at a time.

        The result names the rows that were refused. Raises RowsRefusedError where none was accepted. If it raises
        anything else, some parts may have been accepted; rows with `ts` may all be sent again.
        """
        return self._taken(item_calls(rows))

    def send_events(self, rows: Iterable[EventRow]) -> Taken:
        """Send what shoppers did: any number of events, 10,000 at a time.

        The result names the rows that were refused. Raises RowsRefusedError where none was accepted. If it raises
        anything else, some parts may have been accepted; all may be sent again, with their ids.
        """
        return self._taken(event_calls(rows))

    # For those who run the endpoint -------------------------------------------------------------------------

    def trace(self, user_id: str, **options: Unpack[TraceOptions]) -> Trace:
        """Why a shopper's shelf is as it is."""
        return self._answer(calls.trace(user_id, options))

    def erase(self, user_id: str) -> Erased:
        """Erase a shopper."""
        return self._answer(calls.erase(user_id))

    def metrics(self) -> str:
        """The endpoint's metrics, as Prometheus reads them."""
        return self._answer(calls.metrics())

    def healthz(self) -> Health:
        """Whether the process is alive."""
        return self._answer(calls.health("/healthz"))

    def readyz(self) -> Health:
        """Whether the endpoint is ready (`is_ready`), and what does not work."""
        return self._answer(calls.health("/readyz"))

    # Sending ------------------------------------------------------------------------------------------------

    def _answer(self, call: Call[T]) -> T:
        answer: T = Retrying(**self._repeats.of(call.repeatable))(self._once, call)
        return answer

    def _once(self, call: Call[T]) -> T:
        with no_answer():
            response = self._http.send(self._address.request(self._http, call))
        return call.answer_of(response)

    def _taken(self, parts: Iterator[tuple[Call[Taken], int]]) -> Taken:
        tally = Tally()
        for call, rows in parts:
            try:
                tally.add(self._answer(call), rows)
            except RowsRefusedError as refused:
                tally.add(refused, rows)
        return tally.taken()

    def _lines(self, batch: Batch) -> Iterator[BatchAnswer | BatchProblem]:
        """Yield lines of a batch until its end, or until the rest must be asked for again; at least one."""
        first, lines, response = Retrying(**self._repeats.of(True))(self._first_line, batch)
        try:
            yield first
            for line in lines:
                yield batch.take(line)
        except (NoAnswerError, ProblemError):
            return  # what stopped it, if it lasts, meets the next attempt
        finally:
            response.close()

    def _first_line(self, batch: Batch) -> tuple[BatchAnswer | BatchProblem, Iterator[bytes], httpx.Response]:
        """Ask for those who wait, and read the first line. Raises what a repeated attempt may help."""
        with no_answer():
            response = self._http.send(self._address.request(self._http, batch.call()), stream=True)
            try:
                if not response.is_success:
                    response.read()
                    raise problem_of(response)
                lines = _whole_lines(response)
                return batch.take(next(lines, b"")), lines, response
            except BaseException:
                response.close()
                raise


def _whole_lines(response: httpx.Response) -> Iterator[bytes]:
    lines = Lines()
    with no_answer():
        for piece in response.iter_bytes():
            yield from lines.feed(piece)
