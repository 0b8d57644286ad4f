"""The check of a landing folder counts what the night counts, and says why it would stop."""

from datetime import date

import pytest

from jobs.config.parameters import Parameters, StagingParameters
from jobs.landing.check import check_landing
from jobs.landing.console import print_check
from jobs.staging.ingest import ingest
from tests.jobs.landing.looking import D1, D2

HEADER = "event_id,user_id,item_id,event_type,ts,quantity\n"


def land_a_shop(land):
    land(
        "events",
        D1,
        "a.csv",
        HEADER + f"e1,u,i1,view,{D1},\ne1,u,i1,view,{D1},\ne2,,i1,view,{D1},\n,u,i1,view,{D1},x\n" * 2,
    )
    land("events", D2, "a.csv", HEADER + f"e1,u,i1,view,{D1},\ne3,u,i1,view,{D2},1\nu,i1\n")
    land("items", D1, "a.csv", "Item_ID,title,shelf\ni1,Mug,3\ni1,Pan,3\ni2,Pot,\n")
    land("items", D1, "b.csv", "item_id,title\ni2,Pot\n")
    land("users", D2, "a.jsonl", [{"user_id": "u", "preferred_categories": ["a", "b"]}] * 2)


def test_the_check_counts_what_the_night_keeps_and_sets_aside(land, landing, lake, spark):
    land_a_shop(land)
    check = check_landing(str(landing), None, StagingParameters(max_quarantine_share=1.0))
    assert check.stops == []
    summary = ingest(
        lake,
        str(landing),
        date.fromisoformat(D2),
        Parameters().with_values({"staging.max_quarantine_share": 1.0}),
    )
    for name in ("events", "items", "users"):
        counts = [of.counts for of in check.files if of.file.table == name]
        night = summary.counts[name]
        assert (sum(of.kept for of in counts), sum(of.repeated for of in counts)) == (night.kept, night.repeated)
        reasons = {reason for of in counts for reason in of.set_aside}
        assert {reason: sum(of.set_aside.get(reason, 0) for of in counts) for reason in reasons} == night.set_aside
        assert {column for of in counts for column in of.unread} == set(night.unread)


def test_a_file_that_cannot_be_read_stops_the_night_and_the_others_are_told(land, landing, capsys):
    land_a_shop(land)
    land("items", D2, "c.csv", b"item_id,title\ni9,Caf\xe9\n")
    land("items", D2, "d.csv", "item_id,title\ni9,Mug,more\n")
    check = check_landing(str(landing), None, StagingParameters())
    assert len(check.stops) == 2
    assert "c.csv cannot be read: it is not UTF-8" in check.stops[0]
    assert "items/ds=2026-01-02: nothing could be kept of d.csv (1 malformed_row)" in check.stops[1]
    print_check(check)
    told = capsys.readouterr().out
    assert "items/ds=2026-01-01/a.csv: passed over shelf" in told
    assert "items/ds=2026-01-01/a.csv: took Item_ID for item_id" in told
    assert 'set aside 1 rows: malformed_row, such as line 4: {"line":"u,i1"}' in told
    assert "quantity could not be read in 2 rows, such as 'x'" in told
    assert "stops the night: " in told


def test_one_day_is_checked_alone(land, landing):
    land_a_shop(land)
    check = check_landing(str(landing), date.fromisoformat(D2), StagingParameters(max_quarantine_share=1.0))
    assert {of.file.ds for of in check.files} == {date.fromisoformat(D2)}


def test_events_and_a_catalogue_that_never_meet_are_told_with_examples(land, landing):
    land("events", D1, "a.csv", HEADER + "".join(f",u,shop_DE_{n},view,{D1},\n" for n in range(5)))
    land("items", D1, "a.csv", "item_id\n1001\n1002\n")
    (why,) = check_landing(str(landing), None, StagingParameters()).stops
    assert "events have item_id 'shop_DE_0', 'shop_DE_1', 'shop_DE_2', items have '1001', '1002'" in why
    land("events", D2, "a.csv", HEADER + f",u,1002,view,{D2},\n")
    assert check_landing(str(landing), None, StagingParameters()).stops == []


@pytest.mark.parametrize("mark", [False, True])
def test_a_day_that_is_not_marked_is_told(land, landing, mark):
    land("events", D1, "a.csv", HEADER, mark=mark)
    stops = check_landing(str(landing), None, StagingParameters()).stops
    assert [("not marked as complete" in why) for why in stops] == ([] if mark else [True])
