"""RetailRocket lands from either form, with as much of the published files as there is."""

import gzip
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow.dataset as ds
import pytest

from jobs.landing.adapters.published import SourceError
from jobs.landing.adapters.retailrocket import retailrocket, retailrocket_buyers
from tests.jobs.landing.looking import landed

DAY_MS = 86_400_000
MAY_3 = 1_430_611_200_000  # 2015-05-03 00:00 UTC
EVENTS = [
    "timestamp,visitorid,event,itemid,transactionid",
    f"{MAY_3 + 500},7,view,10,",
    f"{MAY_3 + 1500},7,addtocart,10,",
    f"{MAY_3 + 2 * DAY_MS},7,transaction,10,99",
    f"{MAY_3 + 2 * DAY_MS - 1},8,view,11,",
    f"{MAY_3},8,wished,11,",
    "later,8,view,11,",
]
TREE = ["categoryid,parentid", "1016,213", "213,", "5,1016", "9,"]
PART_1 = [
    "timestamp,itemid,property,value",
    f"{MAY_3 + DAY_MS},10,categoryid,1016",
    f"{MAY_3 + DAY_MS},10,available,0",
    f"{MAY_3 + DAY_MS},10,790,n32880.000",
    f"{MAY_3 + DAY_MS + 5},10,available,1",
    f"{MAY_3 + DAY_MS},10,888,n1.000 n2.000",
]
PART_2 = [
    "timestamp,itemid,property,value",
    f"{MAY_3 + 2 * DAY_MS},10,available,1",
    f"{MAY_3 + 2 * DAY_MS},12,categoryid,777",
    f"{MAY_3 + 2 * DAY_MS},12,790,n1.000 n2.000",
    f"{MAY_3 + 3 * DAY_MS},10,categoryid,5",
    f"{MAY_3 + 3 * DAY_MS},10,790,n{10**14}.000",
]


@pytest.fixture
def src(tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    folder.mkdir()
    (folder / "events.csv").write_text("\n".join(EVENTS))
    (folder / "category_tree.csv").write_text("\n".join(TREE))
    (folder / "item_properties_part1.csv.gz").write_bytes(gzip.compress("\n".join(PART_1).encode()))
    (folder / "item_properties_part2.csv").write_text("\n".join(PART_2))
    return folder


def items(landing: Path, day: str) -> dict[str, list[object]]:
    rows = landed(landing, "items", day)
    rows = rows.astype(object).where(rows.notna(), None)
    return {row[0]: row[1:] for row in rows.to_numpy().tolist()}


def test_views_carts_and_transactions_take_their_names_here(src: Path, landing: Path) -> None:
    summary = retailrocket(src, landing)
    first = landed(landing, "events", "2015-05-03")
    assert first["event_type"].tolist() == ["view", "add_to_cart"]
    assert first["ts"].iloc[0] == pd.Timestamp("2015-05-03 00:00:00.500", tz="UTC")
    bought = landed(landing, "events", "2015-05-05").iloc[0]
    assert (bought["event_type"], bought["session_id"]) == ("purchase", "99")
    # The last millisecond of a day is still that day.
    assert landed(landing, "events", "2015-05-04")["item_id"].tolist() == ["11"]
    assert summary.left_out["unknown event"] == 1
    assert summary.left_out["unreadable time"] == 1


def test_an_item_s_properties_land_on_the_day_they_change(src: Path, landing: Path) -> None:
    summary = retailrocket(src, landing)
    assert items(landing, "2015-05-03") == {"10": [None, None, None]}
    # Out of stock and back on one day: the day's last word counts.
    assert items(landing, "2015-05-04") == {"10": ["213/1016", Decimal("32880.00"), 1], "11": [None, None, None]}
    # Item 10 says nothing new; a category outside the tree stands alone; two numbers are no price.
    assert items(landing, "2015-05-05") == {"12": ["777", None, None]}
    # After the last event, too.
    assert items(landing, "2015-05-06") == {"10": ["213/1016/5", Decimal("32880.00"), 1]}
    # Two numbers are no price, and one beyond all prices is none.
    assert summary.left_out["unreadable item property: price"] == 2


def test_what_is_absent_is_said_and_done_without(src: Path, landing: Path) -> None:
    (src / "category_tree.csv").unlink()
    (src / "item_properties_part2.csv").unlink()
    summary = retailrocket(src, landing)
    assert items(landing, "2015-05-04")["10"][0] == "1016"
    assert "item_properties_part2.csv: items it alone describes" in summary.without
    assert "category_tree.csv: a category is its bare id" in summary.without


def test_events_alone_land_items_that_are_only_known_to_exist(src: Path, landing: Path) -> None:
    for path in src.glob("item_*"):
        path.unlink()
    summary = retailrocket(src, landing)
    assert "item categories, prices and stock" in summary.without
    assert items(landing, "2015-05-03") == {"10": []}


def test_landing_again_with_less_known_removes_what_no_longer_holds(src: Path, landing: Path) -> None:
    retailrocket(src, landing)
    assert retailrocket(src, landing).files_written == 0
    (src / "item_properties_part2.csv").unlink()
    summary = retailrocket(src, landing)
    assert summary.files_removed == 1
    assert not (landing / "items/ds=2015-05-05").exists()


def test_without_events_there_is_nothing_to_land(src: Path, landing: Path) -> None:
    (src / "events.csv").unlink()
    with pytest.raises(SourceError, match=r"holds no events\.csv or events\.csv\.gz; give the folder"):
        retailrocket(src, landing)


def test_a_tree_with_a_circle_is_refused(src: Path, landing: Path) -> None:
    (src / "category_tree.csv").write_text("categoryid,parentid\n1,2\n2,1\n")
    with pytest.raises(SourceError, match="its own ancestor"):
        retailrocket(src, landing)


def test_the_buyers_form_lands_views_carts_and_purchases(tmp_path: Path, landing: Path) -> None:
    seconds = MAY_3 // 1000
    lines = ["user,item,event,ts", f"1,20,view,{seconds}", f"1,20,cart,{seconds + 1}", f"1,20,buy,{seconds + 2}"]
    (tmp_path / "events.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    summary = retailrocket_buyers(tmp_path, landing)
    assert landed(landing, "events", "2015-05-03")["event_type"].tolist() == ["view", "add_to_cart", "purchase"]
    assert summary.rows == {"events": 3, "items": 1}


@pytest.mark.real_data
def test_the_published_samples_land_every_row(tmp_path: Path, shop_data: Path) -> None:
    buyers = retailrocket_buyers(shop_data / "retailrocket_buyers", tmp_path / "buyers")
    assert buyers.rows == {"events": 97_381, "items": 29_905}
    assert (str(buyers.first_day), str(buyers.last_day)) == ("2015-05-03", "2015-09-18")
    events = ds.dataset(tmp_path / "buyers/events", exclude_invalid_files=True).to_table().to_pandas()
    assert events["event_type"].value_counts().to_dict() == {
        "view": 75_374,
        "add_to_cart": 12_456,
        "purchase": 9_551,
    }
    raw = retailrocket(shop_data / "retailrocket_raw_sample", tmp_path / "raw")
    assert raw.rows["events"] == 9_385
    assert sum(raw.left_out.values()) == 0
