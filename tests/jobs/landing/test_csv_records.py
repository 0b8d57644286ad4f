"""No line of a csv is lost: it is part of a row, it is blank, or it is told as malformed."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.landing.csv_records import LONGEST_CONTINUATION, CsvForm, csv_blocks

HEADER = ("item_id", "title", "brand")


def read(body: str, header: tuple[str, ...] = HEADER, **form) -> tuple[list[list[str]], list[str]]:
    """Return the rows and the malformed lines of a csv with this body."""
    text = io.StringIO(",".join(header) + "\n" + body, newline=form.get("line_end", "\n"))
    blocks = list(csv_blocks(text, CsvForm(header, **form)))
    return [row for block in blocks for row in block.rows], [text for block in blocks for _, text in block.malformed]


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ("a,Mug,h\nb,Pan,h\n", ["a|Mug|h", "b|Pan|h"]),
        ("a,Mug,h\r\nb,Pan,h\n", ["a|Mug|h", "b|Pan|h"]),  # two tools, or two exports joined
        ('a,"Mug, red",h\r\nb,Pan,h\nc,"Pot",h\r\n', ["a|Mug, red|h", "b|Pan|h", "c|Pot|h"]),
        ("a,Mug,h\rb,Pan,h\rc,Pot,h\nd,Lid,h\n", ["a|Mug|h", "b|Pan|h", "c|Pot|h", "d|Lid|h"]),
        ("\na,Mug,h\n\n  \n,,\nb,Pan,h\n\n", ["a|Mug|h", "b|Pan|h"]),
        ('\na,"Mug",h\n\n,,\nb,Pan,h\n\n', ["a|Mug|h", "b|Pan|h"]),
        ("a,Mug,h,,\nb,Pan,h,\n", ["a|Mug|h", "b|Pan|h"]),  # spreadsheets end rows in commas
        ('a,"Mug",h,\nb,Pan,h\n', ["a|Mug|h", "b|Pan|h"]),
        ('a,"Mug ""XL""",h\n', ['a|Mug "XL"|h']),
        ('a,"Pan 12\\", black",h\nb,"6\\" nail",h\n', ['a|Pan 12", black|h', 'b|6" nail|h']),  # Spark, MySQL
        ('a,"back\\",h\nb,"slash",h\n', ["a|back\\|h", "b|slash|h"]),
        ('a,"Mug,\nred, large",h\nb,Pan,h\n', ["a|Mug,\nred, large|h", "b|Pan|h"]),
        ('a,pipe 5" wide,h\nb,Pan,h\n', ['a|pipe 5" wide|h', "b|Pan|h"]),
        ("a,Mug,h", ["a|Mug|h"]),
        ('a,"Mug",h', ["a|Mug|h"]),
        ("", []),
    ],
)
def test_rows_are_read_as_they_were_meant(body, rows):
    assert read(body) == ([row.split("|") for row in rows], [])


@pytest.mark.parametrize(
    ("body", "kept", "malformed"),
    [
        ('a,"Mug,h\nb,Pan,h\nc,Pot,h\n', ["b", "c"], ['a,"Mug,h']),  # a title that was cut within its quotes
        ('a,"Mug,h\nb,Pan,h\nc,"Pot,h\nd,Lid,h\n', ["b", "d"], ['a,"Mug,h', 'c,"Pot,h']),
        ('a,"Mug,h\nb,Pan,h\nc,Pot",h\n', ["b", "c"], ['a,"Mug,h']),  # closed, but each line is a row
        ('a,"Mug" red,h\nb,Pan,h\n', ["b"], ['a,"Mug" red,h']),
        ("a,Mug\nb,Pan,h\nc,Pot,h,more\n", ["b"], ["a,Mug", "c,Pot,h,more"]),
        ('a,"Mug"\nb,"Pan",h\nc,"Pot",h,more\n', ["b"], ['a,"Mug"', 'c,"Pot",h,more']),
        ('a,"Mug\nred"\nb,Pan,h\n', ["b"], ['a,"Mug\nred"']),
        ('a,Mug,h\nb,"Pan', ["a"], ['b,"Pan']),
    ],
)
def test_a_fault_costs_its_own_line_alone(body, kept, malformed):
    rows, lines = read(body)
    assert ([row[0] for row in rows], lines) == (kept, malformed)


def test_a_quote_that_nobody_closes_does_not_cost_the_lines_behind_it():
    lines = [f"i{n},Mug,h\n" for n in range(LONGEST_CONTINUATION // 8)]
    rows, malformed = read('x,"Pan,h\n' + "".join(lines))
    assert (len(rows), malformed) == (len(lines), ['x,"Pan,h'])


def test_line_breaks_within_cells_stay_unless_the_file_is_of_windows():
    body = 'a,"Mug\r\nred",h\n'
    assert read(body)[0] == [["a", "Mug\r\nred", "h"]]
    assert read(body, is_windows=True)[0] == [["a", "Mug\nred", "h"]]


CELLS = st.text(st.sampled_from('ab",;\\ '), max_size=6)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=8), st.sampled_from(["\n", "\r\n"]))
def test_what_pythons_csv_writes_is_read_back(rows, end):
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator=end).writerows(rows)
    assert read(buffer.getvalue()) == ([row for row in rows if "".join(row).strip()], [])


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from('ab",\\\n\r '), max_size=60))
def test_every_character_of_any_text_is_in_a_row_or_told(body):
    rows, malformed = read(body)
    told = "".join(map("".join, rows)) + "".join(malformed)
    for letter in "ab":
        assert told.count(letter) == body.count(letter)
