"""Answers: from an `Ask` to the bytes of a response, and to the exposure log."""

import time
import uuid

import msgspec

from serving.current import Current
from serving.exposures import ExposureLog, Shown
from serving.problems import ProblemError
from serving.shelf import Ask, pick


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


class Answers:
    """Answers requests from the current pair, and hands what was shown to the exposure log."""

    def __init__(self, current: Current, exposures: ExposureLog) -> None:
        self._current, self._exposures = current, exposures

    def recommend(self, ask: Ask, request_id: str | None = None) -> bytes:
        """One shelf as JSON. Raises ProblemError (503) when no snapshot was ever loaded."""
        pair = self._current.pair
        if pair is None:
            why = self._current.trouble or "the store has no live snapshot"
            raise ProblemError(503, why, "publish a night (topshelf nightly), or wait until /readyz answers 200")
        request_id = request_id or uuid.uuid4().hex
        snapshot = pair.snapshot
        picked = pick(snapshot, pair.live, ask)
        if self._current.trouble is not None:
            picked.degraded.append("snapshot_stale")
        prices = pair.live.price_minor[picked.positions].tolist() if picked.positions else []
        self._exposures.put(Shown(request_id, time.time(), ask, picked, snapshot, prices))
        columns = zip(picked.positions, picked.scores, picked.reasons, picked.reason_positions, strict=True)
        answer = Answer(
            [
                Recommendation(snapshot.item_id(position), round(score, 6), snapshot.reason(reason, position, about))
                for position, score, reason, about in columns
            ],
            request_id,
            snapshot.manifest.model_version,
            snapshot.version,
            picked.degraded,
            f"the catalogue has {len(picked.positions)} such items now" if picked.short else "",
        )
        return _ENCODER.encode(answer)
