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
from serving.shelf.fill import fill_shelf
from serving.shelf.filled_shelf import FilledShelf
from serving.shelf.items_json import items_json, shown_json
from serving.shelf.languages import Language
from serving.shelf.live_snapshot import LiveSnapshot, LoadedSnapshot
from serving.shelf.recent_actions import RecentActions
from serving.shelf.request import NOTHING_DRAWN, Policy, ShelfRequest, excluded_positions, request_filters
from serving.shelf.similar import similar_items
from serving.shelf.snapshot import Snapshot
from serving.shelf.trace import ShelfTrace, trace
from serving.snapshot.experiments import UNASSIGNED, Assigned, Experiments, ExperimentsError


class Recommendation(msgspec.Struct, frozen=True):
    """One item of a shelf. The order of items is their rank. Scores of different fill levels have different scales.

    `title` to `price`, which is the live one, are there if the request names them in `fields` and they are known; the
    last four if it asks for details. `reason_params` is what `reason` names: an item's title or a category.
    """

    item_id: str
    score: float
    reason: str
    title: str | UnsetType = UNSET
    image_url: str | UnsetType = UNSET
    brand: str | UnsetType = UNSET
    category: str | UnsetType = UNSET
    price: float | UnsetType = UNSET
    source: str | UnsetType = UNSET
    reason_code: str | UnsetType = UNSET
    fill_level: str | UnsetType = UNSET
    reason_params: dict[str, str] | UnsetType = UNSET


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A shelf. `degraded` names what it had to do without; `short` says that the catalogue has no more such items.

    `arms` are the experiments that the answer takes part in, if the request asks for details.
    """

    recommendations: list[Recommendation]
    request_id: str
    model_version: str
    snapshot: str
    degraded: list[str] = []
    short: str = ""
    arms: dict[str, str] = {}


class SimilarItems(msgspec.Struct, frozen=True, omit_defaults=True):
    """Items like one, or a shelf for everybody: an `Answer` that is not logged, so it has no request_id."""

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
        english: Language,
    ) -> None:
        self._live_snapshot, self.exposures, self.metrics = live_snapshot, exposures, metrics
        self.actions, self.erased_before, self._policy = actions, erased_before, policy
        self._english = english
        self._policies: dict[float, Policy] = {}  # those of arms, by their share
        self.keys = RequestKeys()
        self.degraded_now: list[str] = []

    def recommend(
        self,
        request: ShelfRequest,
        client_id: str | None = None,
        started: int = 0,
        language: Language | None = None,
    ) -> tuple[bytes, str]:
        """One shelf as JSON, and the request's id. Raises ProblemError (503) if no snapshot was ever loaded.

        `started` is when the request came, by `perf_counter_ns`. The request's id is the client's own, where there is
        one, a dot and ours, so ids are unique even if a client repeats its own. Without a language it is English.
        """
        parsed = perf_counter_ns()
        loaded = self.loaded()
        snapshot, live, parts, user_id = loaded.snapshot, loaded.live, loaded.parts, request.user_id
        now = time.time()
        key = self.keys.next()
        request_id = key.hex() if client_id is None else f"{client_id}.{key.hex()}"
        personal = user_id is not None and not self.erased_before(user_id, snapshot)
        last_actions = self.actions.last_actions(user_id, request.actions, snapshot.position, now, request.session_id)
        assigned = UNASSIGNED
        if snapshot.experiments is not None or request.arms:
            assigned = assigned_to(snapshot.experiments, request, user_id if personal else None, key)
        state_read = perf_counter_ns()
        filled = fill_shelf(
            snapshot,
            live,
            request,
            assigned.variants,
            actions=last_actions,
            request_key=key,
            personal=personal,
            policy=self.policy_of(assigned),
        )
        if self.degraded_now:
            filled.degraded.extend(self.degraded_now)
        body = encode_answer(loaded, filled, request_id, request, language or self._english)
        if request.details and assigned.arms:
            body = b'%b,"arms":%b}' % (body[:-1], assigned.arms_json)
        encoded = perf_counter_ns()
        prices = live.prices
        shown_prices = [prices[position] for position in filled.positions]
        shown = shown_json(parts, filled, request_id) if request.fields else body
        self.exposures.put(spool_line(shown, now, request, filled, parts, shown_prices, assigned))
        metrics, logged = self.metrics, perf_counter_ns()
        started = started or parsed
        metrics.observe((started, logged), _REQUEST)
        if not key[0] & _UNSAMPLED_BITS:
            metrics.observe((started, parsed, state_read, *filled.laps, encoded, logged), _COMPONENTS)
        metrics.shown(filled.levels, filled.degraded, short=filled.short)
        return body, request_id

    def policy_of(self, assigned: Assigned) -> Policy:
        """The policy of an answer: with the share that its arms explore by, where they say so."""
        share = assigned.explore_share
        if share is None:
            return self._policy
        policy = self._policies.get(share)
        if policy is None:
            if len(self._policies) >= 64:
                self._policies.clear()
            policy = self._policies[share] = msgspec.structs.replace(self._policy, explore_share=share)
        return policy

    def loaded(self) -> LoadedSnapshot:
        """What answers are made from now. Raises ProblemError (503) if no snapshot was ever loaded."""
        loaded = self._live_snapshot.loaded
        if loaded is None:
            why = self._live_snapshot.trouble or "the store has no live snapshot"
            raise ProblemError(503, why, "publish a night (topshelf nightly), or wait until /readyz answers 200")
        return loaded

    def check_ready(self) -> None:
        """Raises ProblemError (503) if no snapshot was ever loaded."""
        self.loaded()

    def similar(self, item_id: str, request: ShelfRequest, language: Language | None = None) -> bytes:
        """Items like one, as `SimilarItems` in JSON.

        Of the request, limit, filters, exclusions, details and fields count.
        Raises ProblemError: 404 for an item that the snapshot does not have, 503 if no snapshot was ever loaded.
        """
        loaded = self.loaded()
        snapshot, position = loaded.snapshot, loaded.snapshot.position(item_id)
        if position < 0:
            raise ProblemError(404, f"{snapshot.version} has no such item", "send an id of the shop's items", "id")
        filters, excluded = request_filters(snapshot, request), excluded_positions(snapshot, request)
        filled = similar_items(snapshot, loaded.live, position, request.limit, filters=filters, exclude=excluded)
        filled.degraded.extend(self.degraded_now)
        return encode_answer(loaded, filled, None, request, language or self._english)

    def of_strangers(self, request: ShelfRequest, language: Language | None = None) -> bytes:
        """A shelf for whoever it is, as `SimilarItems` in JSON: nothing is drawn, and it is not logged.

        Raises ProblemError (503) if no snapshot was ever loaded.
        """
        loaded = self.loaded()
        filled = fill_shelf(
            loaded.snapshot,
            loaded.live,
            request,
            UNASSIGNED.variants,
            actions=None,
            request_key=b"",
            personal=False,
            policy=NOTHING_DRAWN,
        )
        filled.degraded.extend(self.degraded_now)
        return encode_answer(loaded, filled, None, request, language or self._english)

    def trace(self, request: ShelfRequest, request_id: str | None) -> UserTrace:
        """Why a user's shelf is as it is. With an answer's `request_id`, that answer's exploration is repeated."""
        loaded, now = self.loaded(), time.time()
        user_id = request.user_id or ""
        erased = self.erased_before(user_id, loaded.snapshot)
        key = b"" if request_id is None else bytes.fromhex(request_id[-32:])
        experiments = loaded.snapshot.experiments
        assigned = UNASSIGNED if experiments is None or erased else experiments.assigned(user_id, key)
        traced = trace(
            loaded.snapshot,
            loaded.live,
            request,
            assigned.variants,
            actions=self.actions.last_actions(
                user_id, request.actions, loaded.snapshot.position, now, request.session_id
            ),
            request_key=key,
            personal=not erased,
            policy=self._policy,
        )
        degraded = [*traced.degraded, *self.degraded_now]
        return UserTrace(**{**msgspec.structs.asdict(traced), "degraded": degraded, "erased": erased})


def assigned_to(experiments: Experiments | None, request: ShelfRequest, user_id: str | None, key: bytes) -> Assigned:
    """Return the arms of an answer. Raises ProblemError (400) where a tester wants what does not run."""
    if experiments is None:
        raise ProblemError(400, "arms: no experiment runs", "see topshelf experiments list", "arms")
    if not request.arms:
        return experiments.assigned(user_id, key)
    try:
        return experiments.forced(user_id, key, dict(request.arms))
    except ExperimentsError as error:
        raise ProblemError(400, f"arms: {error}", "see topshelf experiments list", "arms") from error


def encode_answer(
    loaded: LoadedSnapshot, filled: FilledShelf, request_id: str | None, request: ShelfRequest, language: Language
) -> bytes:
    """An `Answer` as JSON; without a request_id, `SimilarItems`."""
    items = items_json(loaded, filled, language, fields=request.fields, details=request.details)
    if filled.degraded or filled.short:
        rest = _degraded_rest(loaded.snapshot, filled, request_id)
    elif request_id is None:
        rest = loaded.parts.versions
    else:
        rest = b'"request_id":"%b",%b' % (request_id.encode(), loaded.parts.versions)
    return b'{"recommendations":[%b],%b}' % (items, rest)


def _degraded_rest(snapshot: Snapshot, filled: FilledShelf, request_id: str | None) -> bytes:
    """What follows the items of an answer that is degraded or short."""
    short = f"the catalogue has {len(filled.positions)} such items now" if filled.short else ""
    made_by = (snapshot.manifest.model_version, snapshot.version)
    answer: Answer | SimilarItems = SimilarItems([], *made_by, filled.degraded, short)
    if request_id is not None:
        answer = Answer([], request_id, *made_by, filled.degraded, short)
    return _ENCODER.encode(answer)[len(b'{"recommendations":[],') : -1]
