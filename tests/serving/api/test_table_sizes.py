"""What a worker keeps is told in `/metrics`."""

from pathlib import Path

from tests.serving.running import publish_night, serving


def test_every_table_that_grows_with_what_is_asked_and_fed_has_a_gauge(tmp_path: Path) -> None:
    publish_night(tmp_path, "2026-01-01", explores=True)
    with serving(tmp_path) as server:
        row = '{"event_id": "e-1", "user_id": "user-1", "item_id": "item-00007", "event_type": "view"}'
        server.http.post("/events", content=row)
        server.shelf(user_id="user-1", limit=60, category="home", price_max=3, region="DE", exclude="item-00003")
        for name in ("explore_choices", "last_actions", "encoded_parts", "segment_shelves"):
            assert 0 < server.metric(f"topshelf_{name}_bytes") < 32 << 20, name
        for name in ("stored_shelves", "item_positions", "pool_masks", "band_shelves"):
            assert server.metric(f"topshelf_{name}_kept") >= 1, name
        assert server.metric("topshelf_exposures_queued_bytes") >= 0
