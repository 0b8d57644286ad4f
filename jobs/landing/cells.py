"""Turn landed cells into a contract's types, a column at a time: from text, or from a parquet column.

A cell that cannot become its column's type is null and marked. White space around a cell is cut, the no-break space
too. Words by which tools write that there is nothing (MISSING) are null, and so is an empty cell.

>>> typed(pa.array([" 12.50 EUR", "cheap"]), Column("price", "decimal(18,2)"), CellForm())
Cells(values=[12.50, None], unread=[False, True])
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal, DecimalException
from functools import cache
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake.contracts import Column, arrow_type
from jobs.landing.image_address import image_addresses, is_image_address
from jobs.landing.vectors import read_vectors
from serving.money import MINOR_DIGITS, minor_units

MISSING = pa.array(
    ["", "nan", "NaN", "NAN", "null", "Null", "NULL", "None", "(not set)", "undefined", "\\N", "<NA>", "NaT", "N/A"]
)
UUID_BYTES = pa.binary(16)
"""How parquet stores a UUID."""
UNTOLD = ""
"""No number of a file tells the sign before fractions: 12.5 is read as it stands, and 1,299 is not read."""
REPLACEMENT = "\ufffd"
"""What stands in place of bytes that are not UTF-8. Two different ids could become the same text."""
ISO_8601 = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?)? ?(Z|UTC|[+-]\d{2}(?::?\d{2})?)?", re.A
)
"""A day, or a day and a time; seconds, fraction and zone are optional."""
_PLAIN_TIME = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}:\d{2}(\.\d{1,6})?)?( ?(Z|UTC))?$"
_PLAIN_NUMBER = r"^[+-]?\d{1,12}(\.\d{1,2})?$"
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?", re.A)
_GROUPED = re.compile(r"[+-]?\d{1,3}(?:([.,' \u00a0\u202f])\d{3})+(?:([.,])\d*)?", re.A)
_CURRENCY = re.compile(
    r"^(?:[A-Z]{3}|[A-Z]{0,2}[$€£¥₹₽₩₺₴₫฿₪]|kr\.?|zł|Kč|Fr\.)?\s*"
    r"([+-]?[\d.,' \u00a0\u202f]*\d[.,]?(?:[eE][+-]?\d+)?)"
    r"\s*(?:[A-Z]{3}|[$€£¥₹₽₩₺₴₫฿₪]|kr\.?|zł|Kč|Fr\.|,-|\.-)?$"
)
_TRUE, _FALSE = {"true", "t", "yes", "y", "1"}, {"false", "f", "no", "n", "0"}
_FIRST_US, _LAST_US = -62_135_596_800_000_000, 253_402_300_799_999_999  # the years 1 to 9999
_MOST_DECIMAL = 10**12
_MOST = {"int": 2**31 - 1, "bigint": 2**63 - 1}
Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]


@dataclass(frozen=True)
class CellForm:
    """What must be known of a file to read its cells."""

    decimal: str | None = UNTOLD
    """The sign before a number's fraction; UNTOLD where the file's numbers do not tell, None where they tell both."""
    date_format: str | None = None
    time_zone: str = "UTC"
    """Of times without a zone."""


@dataclass
class Cells:
    """A column of a contract's type; `unread` marks the cells that hold something and could not become it."""

    values: pa.Array
    unread: Mask


def typed(landed: pa.Array, column: Column, form: CellForm) -> Cells:
    """Return a landed column, of text or as parquet stores it, as its contract's type."""
    landed = _plain(landed)
    kind = landed.type
    if column.type == "timestamp" and (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return _stored_times(landed, form)
    if column.type == "array<float>":
        return Cells(*read_vectors(cleaned(landed) if pa.types.is_string(kind) else landed, column.max_length))
    if column.type in ("array<string>", "map<string,string>") and not pa.types.is_string(kind):
        return Cells(landed.cast(arrow_type(column.type)), np.zeros(len(landed), bool))
    if column.type == "string" and pa.types.is_floating(kind):
        return _typed_text(_float_ids(landed), column, form)
    text = landed if pa.types.is_string(kind) else landed.cast(pa.string())
    return _typed_text(text, column, form)


def cleaned(text: pa.Array) -> pa.Array:
    """Return text without white space around it, null where it says that there is nothing."""
    bare = pc.utf8_trim_whitespace(text)
    return pc.if_else(pc.is_in(bare, MISSING), None, bare)


def clean_id(text: str | None) -> str | None:
    """Return an id as `typed` reads it; None where it says that there is none."""
    value: str | None = _ids(cleaned(pa.array([text], pa.string())))[0].as_py()
    return value


def decimal_sign(texts: list[str]) -> str | None:
    """Return the sign before fractions in a file's numbers, by some of them: UNTOLD or None if they do not tell one.

    A comma or a point before one or two last digits is such a sign, and so is the second of two signs. `1,299` says
    nothing, as it may be either number.
    """
    signs = set()
    for text in texts:
        dressed = _CURRENCY.match(text.strip())
        number = dressed[1] if dressed else ""
        if re.search(r"\d\.\d{3},|,\d{1,2}$", number):
            signs.add(",")
        elif re.search(r"\d,\d{3}\.|\.\d{1,2}$", number):
            signs.add(".")
    return None if len(signs) == 2 else next(iter(signs), UNTOLD)


def _plain(landed: pa.Array) -> pa.Array:
    """Return an array as text, numbers, times or lists: no dictionary, no large or viewed text, no bytes."""
    if isinstance(landed, pa.ExtensionArray):
        landed = landed.storage
    kind = landed.type
    if pa.types.is_dictionary(kind):
        return _plain(landed.cast(kind.value_type))
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return landed.cast(pa.string())
    if kind == UUID_BYTES:
        return pa.array([None if raw is None else str(UUID(bytes=raw)) for raw in landed.to_pylist()], pa.string())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        try:
            return landed.cast(pa.binary()).cast(pa.string())
        except pa.ArrowInvalid:
            return pa.array([None if raw is None else raw.decode(errors="replace") for raw in landed.to_pylist()])
    return landed


def _float_ids(landed: pa.Array) -> pa.Array:
    """Return numbers as text; a whole one without a point, as writers without missing integers make floats of all."""
    wide = landed.cast(pa.float64())
    whole = pc.and_(pc.equal(wide, pc.floor(wide)), pc.less(pc.abs(wide), 2.0**53))
    return pc.if_else(
        pc.fill_null(whole, False),
        pc.if_else(whole, wide, None).cast(pa.int64()).cast(pa.string()),
        landed.cast(pa.string()),
    )


def _typed_text(text: pa.Array, column: Column, form: CellForm) -> Cells:
    bare = cleaned(text)
    if column.image_address:
        is_none = pc.fill_null(pc.invert(is_image_address(bare)), False)
        return Cells(image_addresses(bare), is_none.to_numpy(zero_copy_only=False))
    if column.type == "string":
        return Cells(_ids(bare) if column.name.endswith("_id") else bare, np.zeros(len(bare), bool))
    if column.type == "timestamp":
        return _times(bare, form)
    if column.type.startswith("decimal"):
        return _decimals(bare, column.type, form)
    parse: Callable[[str], object]
    if column.type == "boolean":
        parse = _boolean
    elif column.type == "array<string>":
        parse = _list
    elif column.type == "map<string,string>":
        parse = _map
    elif column.type in _MOST:
        most = _MOST[column.type]
        simple = pc.match_substring_regex(bare, r"^[+-]?\d{1,9}$")
        return _parsed(bare, arrow_type(column.type), lambda cell: _whole(cell, most, form), simple)
    else:
        parse = lambda cell: _float(cell, form)  # noqa: E731
    return _parsed(bare, arrow_type(column.type), parse)


def _ids(bare: pa.Array) -> pa.Array:
    """Return ids; `17850.0`, as tools without missing integers write it, is `17850`."""
    if not pc.any(pc.match_substring(bare, ".0")).as_py():
        return bare
    return pc.replace_substring_regex(bare, r"^([+-]?\d+)\.0+$", r"\1")


def _parsed(
    bare: pa.Array, kind: pa.DataType, parse: Callable[[str], object], simple: pa.Array | None = None
) -> Cells:
    """Parse each distinct text once; Arrow casts those that are `simple`. `parse` returns None where it cannot."""
    if simple is not None and pc.all(pc.or_kleene(simple, pc.is_null(bare))).as_py() is not False:
        return Cells(bare.cast(kind), np.zeros(len(bare), bool))
    codes = bare.dictionary_encode()
    values = pa.array([parse(text) for text in codes.dictionary.to_pylist()], kind)
    parsed = values.take(codes.indices) if len(values) else pa.nulls(len(bare), kind)
    unread = pc.and_(pc.is_valid(bare), pc.is_null(parsed)).to_numpy(zero_copy_only=False)
    return Cells(parsed, unread)


def _number(cell: str, form: CellForm) -> Decimal | None:  # noqa: PLR0911 - one return a form
    """Return the number that a cell says beyond doubt, in digits and without its currency."""
    if _NUMBER.fullmatch(cell) and form.decimal in (".", UNTOLD) and len(cell) < 400:
        return Decimal(cell)
    dressed = _CURRENCY.match(cell)
    if dressed is None or len(cell) > 100:
        return None
    text = dressed[1].strip()
    grouped = _GROUPED.fullmatch(text)
    if grouped is not None:
        group, sign = grouped[1], grouped[2]
        if sign == group and group in ",.":
            return None
        if sign is None and group in ",.":
            # 1.299 is one number or the other; what the file's other numbers say decides.
            if form.decimal is None or (form.decimal or ",") == group:
                return None
        elif sign is not None and form.decimal not in (None, sign) and group not in ",.":
            return None
        bare = text.replace(group, "")
        return Decimal(bare.replace(",", ".") if sign == "," else bare)
    if re.fullmatch(r"[+-]?\d+,\d{1,2}", text, re.A):
        return Decimal(text.replace(",", "."))
    if form.decimal == "," and re.fullmatch(r"[+-]?\d*,\d+", text, re.A):
        return Decimal(text.replace(",", "."))
    if _NUMBER.fullmatch(text) and (form.decimal != "," or re.fullmatch(r"[+-]?\d+(\.\d{1,2})?", text, re.A)):
        return Decimal(text)
    return None


def _decimals(bare: pa.Array, ddl: str, form: CellForm) -> Cells:
    kind = arrow_type(ddl)

    def parse(cell: str) -> Decimal | None:
        try:
            number = _number(cell, form)
            return None if number is None else _rounded(number, kind.scale)
        except DecimalException:
            return None

    simple = pc.match_substring_regex(bare, _PLAIN_NUMBER) if form.decimal in (".", UNTOLD) else None
    return _parsed(bare, kind, parse, simple)


def _rounded(number: Decimal, scale: int) -> Decimal | None:
    """Return a number rounded half up from its digits, money as all of Topshelf does; None if it is too large."""
    if scale == MINOR_DIGITS:
        minor = minor_units(str(number))
        return None if minor is None else Decimal(minor).scaleb(-scale)
    return number.quantize(Decimal(1).scaleb(-scale), ROUND_HALF_UP) if abs(number) < _MOST_DECIMAL else None


def _whole(cell: str, most: int, form: CellForm) -> int | None:
    try:
        number = _number(cell, form)
        whole = None if number is None or abs(number) > most else int(number)
    except DecimalException:
        return None
    return whole if whole is not None and whole == number else None


def _float(cell: str, form: CellForm) -> float | None:
    try:
        number = _number(cell, form)
        value = None if number is None else float(number)
    except (DecimalException, OverflowError):
        return None
    return value if value is not None and abs(value) < float("inf") else None


def _boolean(cell: str) -> bool | None:
    word = cell.lower()
    return True if word in _TRUE else False if word in _FALSE else None


def _list(cell: str) -> list[str] | None:
    if not cell.startswith("["):
        return cell.split("|")
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        return None
    return [entry if isinstance(entry, str) else json.dumps(entry) for entry in found if entry is not None]


def _map(cell: str) -> list[tuple[str, str | None]] | None:
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    return [
        (key, value if isinstance(value, str) or value is None else json.dumps(value)) for key, value in found.items()
    ]


def _times(bare: pa.Array, form: CellForm) -> Cells:
    """Return texts as times of UTC, in microseconds."""
    if form.date_format is None and form.time_zone == "UTC":
        plain = pc.fill_null(pc.match_substring_regex(bare, _PLAIN_TIME), True)
        if pc.all(plain).as_py() is not False:
            try:
                naive = pc.replace_substring_regex(bare, r" ?(Z|UTC)$", "").cast(pa.timestamp("us"))
                return _in_range(naive.cast(pa.int64()), pc.is_valid(bare))
            except pa.ArrowInvalid:
                pass  # some day is in no calendar
    micros = _parsed(bare, pa.int64(), lambda text: _micros(text, form)).values
    return _in_range(micros, pc.is_valid(bare))


def _micros(text: str, form: CellForm) -> int | None:
    try:
        if form.date_format is not None:
            at = datetime.strptime(text, form.date_format)
        else:
            parts = ISO_8601.fullmatch(text)
            if parts is None:
                return None
            day, time, seconds, fraction, zone = parts.groups()
            zone = "+00:00" if zone in ("Z", "UTC") else zone or ""
            zone = f"{zone}:00" if len(zone) == 3 else zone
            fraction = (fraction or "0")[:6].ljust(6, "0")
            at = datetime.fromisoformat(f"{day}T{time or '00:00'}:{seconds or '00'}.{fraction}{zone}")
        at = at if at.tzinfo else at.replace(tzinfo=_zone(form.time_zone))
        since = at.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _stored_times(landed: pa.Array, form: CellForm) -> Cells:
    if pa.types.is_date(landed.type):
        landed = landed.cast(pa.timestamp("s"))
    if landed.type.tz is None and form.time_zone != "UTC":
        landed = pc.assume_timezone(landed, form.time_zone, ambiguous="earliest", nonexistent="earliest")
    ticks = pc.fill_null(landed.cast(pa.int64()), 0).to_numpy()
    if landed.type.unit == "ns":
        micros = ticks // 1000
    else:
        factor = {"s": 1_000_000, "ms": 1000, "us": 1}[landed.type.unit]
        micros = np.clip(ticks, _FIRST_US // factor - 1, _LAST_US // factor + 1) * factor
    return _in_range(pa.array(micros, mask=pc.is_null(landed).to_numpy(zero_copy_only=False)), pc.is_valid(landed))


def _in_range(micros: pa.Array, is_filled: pa.Array) -> Cells:
    """Return times; those before the year 1 or after 9999 are unread."""
    is_known = pc.and_(pc.greater_equal(micros, _FIRST_US), pc.less_equal(micros, _LAST_US))
    values = pc.if_else(is_known, micros, None).cast(pa.timestamp("us", "UTC"))
    return Cells(values, pc.and_(is_filled, pc.is_null(values)).to_numpy(zero_copy_only=False))
