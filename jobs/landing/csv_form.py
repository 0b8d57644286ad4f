"""Find out how a csv is written from its beginning: encoding, separator, line ends, and where its header stands.

>>> csv_form(Landing("data/landing"), file, FileFormat()).header
('user_id', 'item_id', 'event_type', 'ts')
"""

import csv
import io
from collections.abc import Iterator

from jobs.landing.csv_records import BLOCK_CHARACTERS, LONGEST_CELL, CsvForm
from jobs.landing.file_format import FileFormat
from jobs.landing.folders import LandedFile, Landing, unreadable

SEPARATORS = ",;\t|"
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_HEAD_BYTES = 1 << 16


def encoding_of(landing: Landing, file: LandedFile, said: FileFormat) -> str:
    """Return a text file's encoding: what is said, UTF-16 where its mark stands first, else UTF-8.

    Raises:
        UnreadableFileError: it looks like UTF-16 without a mark.
    """
    if said.encoding:
        return "utf-8-sig" if said.encoding == "utf-8" else said.encoding
    with landing.open(file) as stream:
        head = stream.read(_HEAD_BYTES)
    if head[:2] in _MARKS:
        return _MARKS[head[:2]]
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) * 4 > len(head):
        name = "utf-16-le" if odd > even else "utf-16-be"
        raise unreadable(file, f"it looks like UTF-16 without its mark; {remedy(file, name)}")
    return "utf-8-sig"


def remedy(file: LandedFile, encoding: str) -> str:
    """Return what to do about a file of another encoding than UTF-8."""
    return (
        f"convert it to UTF-8 (iconv -f {encoding.upper().replace('16-', '16')} -t UTF-8), or say encoding = "
        f'"{encoding}" in {file.table}/_format.toml'
    )


def wrong_encoding(file: LandedFile, encoding: str, error: UnicodeDecodeError) -> Exception:
    """Return the error of a text that is not of its encoding; it names the likely one."""
    around = error.object[max(0, error.start - 20) : error.start + 20]
    wrong = bytes(around).decode("cp1252", "replace").replace("\r", " ").replace("\n", " ")
    known = "UTF-8" if encoding == "utf-8-sig" else encoding
    return unreadable(
        file, f"it is not {known}; by Windows-1252 it reads “{wrong.strip()}”: {remedy(file, 'cp1252')}"
    )


def open_text(landing: Landing, file: LandedFile, encoding: str, line_end: str = "\n") -> io.TextIOWrapper:
    """Return a file's text; its line ends stand as they are. It raises UnicodeDecodeError as it is read."""
    text = io.TextIOWrapper(landing.open(file), encoding=encoding, newline=line_end)
    text._CHUNK_SIZE = 1 << 20  # type: ignore[attr-defined] # 8 KiB by default, each of them a call into Arrow
    return text


def csv_form(landing: Landing, file: LandedFile, said: FileFormat) -> CsvForm:
    """Return how a csv is written. Lines that begin with # before the header, and Excel's `sep=;`, are left out.

    Raises:
        UnreadableFileError: it is empty, names a column twice, or looks like UTF-16 without a mark.
        UnicodeDecodeError, OSError, EOFError, zlib.error: it cannot be read.
    """
    csv.field_size_limit(LONGEST_CELL)
    encoding = encoding_of(landing, file, said)
    with open_text(landing, file, encoding) as text:
        head = text.read(BLOCK_CHARACTERS)
    line_end = "\n" if "\n" in head or "\r" not in head else "\r"
    separator, before = said.separator, 0
    with open_text(landing, file, encoding, line_end) as text:
        line = text.readline()
        before += 1
        while line and (line.startswith("#") or not line.strip()):
            line = text.readline()
            before += 1
        if line[:4].lower() == "sep=" and len(line.rstrip("\r\n")) == 5:
            separator = separator or line[4]
            line = text.readline()
            before += 1
        if not line:
            raise unreadable(file, "it is empty, and a csv begins with a header")
        separator = separator or max(SEPARATORS, key=lambda sign: _cells_outside_quotes(line, sign, said))
        taken = [line]

        def lines() -> Iterator[str]:
            yield line.rstrip("\r\n") if line_end == "\r" else line
            for more in text:
                taken.append(more)
                yield more

        header = next(csv.reader(lines(), delimiter=separator, quotechar=said.quote), [])
    # Spreadsheets leave a comma at the end of every line, so a column may have no name.
    names = tuple(name.strip() or f"(column {place})" for place, name in enumerate(header, start=1))
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise unreadable(file, f"its header names {', '.join(repeated)} more than once")
    return CsvForm(
        names,
        encoding,
        separator,
        said.quote,
        said.escape,
        line_end,
        is_windows=line.endswith("\r\n"),
        lines_before=before + len(taken) - 1,
    )


def _cells_outside_quotes(line: str, separator: str, said: FileFormat) -> int:
    return len(next(csv.reader([line.rstrip("\r\n")], delimiter=separator, quotechar=said.quote), []))
