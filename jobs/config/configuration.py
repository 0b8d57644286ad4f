"""Read the configuration of a deployment, once, before anything starts.

>>> configuration = read_configuration({"--top-n": 50})
>>> configuration.parameters.shelves.top_n
50

One file, `topshelf.toml` in the working directory or the file that TOPSHELF_CONFIG names, has the tables `[places]`,
`[retention]`, `[parameters]` and `[rules]`. Environment variables win over it, and flags over those: TOPSHELF_LANDING
for a place, TOPSHELF_PARAMETERS__RANKING__TREES for `parameters.ranking.trees`, TOPSHELF_RETENTION__DERIVED_DAYS for
`retention.derived_days`. TOPSHELF_RULES names a YAML file of rules, TOPSHELF_EXPERIMENTS one of experiments.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path

from pydantic import ValidationError

from jobs.config.experiments_file import read_experiments
from jobs.config.fields import flat, nested, settings_of
from jobs.config.parameters import Parameters
from jobs.config.retention import Retention
from jobs.config.rules import PlainRules, checked_rules, read_rules
from jobs.config.settings import Settings
from serving.stores.places import PlaceError, folder_of

FILE_NAME = "topshelf.toml"
KNOWN = settings_of(Settings, "places") | settings_of(Retention, "retention") | settings_of(Parameters, "parameters")
"""Every setting except the rules, by key, in the order of topshelf.toml."""
FLAGS = {
    "--landing": "places.landing",
    "--lake": "places.lake",
    "--store": "places.store",
    "--archive": "places.archive",
    "--top-n": "parameters.shelves.top_n",
}
DEFAULT = "default"
_PLACE_VARIABLES = {
    key: f"TOPSHELF_{key.removeprefix('places.').upper()}" for key in KNOWN if key.startswith("places.")
}
_TABLE_PREFIXES = {f"TOPSHELF_{table.upper()}__": table for table in ("parameters", "retention")}
_ALIKE = 0.6
"""Names that are less alike than this share are not offered for an unknown one."""


def environment_name(key: str) -> str:
    """Return the environment variable of a setting, by its key in topshelf.toml."""
    return _PLACE_VARIABLES.get(key) or f"TOPSHELF_{key.replace('.', '__').upper()}"


class ConfigurationError(ValueError):
    """The configuration is invalid: a line for each fault, naming where it is, the value and what is allowed."""


@dataclass(frozen=True)
class Configuration:
    """What is in force."""

    settings: Settings
    parameters: Parameters
    retention: Retention = field(default_factory=Retention)
    origins: Mapping[str, str] = field(default_factory=dict)
    """Where a key's value came from: a file, a variable or a flag; keys with their default are left out.

    All rules have one origin, under the key `rules`; so have all experiments, under `experiments`.
    """


@dataclass(frozen=True)
class _Assignment:
    """A value that a file, a variable or a flag gives to a key."""

    key: str
    value: object
    origin: str
    """The file, variable or flag."""
    place: str
    """The same; for a file with the key."""
    is_text: bool = False
    """Whether the value is the text of a variable, which stands for a value."""

    def __str__(self) -> str:
        shown = str(self.value).lower() if isinstance(self.value, bool) else repr(self.value)
        return f"{self.place} = {shown}"

    def checked(self) -> object:
        """Return the value as it is used.

        Raises:
            ConfigurationError: the key is unknown, or the value has another type or is out of bounds.
        """
        setting = KNOWN.get(self.key)
        if setting is None:
            raise ConfigurationError(f"{self} {_unknown(self.key)}")
        try:
            return setting.checked_text(str(self.value)) if self.is_text else setting.checked(self.value)
        except ValidationError as error:
            raise ConfigurationError(f"{self} is not allowed; give {setting.allowed}") from error


def read_configuration(
    flags: Mapping[str, object] | None = None, environment: Mapping[str, str] | None = None
) -> Configuration:
    """Return what the flags, the environment and topshelf.toml say, in this order, over the defaults.

    Args:
        flags: values by flag, as in FLAGS; None for a flag that was not given.
        environment: the process's own unless given.

    Raises:
        ConfigurationError: a file cannot be read, or a name, type or value is wrong; all faults at once.
        RulesError, ExperimentsFileError: the rules or the experiments cannot be read, or are invalid.
    """
    environment = os.environ if environment is None else environment
    if environment.get("TOPSHELF_PARAMETERS"):
        raise ConfigurationError(
            "TOPSHELF_PARAMETERS is no longer read; write its values into topshelf.toml, or a file that "
            "TOPSHELF_CONFIG names: `topshelf config --toml` prints one with every key"
        )
    try:
        folder_of(environment.get("TOPSHELF_METRICS_DIR", ""))
    except PlaceError as error:
        raise ConfigurationError(f"TOPSHELF_METRICS_DIR: {error}") from error
    path, tables = _read_file(environment)
    assignments = _assignments(path, tables, environment, flags)
    by_table = _checked(assignments)
    rules, origins = _rules(environment, path, tables)
    parameters = Parameters.model_validate(_table(by_table, "parameters") | {"rules": rules})
    if named := environment.get("TOPSHELF_EXPERIMENTS"):
        parameters = parameters.model_copy(update={"experiments": read_experiments(named, parameters)})
        origins = origins | {"experiments": f"TOPSHELF_EXPERIMENTS ({named})"}
    return Configuration(
        Settings.model_validate(_table(by_table, "places")),
        parameters,
        Retention.model_validate(_table(by_table, "retention")),
        {assignment.key: assignment.origin for assignment in assignments} | origins,
    )


def read_places(flags: Mapping[str, object] | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Return the places alone: a rollback must not fail because a parameter or a rule is invalid.

    Raises:
        ConfigurationError: the file cannot be read, or a place is invalid.
    """
    environment = os.environ if environment is None else environment
    assignments = _assignments(*_read_file(environment), environment, flags)
    by_table = _checked([assignment for assignment in assignments if assignment.key.startswith("places.")])
    return Settings.model_validate(_table(by_table, "places"))


def _checked(assignments: Sequence[_Assignment]) -> dict[str, object]:
    """Return the values of assignments, the last of a key, nested by table.

    Raises:
        ConfigurationError: a key, type or value is wrong; all faults at once.
    """
    values: dict[str, object] = {}
    faults: list[str] = []
    for assignment in assignments:
        try:
            values[assignment.key] = assignment.checked()
        except ConfigurationError as fault:
            faults.append(str(fault))
    if faults:
        raise ConfigurationError("\n".join(faults))
    return nested(values)


def _read_file(environment: Mapping[str, str]) -> tuple[str, dict[str, object]]:
    """Return the path of the configuration file and its tables; none where there is no such file.

    Raises:
        ConfigurationError: TOPSHELF_CONFIG names a file that is missing, or the file is no TOML.
    """
    named = environment.get("TOPSHELF_CONFIG")
    path = named or FILE_NAME
    try:
        return path, tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error
        raise ConfigurationError(
            f"{path} is no TOML: {reason}; `topshelf config --toml` prints such a file"
        ) from error
    except FileNotFoundError as error:
        if not named:
            return path, {}
        raise ConfigurationError(
            f"TOPSHELF_CONFIG = {path!r}: there is no such file; name one, or unset it"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error.strerror}); make it a readable file") from error


def _assignments(
    path: str, tables: Mapping[str, object], environment: Mapping[str, str], flags: Mapping[str, object] | None
) -> list[_Assignment]:
    """Return what the file, the environment and the flags give, in this order: the last of a key wins."""
    return [*_of_file(path, tables), *_of_environment(environment), *_of_flags(flags or {})]


def _of_file(path: str, tables: Mapping[str, object]) -> Iterator[_Assignment]:
    settings = {name: table for name, table in tables.items() if name != "rules"}
    return (_Assignment(key, value, path, f"{path}: {key}") for key, value in flat(settings).items())


def _of_environment(environment: Mapping[str, str]) -> Iterator[_Assignment]:
    """Yield what the environment says; an empty variable is one that is not set."""
    for key, name in _PLACE_VARIABLES.items():
        if environment.get(name):
            yield _Assignment(key, environment[name], name, name, is_text=True)
    for name, text in sorted(environment.items()):
        for prefix, table in _TABLE_PREFIXES.items():
            if name.startswith(prefix) and text:
                key = name.removeprefix(prefix).lower().replace("__", ".")
                yield _Assignment(f"{table}.{key}", text, name, name, is_text=True)


def _of_flags(flags: Mapping[str, object]) -> Iterator[_Assignment]:
    return (_Assignment(FLAGS[flag], value, flag, flag) for flag, value in flags.items() if value is not None)


def _unknown(key: str) -> str:
    """Return what is wrong with a key that is no setting, and the remedy."""
    inner = {setting.removeprefix(f"{key}.").split(".")[0] for setting in KNOWN if setting.startswith(f"{key}.")}
    if inner:
        return f"is not allowed; it is a table of {', '.join(sorted(inner))}"
    likeness = {setting: _likeness(key, setting) for setting in KNOWN}
    nearest = max(likeness, key=likeness.__getitem__)
    if likeness[nearest] < _ALIKE:
        return "is not known; `topshelf config` lists all names"
    return f"is not known; the nearest name is {nearest}, {KNOWN[nearest].allowed}"


def _likeness(name: str, key: str) -> float:
    """Return how alike two keys are, from 0 to 1: as a whole, or their last parts alone."""
    whole = SequenceMatcher(a=_plain(name), b=_plain(key)).ratio()
    return max(whole, SequenceMatcher(a=name.rpartition(".")[2], b=key.rpartition(".")[2]).ratio())


def _plain(key: str) -> str:
    return key.removeprefix("parameters.").replace(".", "_")


def _rules(
    environment: Mapping[str, str], path: str, tables: Mapping[str, object]
) -> tuple[PlainRules, dict[str, str]]:
    """Return the rules, and their origin by the key `rules`. The file of TOPSHELF_RULES replaces `[rules]` whole."""
    if named := environment.get("TOPSHELF_RULES"):
        return read_rules(named), {"rules": f"TOPSHELF_RULES ({named})"}
    if "rules" in tables:
        return checked_rules(tables["rules"], f"{path} [rules]"), {"rules": path}
    return PlainRules(), {}


def _table(tables: Mapping[str, object], name: str) -> dict[str, object]:
    table = tables.get(name, {})
    return table if isinstance(table, dict) else {}
