"""The overlay: changes within a day, as a small version of its own, bound to one base snapshot.

It is kept in a store beside the base's (`overlay_url`). So it is immutable, sealed and checksummed like any version,
and its pointer moves by compare-and-set. Its name begins with the base's; readers ignore an overlay of another base.

| blob | what |
| --- | --- |
| `trending` (JSON: pairs of item id and score) | the trending shelf in the order of rank; null keeps the base's |
| `new_items` (JSON: list of OverlayItem) | items that the base lacks, newest first, with their neighbours |
"""

import hashlib
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec
from msgspec import Meta

from serving.money import MAX_MINOR
from serving.snapshot.blobs import pack_json, unpack_json
from serving.snapshot.manifest import StoreError

MAX_TRENDING = 200
MAX_NEW_ITEMS = 4_096
MAX_NEIGHBOURS = 100
_SUFFIX = "-overlay"
ScoredId = tuple[str, Annotated[float, Meta(ge=-3e38, le=3e38)]]  # an item's id and its score, a float32
_TRENDING: Any = list[ScoredId] | None


class OverlayItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item that was landed after the night; `neighbours` are similar items and their scores, nearest first."""

    item_id: str
    title: str = ""
    category: str = ""
    brand: str = ""
    image_url: str = ""
    price_minor: Annotated[int, Meta(ge=-1, le=MAX_MINOR)] = -1  # -1 for unknown
    stock: Annotated[int, Meta(ge=-1, le=2**31 - 1)] = -1  # -1 for unknown
    neighbours: list[ScoredId] = []


class OverlayContents(msgspec.Struct, frozen=True):
    """What one overlay holds; None as `trending` keeps the base's shelf."""

    trending: list[ScoredId] | None = None
    new_items: list[OverlayItem] = []


def overlay_url(store_url: str) -> str:
    """Return the URL of the store that holds the overlays of a store's snapshots."""
    parts = urlsplit(store_url)
    if parts.scheme == "lmdb":
        return f"{store_url.rstrip('/')}/overlays"
    query = dict(parse_qsl(parts.query))
    query["namespace"] = query.get("namespace", "topshelf") + _SUFFIX
    return urlunsplit(parts._replace(query=urlencode(query)))


def overlay_name(base: str, contents: OverlayContents) -> str:
    """Return an overlay's version: its base and a hash of its contents, so equal contents are one version."""
    digest = hashlib.sha256(msgspec.json.encode(contents)).hexdigest()
    return f"{base}.{digest[:12]}"


def is_over(overlay: str | None, base: str) -> bool:
    """Return whether an overlay of this name is bound to that base."""
    return overlay is not None and overlay.rpartition(".")[0] == base


def overlay_blobs(contents: OverlayContents) -> dict[str, bytes]:
    """Return the blobs of an overlay by name. Raises StoreError for more rows than an overlay may hold."""
    for name, rows, most in (
        ("trending", contents.trending or [], MAX_TRENDING),
        ("new items", contents.new_items, MAX_NEW_ITEMS),
        (
            "neighbours of an item",
            max((item.neighbours for item in contents.new_items), key=len, default=[]),
            MAX_NEIGHBOURS,
        ),
    ):
        if len(rows) > most:
            raise StoreError(f"an overlay of {len(rows)} {name}: it holds at most {most}; give the first ones")
    return {
        "trending": pack_json(msgspec.to_builtins(contents.trending)),
        "new_items": pack_json(msgspec.to_builtins(contents.new_items)),
    }


def read_overlay(trending: bytes | memoryview, new_items: bytes | memoryview, where: str) -> OverlayContents:
    """Return the contents of an overlay's blobs. Raises StoreError for damage."""
    remedy = "the next run writes another"
    ranked: list[ScoredId] | None = unpack_json(trending, _TRENDING, where, remedy)
    return OverlayContents(ranked, unpack_json(new_items, list[OverlayItem], where, remedy))
