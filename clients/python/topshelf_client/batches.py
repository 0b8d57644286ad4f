"""One batch of up to 1,000 shoppers: which of them have no line yet, and what a line says."""

from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from topshelf_client import calls
from topshelf_client.answers import BatchAnswer, BatchProblem
from topshelf_client.calls import Call
from topshelf_client.options import BatchOptions
from topshelf_client.problems import UnreadableAnswerError, problem_in
from topshelf_client.repeating import helps

_MOST_USERS = 1_000
_ANSWER, _PROBLEM = msgspec.json.Decoder(BatchAnswer), msgspec.json.Decoder(BatchProblem)


class Batch:
    """The shoppers of a batch that wait for their line, and the call that asks for these."""

    def __init__(self, user_ids: list[str], options: BatchOptions) -> None:
        self._user_ids, self._options, self._done = user_ids, options, 0

    def __bool__(self) -> bool:
        return self._done < len(self._user_ids)

    def call(self) -> Call[bytes]:
        """Ask for those who wait."""
        return calls.batch(self._user_ids[self._done :], self._options)

    def take(self, line: bytes) -> BatchAnswer | BatchProblem:
        """Read the next line, and count its shopper as done.

        Raises ProblemError for one that asking again may help: its shopper waits on. Raises UnreadableAnswerError.
        """
        try:
            if b'"recommendations"' in line:
                read: BatchAnswer | BatchProblem = _ANSWER.decode(line)
            else:
                read = _PROBLEM.decode(line)
                problem = problem_in(line)
                if helps(problem, repeatable=True):
                    raise problem
        except msgspec.DecodeError as error:
            raise UnreadableAnswerError(
                f"/recommendations/batch: {error}; is the base URL the endpoint's?"
            ) from error
        self._done += 1
        return read


def batches(user_ids: Iterable[str], options: BatchOptions) -> Iterator[Batch]:
    """Cut shoppers into batches."""
    rest = iter(user_ids)
    while part := list(islice(rest, _MOST_USERS)):
        yield Batch(part, options)


class Lines:
    """Puts lines together from pieces of a stream. httpx's own lines also end at U+2028, which JSON may hold."""

    def __init__(self) -> None:
        self._begun = b""

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the lines that a piece ends."""
        *whole, self._begun = (self._begun + piece).split(b"\n")
        return whole
