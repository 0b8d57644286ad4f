"""Every setting of Topshelf as one page: docs/settings.md.

    topshelf config --markdown > docs/settings.md

Places and parameters are described where they are defined. `variables.yml` beside this file describes the environment
variables that Airflow's tasks, shell scripts and the endpoint read, each by its own means.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from jobs.config.configuration import KNOWN, environment_name
from jobs.config.console import as_written

VARIABLES_FILE = Path(__file__).with_name("variables.yml")
HEAD = """# Settings

Made by `topshelf config --markdown`. `topshelf config` prints what is in force, and where each value came from. An
empty variable is one that is not set.

## Places, parameters and retention

In `topshelf.toml`, or as an environment variable, which wins. A flag of a command wins over both. The jobs read them.
The endpoint reads the variables of landing and store, and its mirror that of the archive.
"""


class Variable(NamedTuple):
    """An environment variable: what it means, who reads it, and what it is without being set."""

    name: str
    meaning: str
    read_by: str
    default: str = ""


def variables() -> list[Variable]:
    """Return all that are read anywhere, apart from those of places and parameters."""
    return [Variable(**row) for row in yaml.safe_load(VARIABLES_FILE.read_text())]


def settings_as_markdown() -> str:
    """Return docs/settings.md."""
    return HEAD + "\n" + "\n".join(_tables()) + "\n"


def _tables() -> Iterator[str]:
    yield from _row("in `topshelf.toml`", "variable", "default", "meaning", "allowed")
    for key, setting in KNOWN.items():
        default = "" if setting.default in (None, "") else f"`{as_written(setting.default)}`"
        yield from _row(f"`{key}`", f"`{environment_name(key)}`", default, setting.description, setting.allowed)
    yield from ["", "## Environment alone", ""]
    yield from _row("variable", "default", "meaning", "read by")
    for variable in variables():
        yield from _row(f"`{variable.name}`", variable.default, variable.meaning, variable.read_by)


def _row(*cells: str) -> Iterator[str]:
    yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    if "meaning" in cells:  # the head of a table
        yield "| " + " | ".join("---" for _ in cells) + " |"
