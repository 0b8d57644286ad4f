"""What a landed value may look like, and what it becomes: text or a parquet column to a contract's type.

>>> parsed(F.col("price"), "decimal(18,2)")  # '12.345' becomes 12.35, 'cheap' becomes null
"""

import pyarrow as pa
from pyspark.sql import Column as Expression
from pyspark.sql import functions as F

from jobs.lake.contracts import Column

# A day, or a day and a time with seconds, fraction and zone as the shop likes. Spark's own cast takes more: a bare
# `12:30` would become today's, and a night must not depend on the clock.
ISO_8601 = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?( ?(Z|UTC|[+-]\d{2}(:?\d{2})?))?)?$"
NOT_FINITE = r"^[+-]?(nan|inf|infinity)$"
NUMBERS = ("int", "bigint", "float", "double")
REPLACEMENT = "\ufffd"
"""What a reader puts where bytes are no UTF-8: two ids could fall together under it."""


def arrow_reads_as(arrow: pa.DataType, wanted: str, *, int96: bool = False) -> str:
    """Return the Spark type to read a parquet column as (or `nanoseconds`), if it can become `wanted`.

    Raises:
        TypeError: it cannot; an id stored as a float prints as `17850.0`, so that is refused as well.
    """
    kind = _kind(arrow, int96)
    number = kind in NUMBERS or kind.startswith("decimal")
    allowed = {
        "string": kind in ("string", "binary", "int", "bigint"),
        "int": number or kind == "string",
        "bigint": number or kind == "string",
        "double": number or kind == "string",
        "timestamp": kind in ("timestamp", "timestamp_ntz", "nanoseconds", "date", "string"),
        "boolean": kind in ("boolean", "int", "bigint", "string"),
        "array<string>": kind in ("array<string>", "string"),
        "map<string,string>": kind in ("map<string,string>", "string"),
    }
    if not allowed.get(wanted, number or kind == "string"):
        raise TypeError(f"{arrow} is no {wanted}")
    return kind


def _kind(arrow: pa.DataType, int96: bool) -> str:  # noqa: PLR0911 - a table of types reads best as one
    types = pa.types
    if types.is_dictionary(arrow):
        return _kind(arrow.value_type, int96)
    if types.is_string(arrow) or types.is_large_string(arrow) or types.is_string_view(arrow):
        return "string"
    if types.is_binary(arrow) or types.is_large_binary(arrow):
        return "binary"
    if types.is_integer(arrow):
        return (
            "decimal(20,0)"
            if types.is_uint64(arrow)
            else "bigint"
            if arrow.bit_width == 64 or types.is_uint32(arrow)
            else "int"
        )
    if types.is_timestamp(arrow):
        if arrow.unit == "ns" and not int96:
            return "nanoseconds"
        return "timestamp" if arrow.tz or int96 else "timestamp_ntz"
    if types.is_decimal(arrow) and arrow.precision <= 38:
        return f"decimal({arrow.precision},{arrow.scale})"
    if types.is_list(arrow) or types.is_large_list(arrow):
        return f"array<{_kind(arrow.value_type, False)}>"
    if types.is_map(arrow):
        return f"map<{_kind(arrow.key_type, False)},{_kind(arrow.item_type, False)}>"
    plain = {pa.float32(): "float", pa.float64(): "double", pa.bool_(): "boolean", pa.date32(): "date"}
    return plain.get(arrow, str(arrow))


def parsed(text: Expression, wanted: str) -> Expression:  # noqa: PLR0911 - one line a type
    """Return text as `wanted`, null where it is empty or cannot be.

    A decimal is rounded half up from its digits, never by way of a float. Times without a zone are UTC.
    """
    if wanted == "string":
        return F.nullif(text, F.lit(""))
    bare = F.nullif(F.trim(text), F.lit(""))
    if wanted in ("int", "bigint"):
        number = bare.try_cast("decimal(38,6)")  # writers that know no missing integer print 3 as 3.0
        return F.when(number == F.floor(number), number).try_cast(wanted)
    if wanted == "double":
        number = bare.try_cast("double")
        return F.when(F.abs(number) < float("inf"), number)
    if wanted == "timestamp":
        # Spark wants seconds where there is a zone, and a colon within the zone.
        with_seconds = F.regexp_replace(bare, r"([T ]\d{2}:\d{2})(?=$| ?(Z|UTC|[+-]))", "$1:00")
        with_zone = F.regexp_replace(with_seconds, r"([T ].*[+-]\d{2})(\d{2})$", "$1:$2")
        return F.when(bare.rlike(ISO_8601), with_zone).try_cast("timestamp")
    if wanted == "array<string>":
        listed = F.from_json(bare, "array<string>")
        return F.when(bare.startswith("["), listed).otherwise(F.split(bare, r"\|"))
    if wanted == "map<string,string>":
        return F.from_json(bare, wanted)
    return bare.try_cast(wanted)


def typed(value: Expression, kind: str, wanted: str) -> Expression:
    """Return a parquet column of Spark type `kind` as `wanted`, null where it cannot be."""
    if kind == "nanoseconds":
        return F.timestamp_micros(F.floor(value / F.lit(1000)))
    if kind in (wanted, "binary") and wanted != "double":
        return F.nullif(value.cast("string"), F.lit("")) if wanted == "string" else value
    if wanted == "timestamp" and kind != "string":
        return value.cast("timestamp")
    if wanted == "boolean" and kind in ("int", "bigint"):
        return F.when(value.isin(0, 1), value == 1)
    if kind in ("int", "bigint") or kind.startswith("decimal"):
        return value.try_cast(wanted) if not wanted.endswith("int") else parsed(value.cast("string"), wanted)
    # A float goes to a decimal by its shortest digits: 12.345 is meant, not 12.3449999.
    return parsed(value.cast("string"), wanted)


def faults(column: Column, given: Expression, kind: str | None, value: Expression) -> dict[str, Expression]:
    """Return where a column's value sets its row aside, by reason; the first that holds is the one told."""
    is_text = kind in (None, "string")
    filled = given != F.lit("") if is_text else given.isNotNull()
    found: dict[str, Expression] = {}
    if column.required:
        found["missing_value"] = ~F.coalesce(filled, F.lit(False))
    if column.max_bytes and (is_text or column.type == "string"):
        reason = "id_too_long" if column.name.endswith("_id") else "field_too_long"
        found[reason] = F.octet_length(given.cast("string")) > column.max_bytes
    if column.type == "string":
        if column.name.endswith("_id") and is_text:
            found["invalid_text"] = given.contains(REPLACEMENT)
        return found
    if column.type in NUMBERS or column.type.startswith("decimal"):
        found["not_finite"] = F.lower(F.trim(given.cast("string"))).rlike(NOT_FINITE)
    found["wrong_type"] = filled & value.isNull()
    return found
