"""`AsyncClient`: what `Client` does, without blocking."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import aclosing
from typing import Self, TypeAlias, TypeVar, Unpack

import httpx
from tenacity import AsyncRetrying

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
_Opened: TypeAlias = tuple[BatchAnswer | BatchProblem, AsyncIterator[bytes], httpx.Response]


class AsyncClient:
    """Calls one endpoint, for asyncio and trio. Close it (`aclose`), or use it in an `async with`.

    Arguments and promises are those of `Client`; `http` is an `httpx.AsyncClient`.
    """

    def __init__(
        self,
        base_url: str,
        key: str | None = None,
        *,
        timeout_s: float = 5.0,
        attempts: int = 4,
        deadline_s: float = 30.0,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._http, self._owned = http or httpx.AsyncClient(), http is None
        self._address = calls.Address(base_url, key, timeout_s)
        self._repeats = Repeats(attempts, deadline_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        if self._owned:
            await self._http.aclose()

    # Shelves ------------------------------------------------------------------------------------------------

    async def recommend(self, user_id: str | None = None, **options: Unpack[ShelfOptions]) -> Answer:
        """A shopper's shelf; without a `user_id`, what anybody gets."""
        return await self._answer(calls.recommend(user_id, options))

    async def recommend_batch(
        self, user_ids: Iterable[str], **options: Unpack[BatchOptions]
    ) -> AsyncIterator[BatchAnswer | BatchProblem]:
        """Yield a shelf for each of any number of shoppers, in their order, or why there is none.

        They are asked for 1,000 at a time. Where the key's rate is spent or the connection breaks, the client waits
        and asks for the rest.
        """
        for batch in batches(user_ids, options):
            while batch:
                async with aclosing(self._lines(batch)) as lines:
                    async for line in lines:
                        yield line

    async def page(self, name: str, user_id: str | None = None, **options: Unpack[PageOptions]) -> Page:
        """All shelves of a page, such as `homepage`."""
        return await self._answer(calls.page(name, user_id, options))

    async def pages(self) -> list[PagePlan]:
        """Which pages there are, and which shelves they have."""
        return await self._answer(calls.pages())

    async def similar(self, item_id: str, **options: Unpack[ItemOptions]) -> SimilarItems:
        """Items like one."""
        return await self._answer(calls.similar(item_id, options))

    async def shared_shelf(self, **options: Unpack[SharedOptions]) -> SimilarItems:
        """A shelf for everybody, which caches may keep; it is not logged as shown."""
        return await self._answer(calls.shared_shelf(options))

    async def shared_page(self, name: str, **options: Unpack[SharedOptions]) -> SharedPage:
        """All shelves of a page for everybody, which caches may keep; they are not logged as shown."""
        return await self._answer(calls.shared_page(name, options))

    # Feeds --------------------------------------------------------------------------------------------------

    async def send_items(self, rows: Iterable[ItemRow]) -> Taken:
        """Send live price, stock and moderation: any number of rows, 10,000 at a time.

        The result names the rows that were refused. Raises RowsRefusedError where none was accepted. If it raises
        anything else, some parts may have been accepted; rows with `ts` may all be sent again.
        """
        return await self._taken(item_calls(rows))

    async def send_events(self, rows: Iterable[EventRow]) -> Taken:
        """Send what shoppers did: any number of events, 10,000 at a time.

        The result names the rows that were refused. Raises RowsRefusedError where none was accepted. If it raises
        anything else, some parts may have been accepted; all may be sent again, with their ids.
        """
        return await self._taken(event_calls(rows))

    # For those who run the endpoint -------------------------------------------------------------------------

    async def trace(self, user_id: str, **options: Unpack[TraceOptions]) -> Trace:
        """Why a shopper's shelf is as it is."""
        return await self._answer(calls.trace(user_id, options))

    async def erase(self, user_id: str) -> Erased:
        """Erase a shopper."""
        return await self._answer(calls.erase(user_id))

    async def metrics(self) -> str:
        """The endpoint's metrics, as Prometheus reads them."""
        return await self._answer(calls.metrics())

    async def healthz(self) -> Health:
        """Whether the process is alive."""
        return await self._answer(calls.health("/healthz"))

    async def readyz(self) -> Health:
        """Whether the endpoint is ready (`is_ready`), and what does not work."""
        return await self._answer(calls.health("/readyz"))

    # Sending ------------------------------------------------------------------------------------------------

    async def _answer(self, call: Call[T]) -> T:
        answer: T = await AsyncRetrying(**self._repeats.of(call.repeatable))(self._once, call)
        return answer

    async def _once(self, call: Call[T]) -> T:
        with no_answer():
            response = await self._http.send(self._address.request(self._http, call))
        return call.answer_of(response)

    async def _taken(self, parts: Iterator[tuple[Call[Taken], int]]) -> Taken:
        tally = Tally()
        for call, rows in parts:
            try:
                taken = await self._answer(call)
                tally.add(taken, rows)
            except RowsRefusedError as refused:
                tally.add(refused, rows)
        return tally.taken()

    async def _lines(self, batch: Batch) -> AsyncGenerator[BatchAnswer | BatchProblem, None]:
        """Yield lines of a batch until its end, or until the rest must be asked for again; at least one."""
        opened: _Opened = await AsyncRetrying(**self._repeats.of(True))(self._first_line, batch)
        first, lines, response = opened
        try:
            yield first
            async for line in lines:
                yield batch.take(line)
        except (NoAnswerError, ProblemError):
            return  # what stopped it, if it lasts, meets the next attempt
        finally:
            await response.aclose()

    async def _first_line(self, batch: Batch) -> _Opened:
        """Ask for those who wait, and read the first line. Raises what a repeated attempt may help."""
        with no_answer():
            response = await self._http.send(self._address.request(self._http, batch.call()), stream=True)
            try:
                if not response.is_success:
                    await response.aread()
                    raise problem_of(response)
                lines = _whole_lines(response)
                return batch.take(await anext(lines, b"")), lines, response
            except BaseException:
                await response.aclose()
                raise


async def _whole_lines(response: httpx.Response) -> AsyncIterator[bytes]:
    lines = Lines()
    with no_answer():
        async for piece in response.aiter_bytes():
            for line in lines.feed(piece):
                yield line
