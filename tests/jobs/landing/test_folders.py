"""What a landing folder must be like, checked before any Spark job starts."""

from datetime import date

import pytest

from jobs.landing.folders import Landing, UnmarkedDayError, UnreadableFileError
from tests.jobs.landing.looking import D1, D2, EVENTS, look, read


def test_a_day_without_its_mark_is_refused_with_the_folder_and_the_remedy(land, landing):
    land("events", D1, "a.csv", EVENTS)
    land("events", D2, "a.csv", EVENTS, mark=False)
    with pytest.raises(UnmarkedDayError, match=r"events/ds=2026-01-02 is not marked.*put an empty file _SUCCESS"):
        look(landing, ds=D2)


def test_a_marked_day_without_files_is_an_ordinary_day(land, landing):
    land("events", D1)
    assert [day.files for day in Landing(str(landing)).days("events", date(2026, 1, 1))] == [()]


def test_a_gap_between_event_days_is_refused_by_its_first_day(land, landing):
    land("events", D1)
    land("events", "2026-01-04")
    with pytest.raises(UnmarkedDayError, match=r"events has no ds=2026-01-02 and 1 more days up to 2026-01-03"):
        look(landing, ds="2026-01-04")


def test_a_night_whose_own_day_has_not_landed_is_refused(land, landing):
    land("events", D1)
    with pytest.raises(UnmarkedDayError, match=r"events has no ds=2026-01-02;.*land the day"):
        look(landing, ds=D2)


def test_a_landing_folder_that_does_not_exist_is_refused_with_the_day_it_lacks(landing):
    with pytest.raises(UnmarkedDayError, match="events has no ds=2026-01-01"):
        look(landing / "elsewhere")


def test_days_after_the_night_are_not_looked_at_even_if_unfinished(land, landing):
    land("events", D1, "a.csv", EVENTS)
    land("events", D2, "half.csv", "item_", mark=False)
    assert len(look(landing, ds=D1).plans) == 1


def test_an_item_day_may_be_missing_but_must_be_marked_when_it_is_there(land, landing):
    assert look(landing, "items").plans == []
    land("items", D1, "a.csv", "item_id\ni1\n", mark=False)
    with pytest.raises(UnmarkedDayError, match="items/ds=2026-01-01 is not marked"):
        look(landing, "items")


def test_a_folder_that_names_no_day_is_refused(land, landing):
    land("events", D1)
    land("events", "2026-13-01")
    with pytest.raises(UnmarkedDayError, match="ds=2026-13-01 is no day"):
        look(landing)


def test_a_file_of_an_unknown_kind_is_refused_rather_than_passed_over(land, landing):
    land("events", D1, "events.xlsx", b"x")
    with pytest.raises(UnreadableFileError, match=r"events.xlsx is none of .parquet, .csv, .csv.gz, .jsonl"):
        look(landing)


def test_folders_within_a_day_are_read_too_and_endings_in_any_case(land, landing):
    land("events", D1, "till 10:30.CSV", EVENTS)
    for name in ("hour=00/part-0.csv", "events.parquet/part-0.jsonl"):
        path = land("events", D1) / name
        path.parent.mkdir()
        path.write_text(EVENTS if name.endswith("csv") else "")
        (path.parent / "_SUCCESS").touch()
    rows = read(landing)
    assert [(row["path"], row["item_id"]) for row in rows] == [("hour=00/part-0.csv", "i1"), ("till 10:30.CSV", "i1")]


def test_hidden_files_are_not_part_of_a_day(land, landing):
    land("events", D1, "a.csv", EVENTS)
    source = Landing(str(landing))
    (before,) = source.days("events", date(2026, 1, 1))
    land("events", D1, ".a.csv.tmp", b"half")
    land("events", D1, "_committed", b"x")
    (after,) = source.days("events", date(2026, 1, 1))
    assert before == after
    assert source.fingerprint(before) == source.fingerprint(after)


def test_a_fingerprint_changes_with_a_files_bytes_and_with_its_name(land, landing):
    def fingerprint() -> str:
        source = Landing(str(landing))
        return source.fingerprint(source.days("events", date(2026, 1, 1))[0])

    path = land("events", D1, "a.csv", EVENTS)
    fingerprints = {fingerprint()}
    path.write_text(EVENTS.replace("u1", "u2"))
    fingerprints.add(fingerprint())
    path.rename(path.with_name("b.csv"))
    fingerprints.add(fingerprint())
    assert len(fingerprints) == 3


def test_exposures_need_no_mark_since_the_endpoint_cannot_know_its_last(tmp_path) -> None:
    folder = tmp_path / "exposures" / "ds=2026-01-01"
    folder.mkdir(parents=True)
    (folder / "09-host-1-0.jsonl").write_text("{}\n")
    (day,) = Landing(str(tmp_path)).days("exposures", date(2026, 1, 1))
    assert [file.name for file in day.files] == ["09-host-1-0.jsonl"]
