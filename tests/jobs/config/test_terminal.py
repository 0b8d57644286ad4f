"""What is printed: every string as data, wherever a module of the jobs prints it."""

import ast
import io
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.progress import Progress, TextColumn
from rich.table import Table

from jobs.config.terminal import Terminal

ROOT = Path(__file__).resolve().parents[3]
TERMINAL = ROOT / "jobs/config/terminal.py"
NEUTRAL = {"Table", "Progress", "BarColumn", "SpinnerColumn", "TextColumn", "TimeElapsedColumn", "track"}
"""What modules may take from rich: the shapes of what is printed, which do not print by themselves."""
DATA = ["Mug [/sale]", "[bold]Pan[/bold] [usb-c]", "[link=https://shop.example]Board[/link]", "Cup :coffee: \\[x]"]
PRINTING = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "jobs").rglob("*.py")
    if path != TERMINAL and "rich" in path.read_text()
)


@pytest.fixture
def terminal() -> Terminal:
    terminal = Terminal(width=300)
    terminal.file = io.StringIO()
    return terminal


def printed(terminal: Terminal) -> str:
    assert isinstance(terminal.file, io.StringIO)
    return terminal.file.getvalue()


@pytest.mark.parametrize("text", DATA)
def test_a_string_is_shown_as_it_is_wherever_it_stands(terminal: Terminal, text: str) -> None:
    terminal.print(text)
    table = Table(title=f"title {text}", caption=f"caption {text}", show_footer=True)
    table.add_column(f"heading {text}", footer=f"footer {text}")
    table.add_row(text)
    terminal.print(table)
    shown = printed(terminal)
    assert shown.startswith(text)
    assert all(f"{place} {text}" in shown for place in ("title", "caption", "heading", "footer"))
    assert shown.count(text) == 6


def test_without_a_terminal_no_line_and_no_cell_is_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    long = "marts/top_n has no ds=2026-01-31; run topshelf stage rank --ds 2026-01-31. " * 5
    log = Terminal()
    log.file = io.StringIO()
    log.print(long.strip())
    table = Table("heading", box=None)
    table.add_row(long.strip())
    log.print(table)
    assert [line.strip() for line in printed(log).splitlines()] == [long.strip(), "heading", long.strip()]


def test_characters_that_command_a_terminal_are_shown_as_escapes(terminal: Terminal) -> None:
    table = Table("heading")
    table.add_row("Mug\x1b[2J\x1b]0;mine\x07\x9b\x7f\rred")
    terminal.print(table)
    assert r"Mug\x1b[2J\x1b]0;mine\x07\x9b\x7f\x0dred" in printed(terminal)


@given(st.text(max_size=40))
def test_no_text_ends_in_an_error_or_commands_the_terminal(text: str) -> None:
    terminal = Terminal(width=60)
    terminal.file = io.StringIO()
    table = Table(text, title=text)
    table.add_row(text)
    terminal.print(text)
    terminal.print(table)
    assert not {sign for sign in printed(terminal) if unicodedata.category(sign) == "Cc"} - {"\n"}


@pytest.mark.parametrize("module", PRINTING)
def test_a_module_prints_through_the_terminal_alone(module: str) -> None:
    tree = ast.parse((ROOT / module).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not [name.name for name in node.names if name.name.split(".")[0] == "rich"]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rich":
            assert {name.name for name in node.names} <= NEUTRAL
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "TextColumn":
            # A column of progress reads markup on every terminal unless it is told not to.
            assert ("markup", False) in {(word.arg, ast.literal_eval(word.value)) for word in node.keywords}


def test_there_are_modules_that_print() -> None:
    assert {"jobs/publishing/console.py", "jobs/night/progress.py", "jobs/config/console.py"} <= set(PRINTING)


def test_progress_shows_data_as_it_is(terminal: Terminal) -> None:
    column = TextColumn("{task.description}", markup=False)
    with Progress(column, console=terminal) as progress:
        progress.add_task(DATA[0])
    assert DATA[0] in printed(terminal)
