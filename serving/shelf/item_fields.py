"""What an answer carries of an item besides id, score and reason, if a request asks for it: `fields=title,price`.

A field whose value is unknown is left out.
"""

import msgspec

from serving import money
from serving.shelf.snapshot import Snapshot

FIELDS = ("title", "price", "image_url", "brand", "category")
PRICE = "price"  # the live one; all others are constant in a snapshot
BEFORE_SCORE = b',"score":'
_ENCODER = msgspec.json.Encoder()


def constant_fields(snapshot: Snapshot, position: int, fields: tuple[str, ...]) -> bytes:
    """Return an item's known fields but the price as JSON, a comma before each: `,"title":"Mug","brand":"Hearth"`."""
    values = {
        "title": snapshot.titles[position],
        "image_url": snapshot.image_url(position),
        "brand": snapshot.brand(position),
        "category": snapshot.category(position),
    }
    known = {name: values[name] for name in fields if values.get(name)}
    return b",%b" % _ENCODER.encode(known)[1:-1] if known else b""


class PriceTexts(dict[int, bytes]):
    """What stands before an item's score for each price in minor units. Answers repeat few prices."""

    def __missing__(self, price_minor: int) -> bytes:
        if len(self) >= 1 << 16:  # of less than 0.2 KB each
            self.clear()
        price = b"" if price_minor < 0 else b',"price":%b' % money.to_number(price_minor).encode()
        text = self[price_minor] = price + BEFORE_SCORE
        return text
