"""Online Retail lands whole, exactly, and the same however often and in whatever files it comes."""

import gzip
import hashlib
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow.dataset as ds
import pytest

from jobs.landing.adapters.online_retail import online_retail
from jobs.landing.adapters.published import SourceError
from tests.jobs.landing.looking import landed

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
FIRST_DAY = [
    "1,85123A, WHITE  HEART ,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom",
    "1,85123A, WHITE  HEART ,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom",  # an exact duplicate
    "2,85123A,WHITE HEART,1,2010-12-01 09:00:00,2.95,13047.0,France",
    "C3,85123A,WHITE HEART,-1,2010-12-01 10:00:00,2.55,17850.0,United Kingdom",
    "4,POST,POSTAGE,1,2010-12-01 10:00:00,18.00,12583.0,France",
    "5,22423,damaged,-5,2010-12-01 11:00:00,0.0,,United Kingdom",
    "6,22423,,5,2010-12-01 11:00:00,0.0,,United Kingdom",
    "A7,B,Adjust bad debt,1,2010-12-01 11:00:00,11062.06,,United Kingdom",
]
THIRD_DAY = [
    "8,85123a,White heart,2,2010-12-03 08:00:00,5.06,,United Kingdom",
    "9,90214Y,,1,2010-12-03 09:00:00,0.001,17850.0,Norway",
    "9,84406B,CUPID,oops,2010-12-03 09:00:00,2.00,17850.0,Norway",
    "9,84406B,CUPID,1,2010-12-03 09:00:00,1e400,17850.0,Norway",
]


@pytest.fixture
def src(tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    folder.mkdir()
    for day, lines in {"2010-12-01": FIRST_DAY, "2010-12-03": THIRD_DAY}.items():
        (folder / f"{day}.csv.gz").write_bytes(gzip.compress("\n".join([HEADER, *lines]).encode()))
    return folder


def digest(landing: Path) -> str:
    content = hashlib.sha256()
    for path in sorted(path for path in landing.rglob("*") if path.is_file()):
        content.update(f"{path.relative_to(landing)}\0".encode() + path.read_bytes())
    return content.hexdigest()


def test_a_sale_becomes_a_purchase_and_its_duplicate_another(src: Path, landing: Path) -> None:
    online_retail(src, landing)
    events = landed(landing, "events", "2010-12-01")
    hearts = events[events["user_id"] == "17850"]
    assert len(hearts) == 2
    assert hearts.iloc[0].to_dict() == {
        "user_id": "17850",
        "session_id": "1",
        "item_id": "85123A",
        "event_type": "purchase",
        "ts": pd.Timestamp("2010-12-01 08:26:00", tz="UTC"),
        "quantity": 6,
        "unit_price": Decimal("2.55"),
        "region": "United Kingdom",
    }
    assert "POST" in set(events["item_id"])


def test_what_is_left_out_is_counted_by_its_first_reason(src: Path, landing: Path) -> None:
    summary = online_retail(src, landing)
    assert summary.left_out == {
        "unreadable date": 0,
        "unreadable quantity": 1,
        "unreadable price": 1,
        "no stock code": 0,
        "cancellation": 1,
        "bad debt adjustment": 1,
        "quantity not above zero": 1,
        "price not above zero": 1,
    }
    assert summary.rows["events"] == 6
    assert "left out 1 rows: cancellation" in summary.lines()


def test_a_line_without_customer_is_an_anonymous_visit_to_the_product_in_capitals(src: Path, landing: Path) -> None:
    assert online_retail(src, landing).anonymous_events == 1
    anonymous = landed(landing, "events", "2010-12-03").query("user_id.isna()").iloc[0]
    assert (anonymous["session_id"], anonymous["item_id"]) == ("8", "85123A")


def test_an_item_row_lands_on_the_days_that_change_its_title_or_price(src: Path, landing: Path) -> None:
    online_retail(src, landing)
    first = landed(landing, "items", "2010-12-01").set_index("item_id")
    assert first.loc["85123A"].to_dict() == {"title": "WHITE HEART", "price": Decimal("2.55")}
    third = landed(landing, "items", "2010-12-03").set_index("item_id")
    # Another channel's price does not replace the one that customers pay; its later title does.
    assert third.loc["85123A"].to_dict() == {"title": "White heart", "price": Decimal("2.55")}
    assert third.loc["90214Y"].to_dict() == {"title": None, "price": Decimal("0.01")}
    assert set(third.index) == {"85123A", "90214Y"}


def test_a_user_row_lands_on_the_first_day_and_on_a_change_of_country(src: Path, landing: Path) -> None:
    online_retail(src, landing)
    assert dict(landed(landing, "users", "2010-12-01").to_numpy().tolist()) == {
        "17850": "United Kingdom",
        "13047": "France",
        "12583": "France",
    }
    assert landed(landing, "users", "2010-12-03").to_numpy().tolist() == [["17850", "Norway"]]


def test_a_day_without_trade_is_an_empty_marked_folder(src: Path, landing: Path) -> None:
    summary = online_retail(src, landing)
    assert summary.days_without_events == 1
    assert [path.name for path in (landing / "events/ds=2010-12-02").iterdir()] == ["_SUCCESS"]
    assert not (landing / "items/ds=2010-12-02").exists()


def test_landing_again_changes_nothing(src: Path, landing: Path) -> None:
    online_retail(src, landing)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in landing.rglob("*") if path.is_file()}
    summary = online_retail(src, landing)
    assert summary.files_written == 0
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in before} == before


def test_one_published_file_lands_the_bytes_that_its_days_do(src: Path, landing: Path, tmp_path: Path) -> None:
    online_retail(src, landing)
    # Kaggle's copy: dates as month/day/year, ids without the .0, letters not in UTF-8.
    lines = [HEADER, *reversed(FIRST_DAY), *THIRD_DAY]
    text = "\r\n".join(lines).replace(".0,United", ",United").replace(".0,France", ",France").replace(".0,N", ",N")
    text = text.replace("2010-12-01 ", "12/1/2010 ").replace("2010-12-03 ", "12/3/2010 ").replace(":00,", ",")
    single = tmp_path / "data.csv"
    single.write_bytes(text.encode("latin-1"))
    online_retail(single, tmp_path / "again")
    assert digest(tmp_path / "again") == digest(landing)


@pytest.mark.parametrize(
    "written", ["{1}/{0}/2010 ", "{1}.{0}.2010 ", "{1}-{0}-2010 ", "{0}-{1}-2010 ", "2010-{0}-{1}T"]
)
def test_dates_are_read_in_the_order_that_they_show(tmp_path: Path, landing: Path, written: str) -> None:
    days = [("12", "01"), ("12", "13")]
    lines = [f"{n},22423,SIGN,1,{written.format(*day)}08:26,2.55,17850,EIRE" for n, day in enumerate(days)]
    (tmp_path / "data.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    summary = online_retail(tmp_path / "data.csv", landing)
    assert (str(summary.first_day), str(summary.last_day)) == ("2010-12-01", "2010-12-13")
    assert summary.rows["events"] == 2


def test_letters_that_are_not_utf_8_are_read_as_latin_ones(tmp_path: Path, landing: Path) -> None:
    line = "1,22423,CAF\xc9 SIGN \xa31,1,2010-12-01 08:26:00,2.55,17850,EIRE"
    (tmp_path / "data.csv").write_bytes(f"{HEADER}\n{line}\n".encode("latin-1"))
    online_retail(tmp_path / "data.csv", landing)
    assert landed(landing, "items", "2010-12-01")["title"].tolist() == ["CAF\xc9 SIGN \xa31"]


def test_the_columns_of_online_retail_ii_are_understood(tmp_path: Path, landing: Path) -> None:
    header = "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country"
    (tmp_path / "ii.csv").write_text(f"{header}\n1,22423,SIGN,1,2009-12-01 08:26:00,2.55,13085.0,France\n")
    online_retail(tmp_path / "ii.csv", landing)
    assert landed(landing, "events", "2009-12-01")["user_id"].tolist() == ["13085"]


def test_a_day_left_half_written_is_made_whole_and_marked_again(src: Path, landing: Path, tmp_path: Path) -> None:
    online_retail(src, landing)
    whole = digest(landing)
    day = landing / "events/ds=2010-12-01"
    (day / "_SUCCESS").unlink()
    (day / ".online_retail.parquet.tmp").write_bytes(b"PAR1 and no more")
    (day / "online_retail.parquet").write_bytes(b"PAR1")
    online_retail(src, landing)
    assert digest(landing) == whole


def test_a_shop_s_own_files_beside_ours_are_left_alone(src: Path, landing: Path) -> None:
    own = landing / "items/ds=2010-12-02/stock.csv"
    own.parent.mkdir(parents=True)
    own.write_text("item_id,stock\n85123A,4\n")
    online_retail(src, landing)
    assert own.read_text() == "item_id,stock\n85123A,4\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; get the published file again"),
        (b"InvoiceNo,StockCode\n1,2\n", "has no column Description, Quantity, InvoiceDate"),
        (f"{HEADER}\n1,2\n".encode(), "cannot be read"),
        (f"{HEADER}\n".encode(), "holds no sale: of 0 lines, none; check the files"),
        (f"{HEADER}\nC1,2,X,-1,2010-12-01 08:26:00,1.0,,France\n".encode(), "of 1 lines, 1 cancellation; check the"),
        (
            f"{HEADER}\n1,2,X,1,1 Dec 2010,1.0,,France\n".encode(),
            "of 1 lines, 1 unreadable date, such as InvoiceDate '1 Dec 2010'; write dates as 2010-12-01 08:26:00",
        ),
        (
            f'{HEADER}\n1,2,X,1,2010-12-01 08:26:00,"2,55",,France\n'.encode(),
            "1 unreadable price, such as UnitPrice '2,55'; write dates as 2010-12-01 08:26:00, and",
        ),
        (
            f"{HEADER}\n1,2,X,1,01-12-2010 8:26,1.0,,France\n".encode(),
            "InvoiceDate: no date shows whether the day or the month stands first, as in '01-12-2010 8:26'; write",
        ),
    ],
)
def test_a_file_that_is_not_the_published_one_is_named_with_a_remedy(
    tmp_path: Path, landing: Path, content: bytes, message: str
) -> None:
    (tmp_path / "data.csv").write_bytes(content)
    with pytest.raises(SourceError, match=message) as caught:
        online_retail(tmp_path / "data.csv", landing)
    assert "data.csv" in str(caught.value)


def test_a_file_cut_short_is_named_and_nothing_lands(src: Path, landing: Path) -> None:
    whole = (src / "2010-12-03.csv.gz").read_bytes()
    (src / "2010-12-03.csv.gz").write_bytes(whole[:-20])
    with pytest.raises(SourceError, match=r"2010-12-03\.csv\.gz cannot be read"):
        online_retail(src, landing)
    assert not any(landing.iterdir())


def test_the_same_day_as_csv_and_csv_gz_is_refused(src: Path, landing: Path) -> None:
    (src / "2010-12-01.csv").write_text(HEADER + "\n")
    with pytest.raises(SourceError, match="same file twice; remove one"):
        online_retail(src, landing)


def test_a_folder_without_csv_is_named_with_what_it_should_hold(tmp_path: Path, landing: Path) -> None:
    with pytest.raises(SourceError, match=r"holds no \.csv or \.csv\.gz; give the folder"):
        online_retail(tmp_path, landing)


@pytest.mark.real_data
def test_the_published_days_land_every_row_of_the_reference(landing: Path, shop_data: Path) -> None:
    src = shop_data / "online_retail" / "by-day"
    command = [sys.executable, "-m", "jobs", "land", "online-retail", str(src), "--landing", str(landing)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "358 days, 67 of them without events" in printed
    events = ds.dataset(landing / "events", exclude_invalid_files=True).to_table().to_pandas()
    named = events[events["user_id"].notna()]
    assert (len(named), named["item_id"].nunique()) == (366_398, 3_644)
    assert not events.loc[events["user_id"].isna(), "session_id"].isna().any()
    before = named["ts"] < "2011-11-10"
    both = set(named.loc[before, "user_id"]) & set(named.loc[~before, "user_id"])
    assert len(both) == 861  # the test users of the reference figures
    # Popularity of the last 30 days, by distinct customers, ties by stock code: recall@20 as published.
    recent = named[before & (named["ts"] >= "2011-10-11")].drop_duplicates(["user_id", "item_id"])
    counts = recent["item_id"].value_counts().rename("n").reset_index()
    popular = counts.sort_values(["n", "item_id"], ascending=[False, True])["item_id"].head(20)
    sold = set(named.loc[before, "item_id"])
    later = named[~before & named["user_id"].isin(both) & named["item_id"].isin(sold)]
    truth = later.groupby("user_id")["item_id"].agg(set)
    recall = sum(len(bought.intersection(popular)) / len(bought) for bought in truth) / 861
    assert recall == pytest.approx(0.1025, abs=0.0001)
