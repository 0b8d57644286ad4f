"""Answers: from a `ShelfRequest` to the bytes of a response, and to the exposure log.

This runs for every request, so it is put together from parts that were encoded before, and makes no object an item.
"""

import hashlib
import itertools
import os
import time
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

import msgspec

from serving.api.metrics import COMPONENTS, Metrics
from serving.logs.exposures import ExposureLog, spool_line
from serving.problems import ProblemError
from serving.shelf.encoded_parts import EncodedParts
from serving.shelf.fill import fill_shelf
from serving.shelf.filled_shelf import FilledShelf
from serving.shelf.live_snapshot import LiveSnapshot, LoadedSnapshot
from serving.shelf.recent_actions import RecentActions
from serving.shelf.request import Policy, ShelfRequest, excluded_positions, request_filters
from serving.shelf.similar import similar_items
from serving.shelf.snapshot import Snapshot
from serving.shelf.trace import trace


class Recommendation(msgspec.Struct, frozen=True):
    """One item of a shelf. The order of items is their rank; the score is no sort key."""

    item_id: str
    score: float
    reason: str


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """`degraded` says what the answer had to do without; `short` that the catalogue has no more such items."""

    recommendations: list[Recommendation]
    request_id: str
    model_version: str
    snapshot: str
    degraded: list[str] = []
    short: str = ""


_ENCODER = msgspec.json.Encoder()
_COMPONENTS = tuple(COMPONENTS.index(name) for name in (
    "parse", "state", "store", "filter", "explore", "fill", "encode", "log",
))  # fmt: skip
_REQUEST = (COMPONENTS.index("request"),)
_SAMPLED = 7  # one answer in eight tells its components


class _ScoreTexts(dict[float, bytes]):
    """Scores as text, up to the reason; a record holds few distinct ones, so most were written before."""

    def __missing__(self, score: float) -> bytes:
        if len(self) > 1 << 17:
            self.clear()
        text = self[score] = b'%.4g,"reason":' % score
        return text


_score_text = _ScoreTexts().__getitem__


class RequestKeys:
    """A key of 16 bytes for every answer, which nobody outside can foresee or choose."""

    def __init__(self) -> None:
        self._secret, self._count = os.urandom(32), itertools.count()

    def next(self) -> bytes:
        number = next(self._count).to_bytes(8, "little")
        return hashlib.blake2b(number, digest_size=16, key=self._secret).digest()


class Answers:
    """Answers requests from the current pair, and hands what was shown to the exposure log.

    `standing` is what every answer has to do without just now.
    """

    def __init__(
        self,
        current: LiveSnapshot,
        exposures: ExposureLog,
        metrics: Metrics,
        actions: RecentActions,
        erased_before: Callable[[str, Snapshot], bool],
        policy: Policy,
    ) -> None:
        self._current, self._exposures, self._metrics = current, exposures, metrics
        self._actions, self._erased_before, self._policy = actions, erased_before, policy
        self._keys = RequestKeys()
        self.standing: list[str] = []

    def recommend(self, ask: ShelfRequest, client_id: str | None = None, started: int = 0) -> tuple[bytes, str]:
        """One shelf as JSON, and the request's id. Raises ProblemError (503) when no snapshot was ever loaded.

        `started` is when the request came, by `perf_counter_ns`. A client's own id stands before ours: ids are
        unique even where a client repeats its own.
        """
        parsed = perf_counter_ns()
        pair = self._pair()
        snapshot, live, parts, user_id = pair.snapshot, pair.live, pair.parts, ask.user_id
        now = time.time()
        key = self._keys.next()
        request_id = key.hex() if client_id is None else f"{client_id}.{key.hex()}"
        personal = user_id is not None and not self._erased_before(user_id, snapshot)
        acted = self._actions.last_actions(user_id, ask.actions, snapshot.position, now)
        stated = perf_counter_ns()
        picked = fill_shelf(
            snapshot, live, ask, actions=acted, request_key=key, personal=personal, policy=self._policy
        )
        if self.standing:
            picked.degraded.extend(self.standing)
        body = _encode(snapshot, parts, picked, request_id)
        encoded = perf_counter_ns()
        prices = live.prices
        shown = spool_line(body, now, ask, picked, parts, [prices[at] for at in picked.positions])
        self._exposures.put(shown)
        metrics, logged = self._metrics, perf_counter_ns()
        started = started or parsed
        metrics.laps((started, logged), _REQUEST)
        if not key[0] & _SAMPLED:
            metrics.laps((started, parsed, stated, *picked.laps, encoded, logged), _COMPONENTS)
        metrics.shown(picked.levels, picked.degraded, short=picked.short)
        return body, request_id

    def _pair(self) -> LoadedSnapshot:
        pair = self._current.loaded
        if pair is None:
            why = self._current.trouble or "the store has no live snapshot"
            raise ProblemError(503, why, "publish a night (topshelf nightly), or wait until /readyz answers 200")
        return pair

    def similar(self, item_id: str, ask: ShelfRequest) -> bytes:
        """Items like one, as an `Answer`; of the request its length, filters and exclusions count.

        Raises ProblemError (404) for an item that the snapshot does not know.
        """
        pair = self._pair()
        snapshot, position = pair.snapshot, pair.snapshot.position(item_id)
        if position < 0:
            raise ProblemError(404, f"{snapshot.version} has no such item", "send the id as the shop landed it", "id")
        filters, excluded = request_filters(snapshot, ask), excluded_positions(snapshot, ask)
        picked = similar_items(snapshot, pair.live, position, ask.limit, filters=filters, exclude=excluded)
        picked.degraded.extend(self.standing)
        return _encode(snapshot, pair.parts, picked, self._keys.next().hex())

    def trace(self, ask: ShelfRequest, request_id: str | None) -> dict[str, Any]:
        """Why a user's shelf is as it is; with the id of an answer, its exploration is drawn again."""
        pair, now = self._pair(), time.time()
        user_id = ask.user_id or ""
        erased = self._erased_before(user_id, pair.snapshot)
        key = b"" if request_id is None else bytes.fromhex(request_id[-32:])
        traced = trace(
            pair.snapshot,
            pair.live,
            ask,
            actions=self._actions.last_actions(user_id, ask.actions, pair.snapshot.position, now),
            request_key=key,
            personal=not erased,
            policy=self._policy,
        )
        told = msgspec.to_builtins(traced)
        return {**told, "erased": erased, "degraded": [*told["degraded"], *self.standing]}


def _encode(snapshot: Snapshot, parts: EncodedParts, picked: FilledShelf, request_id: str) -> bytes:
    """An `Answer` as JSON."""
    count = len(picked.positions)
    columns = [b""] * (5 * count)
    columns[0::5] = parts.items(picked.positions)
    columns[1::5] = map(_score_text, picked.scores)
    reasons = parts.reasons(picked.reasons, picked.positions, picked.reason_positions)
    columns[2::5], columns[3::5], columns[4::5] = reasons[0::3], reasons[1::3], reasons[2::3]
    rows = b"".join(columns)[:-1]  # without the last comma
    if picked.degraded or picked.short:
        rest = _more(snapshot, picked, request_id)
    else:
        rest = b'"request_id":"%b",%b' % (request_id.encode(), parts.versions)
    return b'{"recommendations":[%b],%b}' % (rows, rest)


def _more(snapshot: Snapshot, picked: FilledShelf, request_id: str) -> bytes:
    """What follows the items in an answer that is not as it should be."""
    told: dict[str, object] = {"request_id": request_id, "model_version": snapshot.manifest.model_version}
    told["snapshot"] = snapshot.version
    if picked.degraded:
        told["degraded"] = picked.degraded
    if picked.short:
        told["short"] = f"the catalogue has {len(picked.positions)} such items now"
    return _ENCODER.encode(told)[1:-1]
