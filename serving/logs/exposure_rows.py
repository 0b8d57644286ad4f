"""Turns a line of the spool (`Shown`, one answer) into a row of `landing/exposures`.

The row holds what the items of the answer share once, and what each item has of its own in lists, in the order of the
items. Its names are those of `sql/staging/exposures.yml`; the night makes a row an item of it.
"""

import time

import msgspec
from msgspec import UNSET, UnsetType

from serving.logs.exposures import Shown
from serving.shelf.fill_levels import LEVELS
from serving.shelf.filled_shelf import SLOT_TYPES
from serving.shelf.vocabulary import ANSWER_SOURCES


class _ShownItem(msgspec.Struct, frozen=True, gc=False):
    item_id: str
    score: float


class _AnswerBody(msgspec.Struct, frozen=True):
    """The fields of an answer's body that exposures need."""

    recommendations: list[_ShownItem]
    request_id: str


class _ExposureRow(msgspec.Struct, frozen=True):
    """A row of `landing/exposures`: one answer."""

    request_id: str
    ts: str
    user_id: str | None
    snapshot: str
    overlay: str | None
    model_version: str
    policy_version: str
    arms: dict[str, str]
    page: str | None
    device: str | None
    location: str | None
    limit: int
    filters: str
    item_ids: list[str]
    positions: list[int]
    slot_types: list[str]
    fill_levels: list[str]
    sources: list[str]
    propensities: list[float]
    eligible_counts: list[int]
    scores: list[float]
    prices_minor: list[int | None]
    teams: list[str | None] | UnsetType = UNSET
    shelf: str | UnsetType = UNSET
    row: int | UnsetType = UNSET


_ANSWER, _ENCODER = msgspec.json.Decoder(_AnswerBody), msgspec.json.Encoder()


def exposure_row(shown: Shown) -> bytes:
    """One JSON line. Positions count from 0; a price is null where it is unknown. Raises msgspec.MsgspecError."""
    answer = _ANSWER.decode(shown.answer)
    items = answer.recommendations
    snapshot, overlay, model_version, policy_version = shown.made_by
    second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(shown.ts_ms // 1000))
    row = _ExposureRow(
        request_id=answer.request_id,
        ts=f"{second}.{shown.ts_ms % 1000:03d}Z",
        user_id=shown.user_id,
        snapshot=snapshot,
        overlay=overlay,
        model_version=model_version,
        policy_version=policy_version,
        arms=shown.arms,
        page=shown.page,
        device=shown.device,
        location=shown.location,
        limit=shown.limit,
        filters=shown.filters,
        item_ids=[item.item_id for item in items],
        positions=list(range(len(items))),
        slot_types=[SLOT_TYPES[slot] for slot in shown.slots],
        fill_levels=[LEVELS[level] for level in shown.levels],
        sources=[ANSWER_SOURCES[source] for source in shown.sources],
        propensities=shown.propensities,
        eligible_counts=shown.eligible,
        scores=[item.score for item in items],
        prices_minor=[None if price < 0 else price for price in shown.prices_minor],
        teams=shown.teams or UNSET,
        shelf=shown.shelf or UNSET,
        row=shown.row if shown.row >= 0 else UNSET,
    )
    return _ENCODER.encode(row) + b"\n"
