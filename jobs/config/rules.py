"""Read a shop's rules: what is shown to nobody, what only to shoppers of age, and what not again so soon.

    TOPSHELF_RULES=rules.yaml topshelf nightly --ds 2026-01-31

docs/rules.md shows such a file and says what each rule means. Rules come out of it as plain data, names in order and
equal ones once, so that two files which say the same are the same parameter of a run; `Rules.of` is what stages use.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

BLOCKED = {"items": "item_id", "categories": "category", "brands": "brand", "sellers": "seller_id"}
"""What may be blocked, and the column of features/item that its names stand in."""
LIMITED = {"item": "item_id", "category": "category", "brand": "brand"}
"""What may have a least age, and its column."""
OLDEST = 120

Place = tuple[str | int, ...]
"""Where something stands in the file: keys, and numbers of entries."""


class RulesError(ValueError):
    """Rules that cannot be read or meant: what is wrong, where in the file, and the remedy."""


@dataclass(frozen=True)
class AgeLimit:
    """A least age, in years, of who may be shown what stands in a column of features/item; a path holds all below."""

    column: str
    name: str
    least_age: int
    by_region: Mapping[str, int]
    """Other least ages, 0 for none; a region that is not named has `least_age`."""


@dataclass(frozen=True)
class Rules:
    """The rules of a shop; as they stand, none."""

    blocked: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Names by column of features/item; categories hold their descendants."""
    age_limits: Sequence[AgeLimit] = ()
    just_bought_days: int = 0
    """What a shopper bought in so many days is left out, unless its rhythm asks for it; 0 for no such rule."""

    @classmethod
    def of(cls, checked: Mapping[str, Any]) -> "Rules":
        """Return the rules of plain data as `read_rules` or `checked_rules` gives it."""
        return cls(
            blocked={BLOCKED[kind]: names for kind, names in checked.get("blocked", {}).items()},
            age_limits=tuple(
                AgeLimit(LIMITED[kind], limit[kind], limit["least_age"], limit.get("by_region", {}))
                for limit in checked.get("age_limits", [])
                for kind in LIMITED
                if kind in limit
            ),
            just_bought_days=checked.get("just_bought", {}).get("days", 0),
        )


@dataclass(frozen=True)
class _Text:
    """Where rules were read from, so that an error can say it."""

    name: str
    lines: Mapping[Place, int] = field(default_factory=dict)

    def wrong(self, place: Place, what: str, remedy: str) -> RulesError:
        known = (place[:length] for length in range(len(place), -1, -1))
        line = next((f" line {self.lines[part]}" for part in known if part in self.lines), "")
        of = "".join(f" no. {part + 1}" if isinstance(part, int) else f", {part}" for part in place).lstrip(", ")
        return RulesError(f"{self.name}{line}: {f'{of} ' if of else ''}{what}; {remedy}")


def read_rules(path: str) -> dict[str, Any]:
    """Return the rules of a YAML file as plain data; nothing for a file that says nothing.

    Every scalar is text as it stands: an item `0042` keeps its zeros, and the region `NO` is not a falsehood.

    Raises:
        RulesError: there is no such file, it is no YAML, or its rules cannot be meant.
    """
    try:
        root = yaml.compose(Path(path).read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except OSError as error:
        raise RulesError(
            f"{path} cannot be read ({error.strerror}); let TOPSHELF_RULES name a file of rules"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        told = getattr(error, "problem", None) or "it is not text"
        raise RulesError(f"{path}{line}: this is no YAML ({told}); docs/rules.md shows a file of rules") from error
    lines: dict[Place, int] = {}
    raw = {} if root is None else _plain(root, (), lines, path)
    return checked_rules(raw, path, lines)


def _plain(node: yaml.Node, place: Place, lines: dict[Place, int], name: str) -> Any:
    """Return a node as lists, dicts and text, and note the line of everything in it. Raises RulesError."""
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.ScalarNode):
        return node.value
    if isinstance(node, yaml.SequenceNode):
        return [_plain(entry, (*place, number), lines, name) for number, entry in enumerate(node.value)]
    found: dict[str, Any] = {}
    for key, value in node.value:
        at = (*place, str(key.value))
        lines[at] = key.start_mark.line + 1
        if str(key.value) in found:
            raise _Text(name, lines).wrong(at, "stands there twice", "keep one, with all that both say")
        found[str(key.value)] = _plain(value, at, lines, name)
    return found


def checked_rules(raw: Any, name: str, lines: Mapping[Place, int] | None = None) -> dict[str, Any]:
    """Return rules as plain data, names sorted; `name` and `lines` say in errors where they were read.

    Raises:
        RulesError: something is there that is no rule, or a rule cannot be meant.
    """
    text = _Text(name, lines or {})
    told = _mapping(raw, (), ("blocked", "age_limits", "just_bought"), text)
    blocked = _mapping(told.get("blocked"), ("blocked",), tuple(BLOCKED), text)
    names = {kind: _names(blocked.get(kind), ("blocked", kind), text) for kind in BLOCKED}
    limits = _entries(told.get("age_limits"), ("age_limits",), text)
    rules = {
        "blocked": {kind: of for kind, of in names.items() if of},
        "age_limits": [_age_limit(limit, ("age_limits", number), text) for number, limit in enumerate(limits)],
        "just_bought": _just_bought(told.get("just_bought"), text),
    }
    return {rule: said for rule, said in rules.items() if said}


def _mapping(raw: Any, place: Place, known: Sequence[str], text: _Text) -> Mapping[str, Any]:
    if raw is None or raw == "":
        return {}
    if not isinstance(raw, Mapping):
        raise text.wrong(place, "is no mapping", f"it takes {', '.join(known)}, each with a colon behind it")
    for key in raw:
        if key not in known:
            raise text.wrong((*place, str(key)), "is not known", f"what is known here: {', '.join(known)}")
    return raw


def _entries(raw: Any, place: Place, text: _Text) -> Sequence[Any]:
    if raw is None or raw == "":
        return []
    if not isinstance(raw, list | tuple):
        raise text.wrong(place, "is no list", "begin each entry with a dash, or put them between [ and ]")
    return raw


def _names(raw: Any, place: Place, text: _Text) -> list[str]:
    entries = enumerate(_entries(raw, place, text))
    return sorted({_name(entry, place[-1], (*place, number), text) for number, entry in entries})


def _name(raw: Any, kind: str | int, place: Place, text: _Text) -> str:
    """Return a name as tables have it."""
    named = raw if isinstance(raw, str) else ""
    if kind in ("categories", "category"):
        named = category_path(named)
    if not named:
        raise text.wrong(place, "is no name", "give one as landing has it, or take the entry out")
    return named


def category_path(category: str) -> str:
    """Return a category as tables have it: no spaces around the parts of its path, and none of them empty."""
    return "/".join(part.strip() for part in category.split("/") if part.strip())


def _whole(raw: Any, least: int, most: int, place: Place, text: _Text) -> int:
    said = raw if isinstance(raw, int) and not isinstance(raw, bool) else None
    if isinstance(raw, str) and raw.isascii() and raw.isdigit():
        said = int(raw)
    if said is None or not least <= said <= most:
        raise text.wrong(place, f"is {raw!r}", f"give a whole number from {least} to {most}")
    return said


def _age_limit(raw: Any, place: Place, text: _Text) -> dict[str, Any]:
    limit = _mapping(raw, place, (*LIMITED, "least_age", "by_region"), text)
    kinds = [kind for kind in LIMITED if kind in limit]
    if len(kinds) != 1:
        said = f"names {' and '.join(kinds)}" if kinds else "names nothing"
        raise text.wrong(place, said, f"give each limit one of {', '.join(LIMITED)}")
    if "least_age" not in limit:
        raise text.wrong(place, "has no least_age", "give it in years, as `least_age: 18`")
    found = {
        kinds[0]: _name(limit[kinds[0]], kinds[0], (*place, kinds[0]), text),
        "least_age": _whole(limit["least_age"], 1, OLDEST, (*place, "least_age"), text),
    }
    regions = limit.get("by_region")
    if regions and not isinstance(regions, Mapping):
        raise text.wrong((*place, "by_region"), "is no mapping", "give an age to each region, as `{DE: 16, US: 21}`")
    ages = {
        str(region): _whole(age, 0, OLDEST, (*place, "by_region", str(region)), text)
        for region, age in sorted((regions or {}).items())
    }
    return found | ({"by_region": ages} if ages else {})


def _just_bought(raw: Any, text: _Text) -> dict[str, int]:
    place = ("just_bought",)
    told = _mapping(raw, place, ("days",), text)
    if raw not in (None, "") and "days" not in told:
        raise text.wrong(place, "has no days", "say for how long, as `days: 30`")
    return {"days": _whole(told["days"], 1, 3650, (*place, "days"), text)} if told else {}
