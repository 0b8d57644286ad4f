"""Caches of a snapshot and of requests stay within their bounds, whatever is asked."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from jobs.publishing.publish import publish
from serving.api import parameters
from serving.shelf import encoded_parts
from serving.shelf.encoded_parts import EncodedParts
from serving.shelf.languages import built_in_languages
from serving.shelf.snapshot import Snapshot
from serving.stores import open_store
from tests.serving.small_shop import night

ENGLISH = built_in_languages().english.templates


@pytest.fixture
def snapshot(tmp_path: Path) -> Iterator[Snapshot]:
    with closing(open_store(f"lmdb://{tmp_path}/store")) as store:
        publish(night(), store)
        yield Snapshot(store.open(str(store.pointer().live)))


def test_encoded_items_titles_and_fields_are_dropped_before_they_take_too_much(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoded_parts, "MAX_BYTES", 2_000)
    parts, small = EncodedParts(snapshot), EncodedParts(snapshot)
    for position in range(len(snapshot)):
        wanted = b'{"item_id":"%b","score":' % snapshot.item_id(position).encode()
        assert small.items([position]) == [wanted]
        assert small.bytes <= 2_000
        small.reasons([6], [position], [position], ENGLISH)
        assert small.bytes <= 2_000
        assert small.items_with(("brand",), [position]) == EncodedParts(snapshot).items_with(("brand",), [position])
        assert small.bytes <= 2_000
    again = EncodedParts(snapshot, small)
    assert 0 < again.bytes == small.bytes
    assert parts.bytes == 0


def test_shelves_of_drawn_segments_stay_within_their_bound(snapshot: Snapshot) -> None:
    table = snapshot.segment_shelves
    table.max_bytes = 40_000
    for number in range(500):
        shelf = snapshot.segment_shelf("DE", f"{number:0200d}", ("toys", "home"))
        assert shelf is not None
        assert table.bytes <= 40_000
    assert snapshot.segment_shelf("nowhere", "", ()) is None
    assert snapshot.segment_shelf("nowhere", "", ()) is None  # from the table


def test_a_query_that_names_items_is_not_kept() -> None:
    parameters._known_query.cache_clear()
    excluded = ",".join(f"item-{number:05d}" for number in range(500))
    for number in range(5):
        assert parameters.from_query(b"user_id=u&limit=%d&exclude=%b" % (number + 1, excluded.encode())).exclude
        assert parameters.from_query(b"user_id=u&limit=%d" % (number + 1)).limit == number + 1
    assert parameters._known_query.cache_info().currsize == 5
