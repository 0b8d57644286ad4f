"""The Python client feeds price, stock and events to a running endpoint, and repeats only what does no harm."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.clients.proxy import BAD_GATEWAY, GATEWAY_TIMEOUT, LOST_ANSWER, LOST_REQUEST, proxied
from tests.clients.python.conftest import MakeClient
from tests.serving.disks import ROOMY_MB, fill, small_disk
from tests.serving.running import SOON_S, Server, publish_night, serving, within
from topshelf_client import DiskFullError, EventRow, ItemRow, NoAnswerError, RowsRefusedError, UnavailableError


@contextmanager
def shop_of(folder: Path) -> Iterator[Server]:
    publish_night(folder, "2026-01-01")
    with serving(folder, "--explore-share", "0", keyed=True) as server:
        yield server


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for tests that leave it as it was, or feed what no other test looks at."""
    with shop_of(tmp_path_factory.mktemp("fed")) as server:
        yield server


def feeder(client: MakeClient, server: Server, **options: Any) -> Any:
    return client(f"http://127.0.0.1:{server.port}", server.keys["feed"], **options)


def views(user_id: str, count: int) -> list[EventRow]:
    return [
        {"event_id": f"{user_id}-{number}", "user_id": user_id, "item_id": "item-00002", "event_type": "view"}
        for number in range(count)
    ]


def test_prices_and_stock_count_at_once_and_a_none_takes_them_back(client: MakeClient, fed: Server) -> None:
    first, second = fed.ids(user_id="user-1", limit=2)
    rows: list[ItemRow] = [{"item_id": first, "stock": 0}, {"item_id": second, "price": Decimal("9999.99")}]
    feeding = feeder(client, fed)
    assert feeding.send_items(rows).accepted == 2
    assert within(SOON_S, lambda: not {first, second} & set(fed.ids(user_id="user-1", price_max="9000")))
    back: list[ItemRow] = [{"item_id": first, "stock": None}, {"item_id": second, "price": None}]
    assert feeding.send_items(back).refused == []
    assert within(SOON_S, lambda: fed.ids(user_id="user-1", limit=2) == [first, second])


def test_refused_rows_are_named_by_their_place_among_all_rows(client: MakeClient, fed: Server) -> None:
    rows = views("many", 12_000)
    rows[3] |= {"item_id": ""}
    rows[11_998] |= {"event_type": "stare"}  # type: ignore[typeddict-item]
    taken = feeder(client, fed, timeout_s=30).send_events(iter(rows))
    assert taken.accepted == 11_998
    assert [refusal.line for refusal in taken.refused] == [4, 11_999]
    assert "stare" in taken.refused[1].reason


def test_a_part_of_which_nothing_was_accepted_does_not_hide_the_others(client: MakeClient, fed: Server) -> None:
    good: list[ItemRow] = [{"item_id": f"not-of-the-catalogue-{number}", "stock": 1} for number in range(10_000)]
    taken = feeder(client, fed, timeout_s=30).send_items([*good, {"item_id": ""}])
    assert (taken.accepted, [refusal.line for refusal in taken.refused]) == (10_000, [10_001])


def test_rows_of_which_none_is_accepted_raise_with_each_reason(client: MakeClient, fed: Server) -> None:
    with pytest.raises(RowsRefusedError) as refused:
        feeder(client, fed).send_items([{"item_id": ""}, {"item_id": "item-00001", "price": "-1"}])
    assert [refusal.line for refusal in refused.value.refused] == [1, 2]
    assert refused.value.status == 400
    assert refused.value.remedy
    assert feeder(client, fed).send_items([]).accepted == 0


def test_an_event_whose_answer_was_lost_is_sent_again_and_lands_once(
    client: MakeClient, fed: Server, request: pytest.FixtureRequest
) -> None:
    user_id, last = f"lost of {request.node.name}", f"last of {request.node.name}"
    with proxied(fed.port) as proxy:
        proxy.faults += [LOST_ANSWER, BAD_GATEWAY, GATEWAY_TIMEOUT]
        feeding = client(proxy.address, fed.keys["feed"])
        assert feeding.send_events(views(user_id, 3)).accepted == 3
        assert len(proxy.seen) == 4
        assert feeding.send_events(views(last, 1)).accepted == 1
    # Events land in the order of their coming.
    assert within(SOON_S, lambda: any(row["user_id"] == last for row in fed.landed("events")))
    landed = [row["event_id"] for row in fed.landed("events") if row["user_id"] == user_id]
    assert sorted(landed) == [f"{user_id}-{number}" for number in range(3)]


@pytest.mark.parametrize("fault", [LOST_ANSWER, LOST_REQUEST, BAD_GATEWAY, GATEWAY_TIMEOUT])
def test_item_rows_without_a_time_are_not_sent_twice_where_nobody_knows_what_became_of_them(
    client: MakeClient, fed: Server, fault: Any
) -> None:
    timed: ItemRow = {"item_id": "not-of-the-catalogue", "stock": 1, "ts": datetime.now(UTC)}
    with proxied(fed.port) as proxy:
        feeding = client(proxy.address, fed.keys["feed"])
        proxy.faults.append(fault)
        with pytest.raises((NoAnswerError, UnavailableError)):
            feeding.send_items([timed, {"item_id": "nor-this"}])
        assert len(proxy.seen) == 1
        proxy.faults.append(fault)
        assert feeding.send_items([timed]).accepted == 1
        assert len(proxy.seen) == 3


def test_rows_are_sent_again_while_a_disk_is_full(client: MakeClient, tmp_path: Path) -> None:
    with small_disk(tmp_path / "shop", ROOMY_MB) as folder, shop_of(folder) as server, proxied(server.port) as proxy:
        rows: list[ItemRow] = [{"item_id": f"item-{number:05d}", "stock": 1} for number in range(5_000)]
        filler = fill(folder)
        with pytest.raises(DiskFullError) as full:
            client(proxy.address, server.keys["feed"], attempts=2).send_items(rows)
        assert full.value.status == 507
        assert proxy.statuses == [507, 507]
        filler.unlink()
        assert client(proxy.address, server.keys["feed"]).send_items(rows).accepted == 5_000
