"""The terminal that every table and line is printed on.

What a shop lands is shown as it is: a title is never read as markup (`[/sale]`), as the name of an emoji (`:cup:`) or
as a command to the terminal. A file or a pipe, such as the log of a task in Airflow, gets whole lines: nothing is
wrapped there.

>>> Terminal().print(table)
"""

from typing import Any

from rich.console import Console
from rich.text import Text

CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}
"""What is printed for characters that a terminal would obey."""
WIDEST = 10_000
"""Columns that a table may have where there is no terminal; it takes no more than its cells need."""


class Terminal(Console):
    """Prints every string as data, in tables, their titles and headings, and alone."""

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        """Print to standard output, or standard error; `width` is that of the terminal if it is not given.

        Without a terminal no line is wrapped, whatever the environment says of columns.
        """
        super().__init__(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)
        if not self.is_terminal:
            self.soft_wrap = True
            self.width = width or WIDEST

    def render_str(self, text: str, **options: Any) -> Text:
        """Return the text that stands for a string, control characters as escapes."""
        return super().render_str(text.translate(CONTROLS), **options)
