r"""What a shop says about the form of its files: `landing/<table>/_format.toml`. Without it, everything is found out.

encoding = "cp1252"                      # as Python names it
separator = ";"
decimal = ","                            # the sign before a number's fraction
quote = "'"
escape = "\\\\"                            # before a quote within quotes; without it, quotes are doubled
date_format = "%d.%m.%Y %H:%M"           # as Python's strptime takes it
time_zone = "America/New_York"           # of times without a zone, and of the folders' days
partial = true                           # of items: a row leaves as they were the columns that its file lacks

[columns]                                # our name = the file's name
item_id = "SKU"

[files."stock*.csv"]                     # the same settings, for some files of the table alone
partial = true
"""

import codecs
import fnmatch
import tomllib
from collections.abc import Mapping
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError


class FormatError(ValueError):
    """A `_format.toml` that cannot be used."""


def _known_encoding(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError as error:
        raise ValueError(f"Python knows no encoding {name!r}") from error


def _known_zone(name: str) -> str:
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"no time zone is called {name!r}; write it like America/New_York") from error


_Sign = Annotated[str, StringConstraints(min_length=1, max_length=1)]


class FileFormat(BaseModel):
    """How files of a table are written. None: it is found out for each file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoding: Annotated[str, AfterValidator(_known_encoding)] | None = None
    separator: _Sign | None = None
    decimal: Literal[",", "."] | None = None
    quote: _Sign = '"'
    escape: _Sign | None = None
    date_format: str | None = None
    time_zone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    partial: bool = False
    columns: Mapping[str, str] = {}


class TableFormat(FileFormat):
    """What `_format.toml` says: of all files of a table, and of some by their names."""

    files: Mapping[str, FileFormat] = {}

    def of(self, name: str) -> FileFormat:
        """Return the format of a file by its name within the day; a later pattern that fits counts more."""
        said = self.model_dump(exclude={"files"}, exclude_unset=True)
        for pattern, of_some in self.files.items():
            if fnmatch.fnmatchcase(name, pattern):
                said |= of_some.model_dump(exclude_unset=True)
        return FileFormat(**said)


def parsed_format(content: bytes, path: str, columns: set[str]) -> TableFormat:
    """Return what a `_format.toml` says; `columns` are those that may land in its table.

    Raises:
        FormatError: naming the file, the setting and the remedy.
    """
    try:
        found = TableFormat.model_validate(tomllib.loads(content.decode()))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FormatError(f"{path} is no TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise FormatError(f"{path}: {where}: {first['msg']}") from error
    unknown = sorted({*found.columns}.union(*(of.columns for of in found.files.values())) - columns)
    if unknown:
        raise FormatError(
            f"{path}: columns: {', '.join(unknown)} is no column of this table; "
            f"it may have {', '.join(sorted(columns))}"
        )
    return found
