"""From a `ShelfRequest` to the bytes of a response, and to the exposure log.

This runs for every request, so an answer is joined from pre-encoded parts, without an object for each item.
"""

import hashlib
import itertools
import os
import time
from collections.abc import Callable
from time import perf_counter_ns

import msgspec
from msgspec import UNSET, UnsetType

from serving.api.metrics import COMPONENTS, Metrics
from serving.logs.exposures import ExposureLog, spool_line
from serving.problems import ProblemError
from serving.shelf.encoded_parts import EncodedParts, with_details
from serving.shelf.fill import fill_shelf
from serving.shelf.filled_shelf import FilledShelf
from serving.shelf.live_snapshot import LiveSnapshot, LoadedSnapshot
from serving.shelf.recent_actions import RecentActions
from serving.shelf.request import Policy, ShelfRequest, excluded_positions, request_filters
from serving.shelf.similar import similar_items
from serving.shelf.snapshot import Snapshot
from serving.shelf.trace import ShelfTrace, trace


class Recommendation(msgspec.Struct, frozen=True):
    """One item of a shelf. The order of items is their rank. Scores of different fill levels have different scales.

    The last three fields are there if the request asks for details.
    """

    item_id: str
    score: float
    reason: str
    source: str | UnsetType = UNSET
    reason_code: str | UnsetType = UNSET
    fill_level: str | UnsetType = UNSET


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A shelf. `degraded` names what it had to do without; `short` says that the catalogue has no more such items."""

    recommendations: list[Recommendation]
    request_id: str
    model_version: str
    snapshot: str
    degraded: list[str] = []
    short: str = ""


class SimilarItems(msgspec.Struct, frozen=True, omit_defaults=True):
    """Items like one: an `Answer` without a request_id, as these answers are not logged as exposures."""

    recommendations: list[Recommendation]
    model_version: str
    snapshot: str
    degraded: list[str] = []
    short: str = ""


class UserTrace(ShelfTrace, frozen=True):
    """A trace; `erased` says that the snapshot may hold the user's data from before an erasure, which is not read."""

    erased: bool


_ENCODER = msgspec.json.Encoder()
_COMPONENTS = tuple(COMPONENTS.index(name) for name in (
    "parse", "state", "store", "filter", "explore", "fill", "encode", "log",
))  # fmt: skip
_REQUEST = (COMPONENTS.index("request"),)
_UNSAMPLED_BITS = 7  # one answer in eight, by these bits of its key, is timed by component


class _ScoreTexts(dict[float, bytes]):
    """Scores as JSON, up to the reason's value. Records hold few distinct scores, so most are found here."""

    def __missing__(self, score: float) -> bytes:
        if len(self) >= 1 << 16:  # of less than 0.2 KB each
            self.clear()
        text = self[score] = b'%.4g,"reason":' % score
        return text


_score_text = _ScoreTexts().__getitem__


class RequestKeys:
    """Makes each answer's key: 16 bytes that no caller can foresee or choose."""

    def __init__(self) -> None:
        self._secret, self._count = os.urandom(32), itertools.count()

    def next(self) -> bytes:
        number = next(self._count).to_bytes(8, "little")
        return hashlib.blake2b(number, digest_size=16, key=self._secret).digest()


class Answers:
    """Answers requests from the live snapshot, and hands what was shown to the exposure log.

    `degraded_now` names what every answer has to do without at present; `Worker` keeps it up to date.
    """

    def __init__(
        self,
        live_snapshot: LiveSnapshot,
        exposures: ExposureLog,
        metrics: Metrics,
        actions: RecentActions,
        erased_before: Callable[[str, Snapshot], bool],
        policy: Policy,
    ) -> None:
        self._live_snapshot, self._exposures, self._metrics = live_snapshot, exposures, metrics
        self._actions, self._erased_before, self._policy = actions, erased_before, policy
        self._keys = RequestKeys()
        self.degraded_now: list[str] = []

    def recommend(self, request: ShelfRequest, client_id: str | None = None, started: int = 0) -> tuple[bytes, str]:
        """One shelf as JSON, and the request's id. Raises ProblemError (503) if no snapshot was ever loaded.

        `started` is when the request came, by `perf_counter_ns`. The request's id is the client's own, where there is
        one, a dot and ours, so ids are unique even if a client repeats its own.
        """
        parsed = perf_counter_ns()
        loaded = self._loaded()
        snapshot, live, parts, user_id = loaded.snapshot, loaded.live, loaded.parts, request.user_id
        now = time.time()
        key = self._keys.next()
        request_id = key.hex() if client_id is None else f"{client_id}.{key.hex()}"
        personal = user_id is not None and not self._erased_before(user_id, snapshot)
        last_actions = self._actions.last_actions(user_id, request.actions, snapshot.position, now)
        state_read = perf_counter_ns()
        filled = fill_shelf(
            snapshot, live, request, actions=last_actions, request_key=key, personal=personal, policy=self._policy
        )
        if self.degraded_now:
            filled.degraded.extend(self.degraded_now)
        body = _encode(snapshot, parts, filled, request_id, request.details)
        encoded = perf_counter_ns()
        prices = live.prices
        shown_prices = [prices[position] for position in filled.positions]
        self._exposures.put(spool_line(body, now, request, filled, parts, shown_prices))
        metrics, logged = self._metrics, perf_counter_ns()
        started = started or parsed
        metrics.observe((started, logged), _REQUEST)
        if not key[0] & _UNSAMPLED_BITS:
            metrics.observe((started, parsed, state_read, *filled.laps, encoded, logged), _COMPONENTS)
        metrics.shown(filled.levels, filled.degraded, short=filled.short)
        return body, request_id

    def _loaded(self) -> LoadedSnapshot:
        loaded = self._live_snapshot.loaded
        if loaded is None:
            why = self._live_snapshot.trouble or "the store has no live snapshot"
            raise ProblemError(503, why, "publish a night (topshelf nightly), or wait until /readyz answers 200")
        return loaded

    def similar(self, item_id: str, request: ShelfRequest) -> bytes:
        """Items like one, as `SimilarItems` in JSON. Of the request, limit, filters, exclusions and details count.

        Raises ProblemError: 404 for an item that the snapshot does not have, 503 if no snapshot was ever loaded.
        """
        loaded = self._loaded()
        snapshot, position = loaded.snapshot, loaded.snapshot.position(item_id)
        if position < 0:
            raise ProblemError(404, f"{snapshot.version} has no such item", "send an id of the shop's items", "id")
        filters, excluded = request_filters(snapshot, request), excluded_positions(snapshot, request)
        filled = similar_items(snapshot, loaded.live, position, request.limit, filters=filters, exclude=excluded)
        filled.degraded.extend(self.degraded_now)
        return _encode(snapshot, loaded.parts, filled, None, request.details)

    def trace(self, request: ShelfRequest, request_id: str | None) -> UserTrace:
        """Why a user's shelf is as it is. With an answer's `request_id`, that answer's exploration is repeated."""
        loaded, now = self._loaded(), time.time()
        user_id = request.user_id or ""
        erased = self._erased_before(user_id, loaded.snapshot)
        key = b"" if request_id is None else bytes.fromhex(request_id[-32:])
        traced = trace(
            loaded.snapshot,
            loaded.live,
            request,
            actions=self._actions.last_actions(user_id, request.actions, loaded.snapshot.position, now),
            request_key=key,
            personal=not erased,
            policy=self._policy,
        )
        degraded = [*traced.degraded, *self.degraded_now]
        return UserTrace(**{**msgspec.structs.asdict(traced), "degraded": degraded, "erased": erased})


def _encode(
    snapshot: Snapshot, parts: EncodedParts, filled: FilledShelf, request_id: str | None, details: bool
) -> bytes:
    """An `Answer` as JSON; without a request_id, `SimilarItems`."""
    count = len(filled.positions)
    columns = [b""] * (5 * count)
    columns[0::5] = parts.items(filled.positions)
    columns[1::5] = map(_score_text, filled.scores)
    reasons = parts.reasons(filled.reasons, filled.positions, filled.reason_positions)
    columns[2::5], columns[3::5], columns[4::5] = reasons[0::3], reasons[1::3], reasons[2::3]
    if details:
        columns[4::5] = with_details(reasons[2::3], filled.sources, filled.reasons, filled.levels)
    rows = b"".join(columns)[:-1]  # without the last comma
    if filled.degraded or filled.short:
        rest = _degraded_rest(snapshot, filled, request_id)
    elif request_id is None:
        rest = parts.versions
    else:
        rest = b'"request_id":"%b",%b' % (request_id.encode(), parts.versions)
    return b'{"recommendations":[%b],%b}' % (rows, rest)


def _degraded_rest(snapshot: Snapshot, filled: FilledShelf, request_id: str | None) -> bytes:
    """What follows the items of an answer that is degraded or short."""
    short = f"the catalogue has {len(filled.positions)} such items now" if filled.short else ""
    made_by = (snapshot.manifest.model_version, snapshot.version)
    answer: Answer | SimilarItems = SimilarItems([], *made_by, filled.degraded, short)
    if request_id is not None:
        answer = Answer([], request_id, *made_by, filled.degraded, short)
    return _ENCODER.encode(answer)[len(b'{"recommendations":[],') : -1]
