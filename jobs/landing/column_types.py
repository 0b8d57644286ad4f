"""Turn landed values into a contract's types: from text, or from a parquet column.

>>> parsed(F.col("price"), "decimal(18,2)")  # '12.345' becomes 12.35, 'cheap' becomes null
"""

import pyarrow as pa
from pyspark.sql import Column as Expression
from pyspark.sql import functions as F

from jobs.lake.contracts import Column

# A day, or a day and a time with seconds, fraction and zone optional. Spark's own cast takes more: it makes a bare
# `12:30` today's time, and a night must not depend on the clock.
ISO_8601 = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?( ?(Z|UTC|[+-]\d{2}(:?\d{2})?))?)?$"
NOT_FINITE = r"^[+-]?(nan|inf|infinity)$"
NUMBERS = ("int", "bigint", "float", "double")
REPLACEMENT = "\ufffd"
"""What a reader puts in place of bytes that are not UTF-8. Two different ids could become the same text."""
NANOSECONDS = "nanoseconds"
"""The stored type of parquet times in nanoseconds, for which Spark has none."""


def stored_type(arrow: pa.DataType, wanted: str, *, int96: bool = False) -> str:
    """Return the Spark type to read a parquet column as, or NANOSECONDS, if it can become `wanted`.

    `int96` says that the file stores a time as INT96, as older Spark versions do.

    Raises:
        TypeError: it cannot. An id stored as a float cannot become text either: it would print as `17850.0`.
    """
    stored = _spark_name(arrow, int96)
    is_number = stored in NUMBERS or stored.startswith("decimal")
    allowed = {
        "string": stored in ("string", "binary", "int", "bigint"),
        "int": is_number or stored == "string",
        "bigint": is_number or stored == "string",
        "double": is_number or stored == "string",
        "timestamp": stored in ("timestamp", "timestamp_ntz", NANOSECONDS, "date", "string"),
        "boolean": stored in ("boolean", "int", "bigint", "string"),
        "array<string>": stored in ("array<string>", "string"),
        "map<string,string>": stored in ("map<string,string>", "string"),
    }
    if not allowed.get(wanted, is_number or stored == "string"):
        raise TypeError(f"{arrow} is no {wanted}")
    return stored


def _spark_name(arrow: pa.DataType, int96: bool) -> str:  # noqa: PLR0911 - one branch a type
    types = pa.types
    if types.is_dictionary(arrow):
        return _spark_name(arrow.value_type, int96)
    if types.is_string(arrow) or types.is_large_string(arrow) or types.is_string_view(arrow):
        return "string"
    if types.is_binary(arrow) or types.is_large_binary(arrow):
        return "binary"
    if types.is_uint64(arrow):
        return "decimal(20,0)"
    if types.is_integer(arrow):
        return "bigint" if arrow.bit_width == 64 or types.is_uint32(arrow) else "int"
    if types.is_timestamp(arrow):
        if arrow.unit == "ns" and not int96:
            return NANOSECONDS
        return "timestamp" if arrow.tz or int96 else "timestamp_ntz"
    if types.is_decimal(arrow) and arrow.precision <= 38:
        return f"decimal({arrow.precision},{arrow.scale})"
    if types.is_list(arrow) or types.is_large_list(arrow):
        return f"array<{_spark_name(arrow.value_type, False)}>"
    if types.is_map(arrow):
        return f"map<{_spark_name(arrow.key_type, False)},{_spark_name(arrow.item_type, False)}>"
    plain = {pa.float32(): "float", pa.float64(): "double", pa.bool_(): "boolean", pa.date32(): "date"}
    return plain.get(arrow, str(arrow))


def parsed(text: Expression, wanted: str) -> Expression:  # noqa: PLR0911 - one branch a type
    """Return text as `wanted`, null where it is empty or cannot become that.

    A decimal is rounded half up from its digits, never by way of a float. Times without a zone are UTC.
    """
    if wanted == "string":
        return F.nullif(text, F.lit(""))
    bare = F.nullif(F.trim(text), F.lit(""))
    if wanted in ("int", "bigint"):
        number = bare.try_cast("decimal(38,6)")  # writers without a missing integer print 3 as 3.0
        return F.when(number == F.floor(number), number).try_cast(wanted)
    if wanted == "double":
        number = bare.try_cast("double")
        return F.when(F.abs(number) < float("inf"), number)
    if wanted == "timestamp":
        # Spark requires seconds where there is a zone, and a colon within the zone.
        with_seconds = F.regexp_replace(bare, r"([T ]\d{2}:\d{2})(?=$| ?(Z|UTC|[+-]))", "$1:00")
        with_zone = F.regexp_replace(with_seconds, r"([T ].*[+-]\d{2})(\d{2})$", "$1:$2")
        return F.when(bare.rlike(ISO_8601), with_zone).try_cast("timestamp")
    if wanted == "array<string>":
        from_json = F.from_json(bare, "array<string>")
        return F.when(bare.startswith("["), from_json).otherwise(F.split(bare, r"\|"))
    if wanted == "map<string,string>":
        return F.from_json(bare, wanted)
    return bare.try_cast(wanted)


def converted(value: Expression, stored: str, wanted: str) -> Expression:
    """Return a parquet column of type `stored` (see `stored_type`) as `wanted`, null where it cannot become that."""
    if stored == NANOSECONDS:
        return F.timestamp_micros(F.floor(value / F.lit(1000)))
    if stored in (wanted, "binary") and wanted != "double":
        return F.nullif(value.cast("string"), F.lit("")) if wanted == "string" else value
    if wanted == "timestamp" and stored != "string":
        return value.cast("timestamp")
    if wanted == "boolean" and stored in ("int", "bigint"):
        return F.when(value.isin(0, 1), value == 1)
    if stored in ("int", "bigint") or stored.startswith("decimal"):
        return value.try_cast(wanted) if not wanted.endswith("int") else parsed(value.cast("string"), wanted)
    # A float becomes a decimal by its shortest digits: 12.345 is meant, not 12.3449999.
    return parsed(value.cast("string"), wanted)


def faults(column: Column, landed: Expression, stored: str | None, value: Expression) -> dict[str, Expression]:
    """Return, by reason, where a column's value sets its row aside. A row's fault is the first reason that holds.

    `landed` is the column as read, of type `stored` (None: text of csv or jsonl); `value` is what it became.
    """
    is_text = stored in (None, "string")
    is_filled = landed != F.lit("") if is_text else landed.isNotNull()
    reasons: dict[str, Expression] = {}
    if column.required:
        reasons["missing_value"] = ~F.coalesce(is_filled, F.lit(False))
    if column.max_bytes and (is_text or column.type == "string"):
        reason = "id_too_long" if column.name.endswith("_id") else "field_too_long"
        reasons[reason] = F.octet_length(landed.cast("string")) > column.max_bytes
    if column.type == "string":
        if column.name.endswith("_id") and is_text:
            reasons["invalid_text"] = landed.contains(REPLACEMENT)
        return reasons
    if column.type in NUMBERS or column.type.startswith("decimal"):
        reasons["not_finite"] = F.lower(F.trim(landed.cast("string"))).rlike(NOT_FINITE)
    reasons["wrong_type"] = is_filled & value.isNull()
    return reasons
