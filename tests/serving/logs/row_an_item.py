"""The older form of `landing/exposures`, a row an item, which the night still reads."""

import time

import msgspec

from serving.logs.exposures import Shown
from serving.shelf.fill_levels import LEVELS
from serving.shelf.filled_shelf import SLOT_TYPES
from serving.snapshot.record import SOURCES


class _PlacedItem(msgspec.Struct, frozen=True):
    item_id: str
    score: float


class _PlacedAnswer(msgspec.Struct, frozen=True):
    """The fields of an answer's body that exposures need."""

    recommendations: list[_PlacedItem]
    request_id: str


class _SharedColumns(msgspec.Struct, frozen=True):
    """The columns that all rows of one answer share."""

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


_ANSWER, _ENCODER = msgspec.json.Decoder(_PlacedAnswer), msgspec.json.Encoder()


def rows_of_items(shown: Shown) -> bytes:
    """One JSON line per item. `position` counts from 0; `price_minor` is null where the price is unknown."""
    answer = _ANSWER.decode(shown.answer)
    shared_columns = _ENCODER.encode(_answer_columns(shown, answer.request_id)).decode()[1:]
    columns = zip(
        answer.recommendations,
        shown.levels,
        shown.sources,
        shown.slots,
        shown.propensities,
        shown.eligible,
        shown.prices_minor,
        strict=True,
    )
    return "".join(
        f'{{"item_id":{_ENCODER.encode(item.item_id).decode()},"score":{item.score!r},"position":{position},'
        f'"slot_type":"{SLOT_TYPES[slot]}","fill_level":"{LEVELS[level]}","source":"{SOURCES[source]}",'
        f'"propensity":{propensity!r},"eligible_count":{eligible},'
        f'"price_minor":{"null" if price < 0 else price},{shared_columns}\n'
        for position, (item, level, source, slot, propensity, eligible, price) in enumerate(columns)
    ).encode()


def _answer_columns(shown: Shown, request_id: str) -> _SharedColumns:
    snapshot, overlay, model_version, policy_version = shown.made_by
    second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(shown.ts_ms // 1000))
    return _SharedColumns(
        request_id=request_id,
        ts=f"{second}.{shown.ts_ms % 1000:03d}Z",
        user_id=shown.user_id,
        snapshot=snapshot,
        overlay=overlay,
        model_version=model_version,
        policy_version=policy_version,
        arms={},
        page=shown.page,
        device=shown.device,
        location=shown.location,
        limit=shown.limit,
        filters=shown.filters,
    )
