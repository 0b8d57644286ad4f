"""Which columns a landed file has, and whether it can be read at all: asked before Spark starts to read it.

>>> text_columns(Landing("data/landing"), file)
('user_id', 'item_id', 'event_type', 'ts')
"""

import csv
import gzip
import io
import json
import zlib

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.landing.folders import BLOCK_BYTES, LandedFile, Landing, unreadable

JSONL_SAMPLE_LINES = 1000
MEMBER_BEGINS = b"\x1f\x8b\x08\0\0\0\0\0"
"""How each member of a gzip file of the endpoint begins; it writes no time."""
TAIL_BYTES = 1 << 24
"""More than the endpoint's longest member."""
TORN = (EOFError, zlib.error, gzip.BadGzipFile)
"""What reading a torn member raises."""
LONGEST_FIELD = 1 << 30
"""Characters in one csv field; Python's own limit is 131,072."""


def parquet_schema(landing: Landing, file: LandedFile) -> tuple[pa.Schema, dict[str, str]]:
    """Return a parquet file's Arrow schema, and the physical parquet type of each column by its path.

    Raises:
        UnreadableFileError: the file is empty, cut short, or no parquet.
    """
    try:
        with landing.filesystem.open_input_file(file.path) as stream:
            parquet = pq.ParquetFile(stream)
            leaves = [parquet.schema.column(index) for index in range(len(parquet.schema))]
            return parquet.schema_arrow, {leaf.path: leaf.physical_type for leaf in leaves}
    except (pa.ArrowException, OSError) as error:
        raise unreadable(file, error) from error


def text_columns(landing: Landing, file: LandedFile) -> tuple[str, ...]:
    """Return a csv's header, or the keys of a jsonl's first JSONL_SAMPLE_LINES lines. A csv is read to its end once.

    Raises:
        UnreadableFileError: a csv is empty, cut short, names a column twice, or has a quote that is never closed; or
            the text read is not UTF-8.
    """
    try:
        if file.format == "jsonl":
            return _jsonl_keys(landing, file)
        header = _csv_header(landing, file)
        _refuse_open_quote(landing, file)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise unreadable(file, error) from error
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise unreadable(file, f"its header names {', '.join(repeated)} more than once")
    return header


def is_torn(landing: Landing, file: LandedFile) -> bool:
    """Return whether a gzip file ends within a member: the endpoint is writing it, or ended while it did.

    Only the last TAIL_BYTES are read. A file in which no member begins there is taken for whole.
    """
    with landing.filesystem.open_input_file(file.path) as stream:
        begins = max(0, stream.size() - TAIL_BYTES)
        stream.seek(begins)
        tail = stream.read()
    return (not begins or MEMBER_BEGINS in tail) and torn_bytes(tail) > 0


def torn_bytes(content: bytes) -> int:
    """Return how many bytes at the end of a gzip file belong to a member without an end: 0 if the file is whole."""
    rest = content[max(0, content.rfind(MEMBER_BEGINS)) :]
    while rest:
        member, compressed = zlib.decompressobj(wbits=31), rest
        try:
            while compressed and not member.eof:
                member.decompress(compressed, BLOCK_BYTES)
                compressed = member.unconsumed_tail
        except zlib.error:
            return len(rest)
        if not member.eof:
            return len(rest)
        rest = member.unused_data
    return 0


def _open_text(landing: Landing, file: LandedFile) -> io.TextIOWrapper:
    return io.TextIOWrapper(landing.open(file), encoding="utf-8-sig", newline="")


def _csv_header(landing: Landing, file: LandedFile) -> tuple[str, ...]:
    with _open_text(landing, file) as text:
        header = next(csv.reader(text), None)
    if not header:
        raise unreadable(file, "it is empty, and a csv begins with a header")
    # Spreadsheets leave a comma at the end of every line, so a column may have no name.
    return tuple(name.strip() or f"(column {place})" for place, name in enumerate(header, start=1))


def _refuse_open_quote(landing: Landing, file: LandedFile) -> None:
    """Raise if a quote is never closed: all rows after it would become one field."""
    quotes = 0
    with landing.open(file) as stream:
        while block := stream.read(BLOCK_BYTES):
            quotes += block.count(b'"')
    if quotes % 2 == 0:
        return
    # An odd count may come from an inch mark within a plain field. Only a strict reader can tell, and it is slow.
    csv.field_size_limit(LONGEST_FIELD)
    with _open_text(landing, file) as text:
        try:
            for _ in csv.reader(text, strict=True):
                pass
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                raise unreadable(file, "a quote is opened and never closed") from error


def _jsonl_keys(landing: Landing, file: LandedFile) -> tuple[str, ...]:
    """Return the keys of the first lines, in order. A line that is no JSON object is judged later, with the rows."""
    keys: dict[str, None] = {}
    with _open_text(landing, file) as text:
        try:
            for _, line in zip(range(JSONL_SAMPLE_LINES), text, strict=False):
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                keys |= dict.fromkeys(row if isinstance(row, dict) else ())
        except TORN:
            if not (file.may_be_torn and is_torn(landing, file)):
                raise
    return tuple(keys)
