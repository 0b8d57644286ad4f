"""Building blocks of the configuration: frozen tables of checked values, and what is known of each value.

>>> known = settings_of(Parameters, "parameters")
>>> known["parameters.ranking.trees"].allowed
'a whole number from 1 to 10,000'
"""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Annotated, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo


class Section(BaseModel):
    """A frozen table of settings. A wrong type, an unknown name and a value out of bounds are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _as_float(value: object) -> object:
    return float(value) if type(value) is int else value


Number = Annotated[float, BeforeValidator(_as_float)]
"""A finite float. A whole number may be written without its point; a bool or text is an error."""


@dataclass(frozen=True)
class Place:
    """Lets an address through that `check` raises no ValueError for; `allowed` says in words which these are."""

    check: Callable[[str], object]
    allowed: str

    def __call__(self, address: str) -> str:
        """Return the address. Raises ValueError."""
        self.check(address)
        return address


@dataclass(frozen=True)
class Setting:
    """One value of the configuration, and what is known of it."""

    key: str
    """Its place in topshelf.toml, such as `parameters.ranking.trees`."""
    default: object
    """None for a setting that is not set by default."""
    description: str
    allowed: str
    adapter: TypeAdapter[object]

    def checked(self, value: object) -> object:
        """Return the value as it is used.

        Raises:
            pydantic.ValidationError: it has another type, or is out of bounds.
        """
        return self.adapter.validate_python(value)

    def checked_text(self, text: str) -> object:
        """Return the value of an environment variable: text, or a value written as in TOML; raises as `checked`."""
        try:
            return self.checked(text)
        except ValidationError:
            return self.checked(_toml_value(text))


def _toml_value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def settings_of(section: type[BaseModel], prefix: str) -> dict[str, Setting]:
    """Return the settings of a table and of the tables in it, by key, in the order of their definition."""
    return {setting.key: setting for setting in _settings(section, prefix)}


def _settings(section: type[BaseModel], prefix: str) -> Iterator[Setting]:
    for name, field in section.model_fields.items():
        key = f"{prefix}.{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _settings(field.annotation, key)
        elif field.description:
            adapter: TypeAdapter[object] = TypeAdapter(
                Annotated[field.annotation, Field(), *field.metadata],  # type: ignore[arg-type]
                config=ConfigDict(strict=True, allow_inf_nan=False),
            )
            yield Setting(key, field.get_default(), field.description, _allowed(field), adapter)


def _allowed(field: FieldInfo) -> str:
    """Return which values a field takes, in words."""
    for bound in field.metadata:
        if isinstance(bound, AfterValidator) and isinstance(bound.func, Place):
            return f"text in quotes: {bound.func.allowed}"
    options = [option for option in get_args(field.annotation) if option is not NoneType]
    if get_origin(field.annotation) is Literal:
        return f"one of {', '.join(options)}"
    kind = options[0] if options else field.annotation
    if kind is bool:
        return "true or false"
    if kind is str:
        is_needed = any(isinstance(bound, MinLen) for bound in field.metadata)
        return "text in quotes, not empty" if is_needed else "text in quotes"
    least = next((f"from {bound.ge:,}" for bound in field.metadata if isinstance(bound, Ge)), "")
    least = next((f"above {bound.gt:,} and up" for bound in field.metadata if isinstance(bound, Gt)), least)
    most = next((f"to {bound.le:,}" for bound in field.metadata if isinstance(bound, Le)), "on")
    kind_in_words = "a whole number" if kind is int else "a number"
    return f"{kind_in_words} {least} {most}"


def flat(table: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return the values of nested tables by dotted key; an empty table gives nothing."""
    values: dict[str, object] = {}
    for name, value in table.items():
        key = f"{prefix}.{name}" if prefix else name
        values |= flat(value, key) if isinstance(value, Mapping) else {key: value}
    return values


def nested(values: Mapping[str, object]) -> dict[str, object]:
    """Return values by dotted key as nested tables: the inverse of `flat`.

    Raises:
        ValueError: a key stands below another key that has a value.
    """
    tables: dict[str, object] = {}
    for key, value in values.items():
        *path, name = key.split(".")
        table = tables
        for part in path:
            below = table.setdefault(part, {})
            if not isinstance(below, dict):
                raise ValueError(f"{key} stands below a key that has a value")
            table = below
        table[name] = value
    return tables
