"""Print the configuration in force: as a table with the origin of each value, or as a complete topshelf.toml."""

import json
from collections.abc import Iterator, Mapping

from rich.table import Table

from jobs.config.configuration import DEFAULT, KNOWN, Configuration
from jobs.config.fields import Setting, flat
from jobs.config.terminal import Terminal
from serving.stores.places import without_password

NOT_SET = "not set"


def print_table(configuration: Configuration) -> None:
    """Print each key, its value, where the value came from, and what it means."""
    table = Table(box=None)
    for heading in ("key", "value", "from", "description"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "key")
    origins = configuration.origins
    for key, value in _values(configuration).items():
        shown = NOT_SET if value is None else without_password(as_written(value))
        table.add_row(key, shown, origins.get(key, DEFAULT), KNOWN[key].description)
    for key, value in flat(configuration.parameters.rules, "rules").items():
        table.add_row(key, as_written(value), origins.get("rules", DEFAULT), "See docs/rules.md.")
    for name, one in configuration.parameters.experiments.experiments.items():
        days = f"{one.first_day} to {one.last_day}, layer {one.layer}"
        table.add_row(f"experiments.{name}", days, origins.get("experiments", DEFAULT), "See docs/experiments.md.")
    Terminal().print(table)


def as_toml(configuration: Configuration) -> str:
    """Return a complete topshelf.toml that reads back as the same configuration."""
    lines = [
        "# Topshelf's configuration. Environment variables win over this file, and flags over those.",
        "# A key that is left out has its default.",
    ]
    open_table = ""
    for key, value in _values(configuration).items():
        table, _, name = key.rpartition(".")
        if table != open_table:
            lines += ["", f"[{table}]"]
            open_table = table
        lines += ["", *_comment(KNOWN[key]), f"# {name} =" if value is None else f"{name} = {as_written(value)}"]
    lines += ["", *_rules(configuration.parameters.rules)]
    return "\n".join(lines) + "\n"


def _values(configuration: Configuration) -> dict[str, object]:
    """Return the value of every setting except the rules, by key."""
    places = configuration.settings.model_dump()
    parameters = configuration.parameters.model_dump(exclude={"rules", "experiments"})
    retention = configuration.retention.model_dump()
    values = flat({"places": places, "retention": retention, "parameters": parameters})
    return {key: values[key] for key in KNOWN}


def _comment(setting: Setting) -> Iterator[str]:
    yield f"# {setting.description}"
    default = NOT_SET if setting.default is None else as_written(setting.default)
    yield f"# Allowed: {setting.allowed}. Default: {default}."


def _rules(rules: Mapping[str, object]) -> Iterator[str]:
    yield "# What may not be shown; docs/rules.md says what each rule means."
    yield "[rules]"
    for name, value in rules.items():
        yield f"{name} = {as_written(value)}"


def as_written(value: object) -> str:
    """Return a value as TOML writes it, on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_text(name)} = {as_written(entry)}" for name, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(as_written(entry) for entry in value) + "]"
    return _text(value) if isinstance(value, str) else str(value).lower()


def _text(text: str) -> str:
    """Return text as a TOML string: JSON's escapes are TOML's, except that TOML escapes DEL too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
