"""Gauges of `/metrics` that tell how much a worker keeps in each of its tables. docs/endpoint.md has their bounds."""

from collections.abc import Iterator

from serving.api.exposition import GaugeReading
from serving.logs.exposures import ExposureLog
from serving.shelf.explore import CHOICES
from serving.shelf.live_snapshot import LiveSnapshot
from serving.shelf.recent_actions import RecentActions


def table_sizes(
    live_snapshot: LiveSnapshot, actions: RecentActions, exposures: ExposureLog
) -> Iterator[GaugeReading]:
    """Yield one gauge for each table that grows with what is asked and fed."""
    yield _bytes("explore_choices", "exploration choices", CHOICES.bytes)
    yield _bytes("last_actions", "last actions", actions.bytes)
    yield _bytes("exposures_queued", "exposures that wait in this worker", exposures.queued_bytes)
    loaded = live_snapshot.loaded
    if loaded is None:
        return
    snapshot = loaded.snapshot
    yield _bytes("encoded_parts", "encoded items, titles and fields", loaded.parts.bytes)
    yield _bytes("segment_shelves", "shelves of segments", snapshot.segment_shelves.bytes)
    for name, what, table in (
        ("stored_shelves", "Stored shelves", snapshot.packed),
        ("item_positions", "Positions of items by their ids", snapshot.position),
        ("pool_masks", "Exploration pools by category", snapshot.pool_in),
        ("band_shelves", "Shelves of price bands", snapshot.band_shelf),
    ):
        yield GaugeReading(f"topshelf_{name}_kept", f"{what} that are kept.", table.cache_info().currsize)


def _bytes(name: str, what: str, value: int) -> GaugeReading:
    return GaugeReading(f"topshelf_{name}_bytes", f"Bytes of {what}.", value)
