"""Read a shop's rules: what is shown to nobody, what only from an age on, and what not again so soon.

    TOPSHELF_RULES=rules.yaml topshelf nightly --ds 2026-01-31

docs/rules.md shows such a file and says what each rule means; topshelf.toml may hold the same as `[rules]`. Rules are
returned as plain data, names sorted and without repeats, so that two files with the same meaning are the same
parameter of a run. Stages use `Rules.of`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from jobs.config.yaml_file import Place, Source, read_yaml

BLOCKED = {"items": "item_id", "categories": "category", "brands": "brand", "sellers": "seller_id"}
"""What may be blocked, and the column of features/item that holds its names."""
LIMITED = {"item": "item_id", "category": "category", "brand": "brand"}
"""What may have a minimum age, and its column."""
OLDEST = 120
"""The highest minimum age, in years."""


@with_config(ConfigDict(extra="forbid"))
class PlainAgeLimit(TypedDict, total=False):
    """A minimum age of one item, category or brand, in years."""

    item: str
    category: str
    brand: str
    least_age: int
    by_region: dict[str, int]


@with_config(ConfigDict(extra="forbid"))
class PlainRules(TypedDict, total=False):
    """Checked rules as plain data, as manifests keep them; a rule that is not set is left out."""

    blocked: dict[str, list[str]]
    age_limits: list[PlainAgeLimit]
    just_bought: dict[str, int]


class RulesError(ValueError):
    """Rules that are unreadable or invalid: what is wrong, where in the file, and the remedy."""


@dataclass(frozen=True)
class AgeLimit:
    """A minimum age, in years, of everything with one name in a column of features/item.

    A category holds all categories below it.
    """

    column: str
    name: str
    least_age: int
    by_region: Mapping[str, int]
    """Other minimum ages, 0 for none; a region that is not named has `least_age`."""


@dataclass(frozen=True)
class Rules:
    """The rules of a shop. The default has none."""

    blocked: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Names by column of features/item; a category holds all categories below it."""
    age_limits: Sequence[AgeLimit] = ()
    just_bought_days: int = 0
    """Items that a shopper bought in the last so many days are left out, unless due again; 0 disables the rule."""

    @classmethod
    def of(cls, plain: Mapping[str, object]) -> "Rules":
        """Return the rules of plain data, checked as `checked_rules` does."""
        rules = checked_rules(plain, "rules")
        return cls(
            blocked={BLOCKED[kind]: names for kind, names in rules.get("blocked", {}).items()},
            age_limits=tuple(
                AgeLimit(column, str(limit.get(kind)), limit["least_age"], limit.get("by_region", {}))
                for limit in rules.get("age_limits", [])
                for kind, column in LIMITED.items()
                if kind in limit
            ),
            just_bought_days=rules.get("just_bought", {}).get("days", 0),
        )


def read_rules(path: str) -> PlainRules:
    """Return the rules of a YAML file as plain data, read by `read_yaml`; an empty file has none.

    Raises:
        RulesError: the file is missing or no YAML, or a rule is invalid.
    """
    raw, source = read_yaml(
        path, RulesError, "let TOPSHELF_RULES name a file of rules", "docs/rules.md shows a file of rules"
    )
    return _checked(raw, source)


def checked_rules(raw: object, name: str) -> PlainRules:
    """Return rules as plain data, names sorted; `name` says in errors where they were read.

    Raises:
        RulesError: a key is unknown, or a rule is invalid.
    """
    return _checked(raw, Source(name, RulesError))


def _checked(raw: object, source: Source) -> PlainRules:
    tables = _mapping(raw, (), ("blocked", "age_limits", "just_bought"), source)
    by_kind = _mapping(tables.get("blocked"), ("blocked",), tuple(BLOCKED), source)
    names = {kind: _names(by_kind.get(kind), ("blocked", kind), source) for kind in BLOCKED}
    limits = _entries(tables.get("age_limits"), ("age_limits",), source)
    age_limits = [_age_limit(limit, ("age_limits", index), source) for index, limit in enumerate(limits)]
    rules = PlainRules()
    if blocked := {kind: listed for kind, listed in names.items() if listed}:
        rules["blocked"] = blocked
    if age_limits:
        rules["age_limits"] = age_limits
    if just_bought := _just_bought(tables.get("just_bought"), source):
        rules["just_bought"] = just_bought
    return rules


def _mapping(raw: object, place: Place, known: Sequence[str], source: Source) -> Mapping[str, object]:
    if raw is None or raw == "":
        return {}
    if not isinstance(raw, Mapping):
        raise source.fault(place, "is no mapping", f"it takes {', '.join(known)}, each with a colon behind it")
    for key in raw:
        if key not in known:
            raise source.fault((*place, str(key)), "is not known", f"what is known here: {', '.join(known)}")
    return raw


def _entries(raw: object, place: Place, source: Source) -> Sequence[object]:
    if raw is None or raw == "":
        return []
    if not isinstance(raw, list | tuple):
        raise source.fault(place, "is no list", "begin each entry with a dash, or put them between [ and ]")
    return raw


def _names(raw: object, place: Place, source: Source) -> list[str]:
    entries = enumerate(_entries(raw, place, source))
    return sorted({_name(entry, place[-1], (*place, index), source) for index, entry in entries})


def _name(raw: object, kind: str | int, place: Place, source: Source) -> str:
    """Return a name as tables have it."""
    name = raw if isinstance(raw, str) else ""
    if kind in ("categories", "category"):
        name = category_path(name)
    if not name:
        raise source.fault(place, "is no name", "give one as landing has it, as text, or take the entry out")
    return name


def category_path(category: str) -> str:
    """Return a category as tables have it: no spaces around the parts of its path, and none of them empty."""
    return "/".join(part.strip() for part in category.split("/") if part.strip())


def _whole_number(raw: object, least: int, most: int, place: Place, source: Source) -> int:
    number = raw if isinstance(raw, int) and not isinstance(raw, bool) else None
    if isinstance(raw, str) and raw.isascii() and raw.isdigit():
        number = int(raw)
    if number is None or not least <= number <= most:
        raise source.fault(place, f"is {raw!r}", f"give a whole number from {least} to {most}")
    return number


def _age_limit(raw: object, place: Place, source: Source) -> PlainAgeLimit:
    entry = _mapping(raw, place, (*LIMITED, "least_age", "by_region"), source)
    kinds = [kind for kind in LIMITED if kind in entry]
    if len(kinds) != 1:
        what = f"names {' and '.join(kinds)}" if kinds else "names nothing"
        raise source.fault(place, what, f"give each limit one of {', '.join(LIMITED)}")
    if "least_age" not in entry:
        raise source.fault(place, "has no least_age", "give it in years, as `least_age: 18`")
    limit: dict[str, object] = {
        kinds[0]: _name(entry[kinds[0]], kinds[0], (*place, kinds[0]), source),
        "least_age": _whole_number(entry["least_age"], 1, OLDEST, (*place, "least_age"), source),
    }
    if by_region := _ages(entry.get("by_region"), (*place, "by_region"), source):
        limit["by_region"] = by_region
    return cast(PlainAgeLimit, limit)


def _ages(raw: object, place: Place, source: Source) -> dict[str, int]:
    if raw and not isinstance(raw, Mapping):
        raise source.fault(place, "is no mapping", "give an age to each region, as `{DE: 16, US: 21}`")
    regions = raw if isinstance(raw, Mapping) else {}
    return {
        str(region): _whole_number(age, 0, OLDEST, (*place, str(region)), source)
        for region, age in sorted(regions.items())
    }


def _just_bought(raw: object, source: Source) -> dict[str, int]:
    place = ("just_bought",)
    table = _mapping(raw, place, ("days",), source)
    if raw not in (None, "") and "days" not in table:
        raise source.fault(place, "has no days", "say for how long, as `days: 30`")
    return {"days": _whole_number(table["days"], 1, 3650, (*place, "days"), source)} if table else {}
