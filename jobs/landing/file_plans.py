"""Look at landed files before they are read: which columns they have, how they are written, whether they can be read.

>>> inspect(Landing("data/landing"), "events", files).plans[0].columns
(('user_id', 'USER_ID'), ('item_id', 'ITEM_ID'), ...)
"""

import csv
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.lake.contracts import Column, contract
from jobs.lake.tables import STAGED_AS
from jobs.landing.cells import UUID_BYTES, CellForm, decimal_sign
from jobs.landing.csv_form import csv_form, encoding_of, open_text, wrong_encoding
from jobs.landing.csv_records import CsvForm, csv_blocks
from jobs.landing.file_format import FileFormat, FormatError, TableFormat, parsed_format
from jobs.landing.folders import FORMAT_FILE, LandedFile, Landing, UnreadableFileError, unreadable
from jobs.landing.torn_ends import TORN, is_torn
from jobs.landing.vectors import is_vector
from serving.snapshot.manifest import NOT_JSON

SAMPLE_ROWS = 1000
"""Rows at a file's beginning that tell the keys of a jsonl and the sign before fractions."""
NUMBERS = ("int", "bigint", "float", "double")
_ROW = msgspec.json.Decoder(dict[str, msgspec.Raw])


class MissingColumnError(ValueError):
    """A file lacks a column that its table requires."""


class WrongTypeError(ValueError):
    """A parquet column has a type that cannot become the contract's type."""


FILE_ERRORS = (UnreadableFileError, MissingColumnError, WrongTypeError, FormatError)
"""What `inspect` and reading a file raise where the file is at fault."""


@dataclass(frozen=True)
class FilePlan:
    """How one file is to be read."""

    file: LandedFile
    columns: tuple[tuple[str, str], ...]
    """Of our columns those that the file has, with the file's name of each, in the file's order."""
    cells: CellForm
    form: CsvForm | None = None
    """Of csv."""
    encoding: str = "utf-8-sig"
    """Of csv and jsonl."""
    lists: tuple[tuple[str, str], ...] = ()
    """Of jsonl whose rows stand for several: the columns that have a list, with its name."""
    is_torn: bool = False
    """It ends within a gzip member, and is read up to there."""
    row_group: int | None = None
    """Of parquet: the only row group to be read; all of them if None."""
    partial: bool = False
    """Its rows leave the columns that it lacks as they were."""


@dataclass
class LandedFiles:
    """The files of one landing table that are to be read, and which columns they lack or have too many."""

    name: str
    plans: list[FilePlan] = field(default_factory=list)
    absent: Counter[str] = field(default_factory=Counter)
    """How many files lack each optional column."""
    unknown: Counter[str] = field(default_factory=Counter)
    """How many files have each column that the contract does not name."""
    renamed: Counter[str] = field(default_factory=Counter)
    """How many files call a column otherwise, as `Price for price`."""
    guessed: Counter[str] = field(default_factory=Counter)
    """How many files have a separator, an encoding or a sign before fractions that is not the usual one."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that may land in this table."""
        return contract(STAGED_AS[self.name]).landing

    @property
    def torn(self) -> list[LandedFile]:
        """Files of which the end cannot be read yet."""
        return [plan.file for plan in self.plans if plan.is_torn]

    def has(self, column: str) -> bool:
        """Return whether any file has a column."""
        return any(name == column for plan in self.plans for name, _ in plan.columns)


def inspect(landing: Landing, name: str, files: Iterable[LandedFile]) -> LandedFiles:
    """Read the beginning of every file, and check its columns against the contract of the landing table `name`.

    Raises:
        UnreadableFileError, MissingColumnError, WrongTypeError, FormatError: naming the file, what is wrong, and the
            remedy.
    """
    found = LandedFiles(name)
    said = table_format(landing, name)
    wanted = {column.name for column in found.columns}
    for file in files:
        plan, unknown = _plan(landing, file, found.columns, said.of(file.name))
        present = {ours for ours, _ in plan.columns}
        found.absent.update(() if plan.partial else wanted - present)
        found.unknown.update(unknown)
        listed = {listed for _, listed in plan.lists}
        found.renamed.update(f"{theirs} for {ours}" for ours, theirs in plan.columns if theirs not in (ours, *listed))
        found.guessed.update(_guesses(plan, said.of(file.name)))
        found.plans.append(plan)
    return found


def table_format(landing: Landing, table: str) -> TableFormat:
    """Return what `landing/<table>/_format.toml` says; nothing where there is none. Raises FormatError."""
    content = landing.format_file(table)
    if content is None:
        return TableFormat()
    columns = {column.name for column in contract(STAGED_AS[table]).landing}
    found = parsed_format(content, f"{landing.root}/{table}/{FORMAT_FILE}", columns)
    if table != "items" and any(said.partial for said in (found, *found.files.values())):
        raise FormatError(f"{landing.root}/{table}/{FORMAT_FILE}: partial: only files of items may be partial")
    return found


def _plan(
    landing: Landing, file: LandedFile, wanted: Sequence[Column], said: FileFormat
) -> tuple[FilePlan, set[str]]:
    """Return how a file is to be read, and its columns that nobody wants."""
    look = {"parquet": _parquet_plan, "csv": _csv_plan, "jsonl": _jsonl_plan}[file.format]
    try:
        return look(landing, file, wanted, said)
    except UnicodeDecodeError as error:
        raise wrong_encoding(file, said.encoding or "utf-8-sig", error) from error
    except (pa.ArrowException, OSError, EOFError, zlib.error, csv.Error) as error:
        raise unreadable(file, error) from error


def _parquet_plan(
    landing: Landing, file: LandedFile, wanted: Sequence[Column], said: FileFormat
) -> tuple[FilePlan, set[str]]:
    with landing.filesystem.open_input_file(file.path) as stream:
        schema = pq.ParquetFile(stream).schema_arrow
    columns = _matched(file, schema.names, wanted, said)
    for column in wanted:
        if column.name in columns:
            _refuse_wrong_type(file, column, schema.field(columns[column.name]).type)
    cells = CellForm(said.decimal or ".", said.date_format, said.time_zone)
    plan = FilePlan(file, tuple(columns.items()), cells, partial=said.partial)
    return plan, set(schema.names) - set(columns.values())


def _csv_plan(
    landing: Landing, file: LandedFile, wanted: Sequence[Column], said: FileFormat
) -> tuple[FilePlan, set[str]]:
    form = csv_form(landing, file, said)
    columns = _matched(file, form.header, wanted, said)
    with open_text(landing, file, form.encoding, form.line_end) as text:
        rows = list(islice((row for block in csv_blocks(text, form) for row in block.rows), SAMPLE_ROWS))
    places = [form.header.index(columns[column.name]) for column in _numbers(wanted) if column.name in columns]
    decimal = said.decimal or decimal_sign([row[place] for row in rows for place in places])
    cells = CellForm(decimal, said.date_format, said.time_zone)
    in_order = sorted(columns.items(), key=lambda pair: form.header.index(pair[1]))
    plan = FilePlan(file, tuple(in_order), cells, form, form.encoding, partial=said.partial)
    return plan, set(form.header) - set(columns.values())


def _jsonl_plan(
    landing: Landing, file: LandedFile, wanted: Sequence[Column], said: FileFormat
) -> tuple[FilePlan, set[str]]:
    torn = file.may_be_torn and is_torn(landing, file)
    encoding = "utf-8-sig" if torn else encoding_of(landing, file, said)
    rows = _sample(landing, file, encoding, torn)
    keys = dict.fromkeys(key for row in rows for key in row)
    lists = {column.name: column.listed_as for column in wanted if column.listed_as}
    listed = {name: theirs for name, theirs in lists.items() if theirs in keys}
    columns = _matched(file, [key for key in keys if key not in listed.values()], wanted, said, listed)
    texts = [
        str(msgspec.json.decode(row[columns[column.name]]))
        for column in _numbers(wanted)
        if column.name in columns and column.name not in listed
        for row in rows
        if bytes(row.get(columns[column.name], b""))[:1] == b'"'
    ]
    cells = CellForm(said.decimal or decimal_sign(texts), said.date_format, said.time_zone)
    # A key may come up after the sample, so that each of our columns is looked for by its own name.
    plain = {name: theirs for name, theirs in columns.items() if name not in listed}
    columns = {column.name: plain.get(column.name, column.name) for column in wanted} if keys else columns
    plan = FilePlan(
        file,
        tuple(columns.items()),
        cells,
        encoding=encoding,
        lists=tuple(lists.items()) if listed else (),
        is_torn=torn,
        partial=said.partial,
    )
    return plan, set(keys) - set(columns.values()) - set(listed.values())


def _sample(landing: Landing, file: LandedFile, encoding: str, torn: bool) -> list[dict[str, msgspec.Raw]]:
    """Return the first rows. A line that is no JSON object is judged later, with the rows."""
    rows, first = [], ""
    try:
        with open_text(landing, file, encoding) as text:
            for line in islice(text, SAMPLE_ROWS):
                first = first or line.strip()
                try:
                    rows.append(_ROW.decode(line))
                except NOT_JSON:
                    continue
    except TORN:
        if not torn:
            raise
    if not rows and (first == "{" or first.startswith("[")):
        raise unreadable(
            file, "it is no object a line; write one (an array by jq -c '.[]', pretty-printed objects by jq -c .)"
        )
    return rows


def _numbers(wanted: Sequence[Column]) -> list[Column]:
    return [column for column in wanted if column.type in NUMBERS or column.type.startswith("decimal")]


def _matched(
    file: LandedFile,
    theirs: Sequence[str],
    wanted: Sequence[Column],
    said: FileFormat,
    listed: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the file's name of each of our columns that it has: as said, by its name, or in another case.

    Raises:
        MissingColumnError: a required column is not there, or two names could be it.
    """
    by_plain_name = _by_plain_name(theirs)
    columns = dict(listed or {}) | matching_names(theirs, [column.name for column in wanted], said)
    for column in wanted:
        twins = [] if column.name in columns else by_plain_name.get(column.name, [])
        if twins:
            raise MissingColumnError(
                f"{file.path} has {' and '.join(twins)}, and either could be {column.name}; name one of them "
                f"{column.name}, or say which in {file.table}/{FORMAT_FILE}: [columns] {column.name} = "
                f'"{twins[0]}" (folder {file.table}/ds={file.ds})'
            )
    _refuse_twice(file, theirs, columns)
    if theirs or file.format != "jsonl":  # a jsonl without a row has no key to look for
        _refuse_missing(file, wanted, columns, theirs)
    return columns


def matching_names(theirs: Sequence[str], ours: Sequence[str], said: FileFormat) -> dict[str, str]:
    """Return the file's name of each of our columns that it has beyond doubt: as said, or by its name in any case."""
    columns, by_plain_name = {}, _by_plain_name(theirs)
    for name in ours:
        in_any_case = by_plain_name.get(name, [])
        if said.columns.get(name) in theirs:
            columns[name] = said.columns[name]
        elif name in theirs:
            columns[name] = name
        elif len(in_any_case) == 1:
            columns[name] = in_any_case[0]
    return columns


def _by_plain_name(theirs: Sequence[str]) -> dict[str, list[str]]:
    by_plain_name: dict[str, list[str]] = {}
    for name in theirs:
        by_plain_name.setdefault(_plain_name(name), []).append(name)
    return by_plain_name


def _plain_name(name: str) -> str:
    return "_".join(name.strip().casefold().replace("-", " ").replace("_", " ").split())


def _refuse_twice(file: LandedFile, theirs: Sequence[str], columns: Mapping[str, str]) -> None:
    twice = sorted(name for name, count in Counter(theirs).items() if count > 1 and name in columns.values())
    if twice:
        raise unreadable(file, f"it has {', '.join(twice)} more than once")


def _refuse_missing(
    file: LandedFile, wanted: Sequence[Column], columns: Mapping[str, str], theirs: Sequence[str]
) -> None:
    missing = [column.name for column in wanted if column.required and column.name not in columns]
    if missing:
        raise MissingColumnError(
            f"{file.path} has no column {', '.join(missing)} (it has: {', '.join(sorted(theirs))}); add the column "
            f"and land the file again, or say what it is called in {file.table}/{FORMAT_FILE}: [columns] "
            f'{missing[0]} = "…"'
        )


def _refuse_wrong_type(file: LandedFile, column: Column, kind: pa.DataType) -> None:
    if not _can_become(kind, column.type):
        raise WrongTypeError(
            f"{file.path}: column {column.name} is {kind}, which cannot be {column.type} "
            f"({column.description or 'see sql/' + STAGED_AS[file.table] + '.yml'}); write it as "
            f"{column.type} or as text"
        )


def _can_become(kind: pa.DataType, wanted: str) -> bool:
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return wanted == "string" or (wanted == "array<float>" and is_vector(kind))
    if types.is_dictionary(kind):
        return _can_become(kind.value_type, wanted)
    is_text = (
        types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind) or types.is_null(kind)
    )
    is_number = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    is_bytes = types.is_binary(kind) or types.is_large_binary(kind) or kind == UUID_BYTES
    allowed = {
        "string": is_number or is_bytes,
        "timestamp": types.is_timestamp(kind) or types.is_date(kind),
        "boolean": types.is_boolean(kind) or is_number,
        "array<string>": types.is_list(kind) or types.is_large_list(kind),
        "array<float>": is_vector(kind),
        "map<string,string>": types.is_map(kind),
    }
    return bool(is_text or types.is_null(kind) or allowed.get(wanted, is_number))


def _guesses(plan: FilePlan, said: FileFormat) -> list[str]:
    """Return in words what was found out about a file and is not usual."""
    form = plan.form
    guessed = []
    if form is not None and said.separator is None and form.separator != ",":
        guessed.append(f"separator {form.separator!r}")
    if said.encoding is None and plan.encoding != "utf-8-sig":
        guessed.append(f"encoding {plan.encoding}")
    if said.decimal is None and plan.cells.decimal == ",":
        guessed.append("a comma before fractions")
    if said.decimal is None and plan.cells.decimal is None:
        guessed.append("both comma and point before fractions, so that unclear numbers are left out")
    return guessed
