"""Read a YAML file as plain text values, and know the line of each, so that an error can name it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

Place = tuple[str | int, ...]
"""Where something stands in the file: keys, and indices of list entries."""


@dataclass(frozen=True)
class Source:
    """Where values were read from, and the kind of error that says so."""

    name: str
    error: type[ValueError]
    lines: Mapping[Place, int] = field(default_factory=dict)

    def fault(self, place: Place, what: str, remedy: str) -> ValueError:
        """Return the error with the line of `place`, or of the nearest thing around it whose line is known."""
        around = (place[:length] for length in range(len(place), -1, -1))
        line = next((f" line {self.lines[outer]}" for outer in around if outer in self.lines), "")
        path = "".join(f" no. {part + 1}" if isinstance(part, int) else f", {part}" for part in place).lstrip(", ")
        return self.error(f"{self.name}{line}: {f'{path} ' if path else ''}{what}; {remedy}")


def read_yaml(path: str, error: type[ValueError], let: str, shown_in: str) -> tuple[object, Source]:
    """Return a file's values as lists, dicts and text, and where they stand; an empty file is an empty dict.

    Every scalar is text as it stands: an item `0042` keeps its zeros, and the region `NO` is not false.

    Args:
        path: the file.
        error: what to raise.
        let: the remedy where the file cannot be read.
        shown_in: the page that shows such a file.

    Raises:
        ValueError: as `error`: the file is missing or no YAML, or a key stands twice.
    """
    try:
        root = yaml.compose(Path(path).read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except OSError as failure:
        raise error(f"{path} cannot be read ({failure.strerror}); {let}") from failure
    except (yaml.YAMLError, UnicodeDecodeError) as failure:
        mark = getattr(failure, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = getattr(failure, "problem", None) or "it is not text"
        raise error(f"{path}{line}: this is no YAML ({problem}); {shown_in}") from failure
    lines: dict[Place, int] = {}
    source = Source(path, error, lines)
    return ({} if root is None else _plain(root, (), lines, source)), source


def _plain(node: yaml.Node, place: Place, lines: dict[Place, int], source: Source) -> object:
    """Return a node as lists, dicts and text, and note the line of everything in it."""
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.ScalarNode):
        return node.value
    if isinstance(node, yaml.SequenceNode):
        return [_plain(entry, (*place, index), lines, source) for index, entry in enumerate(node.value)]
    mapping: dict[str, object] = {}
    for key, value in node.value:
        here = (*place, str(key.value))
        lines[here] = key.start_mark.line + 1
        if str(key.value) in mapping:
            raise source.fault(here, "stands there twice", "keep one, with all that both say")
        mapping[str(key.value)] = _plain(value, here, lines, source)
    return mapping
