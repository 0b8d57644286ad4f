"""Answers: from an `Ask` to the bytes of a response, and to the exposure log."""

import time
import uuid

import msgspec

from serving.current import Current
from serving.exposures import ExposureLog, Shown
from serving.problems import ProblemError
from serving.shelf import Ask, Pick, pick
from serving.snapshot import Snapshot


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
        return _encode(snapshot, picked, request_id)


def _encode(snapshot: Snapshot, picked: Pick, request_id: str) -> bytes:
    """An `Answer` as JSON, put together from parts that were encoded before: most items are shown again and again."""
    item, why = snapshot.item_json, snapshot.reason_json
    columns = zip(picked.positions, picked.scores, picked.reasons, picked.reason_positions, strict=True)
    rows = [
        f'{item(position)}{score:.4g},"reason":{why(reason, position, about)}}}'
        for position, score, reason, about in columns
    ]
    rest = {"request_id": request_id, "model_version": snapshot.manifest.model_version, "snapshot": snapshot.version}
    more: dict[str, object] = {**rest}
    if picked.degraded:
        more["degraded"] = picked.degraded
    if picked.short:
        more["short"] = f"the catalogue has {len(picked.positions)} such items now"
    return b'{"recommendations":[' + ",".join(rows).encode() + b"]," + _ENCODER.encode(more)[1:]
