"""The items of an answer as JSON. Every route whose answer has items encodes them here.

items_json(loaded, filled, languages.english, fields=("title", "price"), details=True)
# b'{"item_id":"mug-1","title":"Blue mug","price":12.5,"score":0.31,"reason":"Buy again","source":"als",…},…'

This runs for every request, so items are joined from pre-encoded parts, without an object for each.
"""

from collections.abc import Sequence
from functools import cache

import msgspec

from serving.shelf.encoded_parts import EncodedParts
from serving.shelf.fill_levels import LEVELS
from serving.shelf.filled_shelf import FilledShelf
from serving.shelf.item_fields import PRICE, PriceTexts
from serving.shelf.languages import Language, built_in_languages
from serving.shelf.live_snapshot import LoadedSnapshot
from serving.shelf.vocabulary import ANSWER_REASONS, ANSWER_SOURCES

_ENCODER = msgspec.json.Encoder()
_END = b"},"  # of an item
_PARAMS = b',"reason_params":{"%b":"%b"}'


class _ScoreTexts(dict[float, bytes]):
    """Scores as JSON, up to the reason's value. Records hold few distinct scores, so most are found here."""

    def __missing__(self, score: float) -> bytes:
        if len(self) >= 1 << 16:  # of less than 0.2 KB each
            self.clear()
        text = self[score] = b'%.4g,"reason":' % score
        return text


_score_text = _ScoreTexts().__getitem__
_price_text = PriceTexts().__getitem__


def items_json(
    loaded: LoadedSnapshot,
    filled: FilledShelf,
    language: Language,
    *,
    fields: tuple[str, ...] = (),
    details: bool = False,
) -> bytes:
    """Return the items as JSON objects with commas between, without brackets; empty for none.

    `fields` are some of FIELDS in their order; they stand before the score. With `details`, each item's source,
    reason code and fill level follow, and what its reason names.
    """
    parts, positions = loaded.parts, filled.positions
    columns = [b""] * (5 * len(positions))
    columns[0::5] = _with_fields(loaded, positions, fields) if fields else parts.items(positions)
    columns[1::5] = map(_score_text, filled.scores)
    reasons = parts.reasons(filled.reasons, positions, filled.reason_positions, language.templates)
    columns[2::5], columns[3::5], columns[4::5] = reasons[0::3], reasons[1::3], reasons[2::3]
    if details:
        columns[4::5] = _with_details(reasons[2::3], parts, filled)
    return b"".join(columns)[:-1]  # without the last comma


def shown_json(parts: EncodedParts, filled: FilledShelf, request_id: str) -> bytes:
    """Return as much of an answer as its exposures need (`serving.logs.exposure_rows`): ids, scores, request id.

    Titles and pictures of a body are known to the night already: in the spool they would only take its room.
    """
    columns = [b'""},'] * (3 * len(filled.positions))
    columns[0::3] = parts.items(filled.positions)
    columns[1::3] = map(_score_text, filled.scores)
    return b'{"recommendations":[%b],"request_id":"%b"}' % (b"".join(columns)[:-1], request_id.encode())


def _with_fields(loaded: LoadedSnapshot, positions: Sequence[int], fields: tuple[str, ...]) -> list[bytes]:
    """Return the beginning of each item with its fields, up to the score."""
    items = loaded.parts.items_with(fields, positions)
    if PRICE not in fields:
        return items
    prices = loaded.live.prices
    return [item + _price_text(prices[position]) for item, position in zip(items, positions, strict=True)]


def _with_details(ends: Sequence[bytes], parts: EncodedParts, filled: FilledShelf) -> list[bytes]:
    """Return the last fragments of items, each now followed by the item's details."""
    things = built_in_languages().english.templates.names  # a shop's own text may leave the name out
    names = parts.names(filled.reasons, filled.positions, filled.reason_positions, things)
    rows = zip(ends, filled.sources, filled.reasons, filled.levels, names, strict=True)
    return [
        end[: -len(_END)]
        + _details(source, code, level)
        + (_PARAMS % (things[code].encode(), name) if name else b"")
        + _END
        for end, source, code, level, name in rows
    ]


@cache
def _details(source: int, code: int, level: int) -> bytes:
    details = {"source": ANSWER_SOURCES[source], "reason_code": ANSWER_REASONS[code], "fill_level": LEVELS[level]}
    return b",%b" % _ENCODER.encode(details)[1:-1]
