"""The examples of a text: its fenced blocks of one language, in their order, as one program."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def examples(text: Path, language: str) -> list[str]:
    """Return the blocks of a language in a Markdown text."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text.read_text(), re.MULTILINE | re.DOTALL)
