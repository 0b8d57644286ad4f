"""A shop's own vectors of items: how they may be written, and what is no vector."""

from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from jobs.config.parameters import StagingParameters
from jobs.landing.check import check_landing
from jobs.landing.console import print_check
from jobs.landing.file_plans import WrongTypeError
from jobs.landing.recent import recent_rows
from jobs.landing.vectors import read_vectors
from tests.jobs.landing.looking import D1, look, read

LISTS = {
    "doubles": pa.list_(pa.float64()), "floats": pa.list_(pa.float32()), "halves": pa.list_(pa.float16()),
    "whole numbers": pa.list_(pa.int16()), "decimals": pa.list_(pa.decimal128(21, 2)),
    "large": pa.large_list(pa.float64()), "of one length": pa.list_(pa.float32(), 2),
}  # fmt: skip


def vectors(landing) -> dict[str, list[float] | None]:
    return {row["item_id"]: row["embedding"] for row in read(landing, "items")}


@pytest.mark.parametrize(
    "cell", ["[1, -2]", "[1,-2]", "[1 -2]", "[ 1.0  -2. ]", "[1\n -2]", " [+1e0, -20E-1] "]
)  # fmt: skip
def test_a_cell_of_text_holds_numbers_within_brackets(land, landing, cell):
    land("items", D1, "a.csv", f'item_id,embedding\na,"{cell}"\nb,\n')
    assert vectors(landing) == {"a": [1.0, -2.0], "b": None}


def test_a_jsonl_holds_an_array_or_its_text(land, landing):
    rows = [{"item_id": "a", "embedding": [1, -2]}, {"item_id": "b", "embedding": "[1 -2]"}, {"item_id": "c"}]
    land("items", D1, "a.jsonl", [*rows, {"item_id": "d", "embedding": None}])
    assert vectors(landing) == {"a": [1.0, -2.0], "b": [1.0, -2.0], "c": None, "d": None}


@pytest.mark.parametrize("kind", LISTS.values(), ids=LISTS)
def test_a_parquet_holds_a_list_of_any_kind_of_number(land, landing, kind):
    numbers = [[1, -2], None]
    land("items", D1, "a.parquet", pa.table({"item_id": ["a", "b"], "embedding": pa.array(numbers).cast(kind)}))
    assert vectors(landing) == {"a": [1.0, -2.0], "b": None}


def test_a_parquet_holds_tensors_or_text_too(land, landing):
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.array([[1.0, -2.0]]))
    land("items", D1, "a.parquet", pa.table({"item_id": ["a"], "embedding": tensors}))
    land("items", D1, "b.parquet", pa.table({"item_id": ["b"], "embedding": ["[1 -2]"]}))
    assert vectors(landing) == {"a": [1.0, -2.0], "b": [1.0, -2.0]}


def test_a_column_that_holds_no_list_of_numbers_stops_the_night(land, landing):
    land("items", D1, "a.parquet", pa.table({"item_id": ["a"], "embedding": [[[1.0], [2.0]]]}))
    with pytest.raises(
        WrongTypeError, match=r"a\.parquet: column embedding is list<.*, which cannot be array<float>"
    ):
        look(landing, "items")


BAD = [[float("nan"), 1.0], [float("inf")], [1e300], [0.0, 0.0], [1.0] * 4097, [1.0, None]]


def test_what_is_no_vector_is_null_and_told_and_its_product_stays(land, landing):
    rows = [{"item_id": f"i{n}", "title": "Mug", "embedding": vector} for n, vector in enumerate(BAD)]
    good = {"item_id": "good", "title": "Mug", "embedding": [1.0] * 4096}
    nothing = {"item_id": "nothing", "title": "Mug", "embedding": []}
    land("items", D1, "a.parquet", [*rows, good, nothing])
    found = {row["item_id"]: row for row in read(landing, "items")}
    for n in range(len(BAD)):
        row = found[f"i{n}"]
        assert (row["embedding"], row["title"], row["fault"]) == (None, "Mug", None)
        assert row["unread"]["columns"] == "embedding"
    assert len(found["good"]["embedding"]) == 4096
    assert (found["nothing"]["embedding"], found["nothing"]["unread"]) == (None, None)


@pytest.mark.parametrize("cell", ["red", "1 2", "[1, red]", "[nan]", "[1, null]", "[0 0]", "{1,2}", '["1"'])
def test_text_that_is_no_vector_is_null_and_told(land, landing, cell):
    quoted = cell.replace('"', '""')
    land("items", D1, "a.csv", f'item_id,embedding\na,"{quoted}"\n')
    [row] = read(landing, "items")
    assert row["embedding"] is None and row["unread"]["example"] == cell


def test_a_part_of_a_column_is_read_as_the_whole_is():
    column = pa.array([[1.0], None, [0.0], [2.0, 3.0]])
    values, is_wrong = read_vectors(column[1:], 2)
    assert values.to_pylist() == [None, None, [2.0, 3.0]]
    assert is_wrong.tolist() == [False, True, False]


def test_the_check_tells_how_long_the_vectors_are_and_sees_that_two_rows_differ_in_theirs(land, landing, capsys):
    rows = [{"item_id": f"i{n}", "embedding": [1.0] * (2 + (n == 0))} for n in range(3)]
    land("items", D1, "a.jsonl", [*rows, {"item_id": "i0", "embedding": [2.0, 2.0, 1.0]}, rows[1]])
    check = check_landing(str(landing), None, StagingParameters())
    [file] = check.files
    assert (file.counts.kept, file.counts.repeated, file.counts.set_aside) == (3, 1, {"conflicting_row": 1})
    print_check(check)
    told = "items: embedding of 2 numbers in 3 rows, 3 numbers in 2 rows; a night uses the length that most products"
    assert told in capsys.readouterr().out


def test_between_nights_vectors_come_as_lists_of_numbers(land, landing):
    land("items", D1, "a.csv", 'item_id,embedding\na,"[1 -2]"\n')
    land("items", D1, "b.csv", "item_id,title\nb,Mug\n")
    rows, _ = recent_rows(str(landing), "items", [date.fromisoformat(D1)], ("item_id", "embedding"))
    assert rows.to_pylist() == [{"item_id": "a", "embedding": [1.0, -2.0]}, {"item_id": "b", "embedding": None}]
