"""Each command that an error, a help text or a document names exists: all of them are read from the sources."""

import ast
import importlib.util
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from jobs.cli import app
from jobs.night.stages import STAGES
from serving.__main__ import main as serving_command

ROOT = Path(__file__).resolve().parents[1]
TOPSHELF = typer.main.get_command(app)
STAGE_NAMES = {stage.name for stage in STAGES} | {"list"}
HOLE = "{}"
"""Stands in a text for what an f-string fills in."""
COMMAND = re.compile(
    r"(?<![\w./`'\"-])[`'\"(]*(?:topshelf|python -m jobs) +([a-z][a-z-]+|\{\})(?: +([a-z][\w-]*|\{\}|[A-Z]+))?"
)
MODULE = re.compile(r"(?:python -m |\"-m\", \")((?:jobs|serving)(?:\.\w+)*)(?: +([a-z][a-z-]+))?")
MAKE = re.compile(r"`make ([a-z-]+)`")
SCRIPT = re.compile(r"(?<![\w/])infra/[\w/-]+\.sh")


def texts() -> Iterator[tuple[str, str]]:
    """Yield every text that speaks to somebody: strings of the code, and whole documents and scripts."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in tracked:
        if name == "CHANGELOG.md":
            continue  # it names what is gone
        path = ROOT / name
        if name.endswith(".py") and not name.startswith("tests/"):
            for line, text in strings(ast.parse(path.read_text())):
                yield f"{name}:{line}", text
        elif name.endswith(
            (".md", ".sh", ".yml", ".yaml", ".example", "Dockerfile", ".toml")
        ) and not name.startswith("tests/"):
            yield name, path.read_text()


def strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield (
                node.lineno,
                "".join(str(part.value) if isinstance(part, ast.Constant) else HOLE for part in node.values),
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def is_command(first: str, second: str) -> bool:
    if first == HOLE:
        return True
    commands = vars(TOPSHELF)["commands"]
    if first not in commands:
        return False
    if first == "stage":
        return second in STAGE_NAMES | {HOLE, "NAME", ""}
    below = getattr(commands[first], "commands", None)
    return below is None or second in below or second.isupper() or second in ("", HOLE)


def found(pattern: re.Pattern[str]) -> list[tuple[str, tuple[str, ...]]]:
    return [(where, match.groups("")) for where, text in texts() for match in pattern.finditer(text)]


def test_every_topshelf_command_that_a_text_names_exists() -> None:
    named = found(COMMAND)
    assert len(named) > 80
    unknown = [f"{where}: topshelf {' '.join(words)}" for where, words in named if not is_command(words[0], words[1])]
    assert unknown == []


def unknown_options(first: str, second: str, rest: str) -> set[str]:
    """Return the options in the text behind a command that it does not have."""
    command = vars(TOPSHELF)["commands"].get(first)
    below = getattr(command, "commands", {})
    command = below.get(second, command)
    if command is None or command.context_settings.get("ignore_unknown_options"):
        return set()
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest)) - known - {"--help"}


def test_every_option_of_a_command_that_a_text_names_exists() -> None:
    unknown, seen = [], 0
    for where, text in texts():
        for match in COMMAND.finditer(text):
            rest = re.split(r"[\n`#;]|, then", text[match.end() :], maxsplit=1)[0]
            seen += "--" in rest
            options = unknown_options(match[1], match[2] or "", rest)
            unknown += [f"{where}: topshelf {match[1]} {option}" for option in options]
    assert seen > 50
    assert unknown == []


def test_a_command_that_is_gone_would_be_seen() -> None:
    assert not is_command("ingest", "online-retail")
    assert not is_command("stage", "training_examples")
    assert not is_command("land", "lastfm")


def test_every_module_that_a_text_starts_exists_and_is_meant_to_be_started() -> None:
    named = found(MODULE)
    assert named
    for where, (module, word) in named:
        if module == "jobs":
            continue  # as `topshelf`
        spec = importlib.util.find_spec(module)
        assert spec is not None, (where, module)
        package = importlib.util.find_spec(f"{module}.__main__") if spec.submodule_search_locations else None
        source = Path(str(spec.origin)).read_text()
        assert package or '__name__ == "__main__"' in source, (where, module)
        if module == "serving" and word:
            assert word in serving_command.commands, (where, word)


@pytest.mark.parametrize("script", sorted({match.group() for _, text in texts() for match in SCRIPT.finditer(text)}))
def test_every_script_that_a_text_names_exists(script: str) -> None:
    assert (ROOT / script).exists()


def test_every_make_target_that_a_text_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert [(where, words) for where, words in found(MAKE) if words[0] not in targets] == []
