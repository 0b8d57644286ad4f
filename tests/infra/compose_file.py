"""docker-compose.yml as compose reads it: variables put in, names without a value taken from the env file.

No Docker is needed. Only the forms that the file uses are known: `${NAME}`, `${NAME:-default}` and `${NAME:?text}`.
"""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<more>[^}]*))?\}")


def example_variables() -> dict[str, str]:
    """The variables of infra/topshelf.env.example, each as it stands there."""
    lines = (ROOT / "infra" / "topshelf.env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def services(variables: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Every service by name. Raises KeyError for a variable that the file insists on and that is not given."""

    def put_in(match: re.Match[str]) -> str:
        value = variables.get(match["name"], "")
        if not value and match["kind"] == "?":
            raise KeyError(match["name"])
        return value or (match["more"] or "" if match["kind"] == "-" else "")

    def filled(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: filled(value) for name, value in node.items()}
        if isinstance(node, list):
            return [filled(value) for value in node]
        return _VARIABLE.sub(put_in, node) if isinstance(node, str) else node

    read = filled(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"])
    for service in read.values():
        given = {
            name: variables.get(name) if value is None else value for name, value in environment(service).items()
        }
        service["environment"] = {name: str(value) for name, value in given.items() if value is not None}
    return dict(read)


def environment(service: dict[str, Any]) -> dict[str, Any]:
    """What a service is given."""
    return dict(service.get("environment") or {})


def mounts(service: dict[str, Any]) -> dict[str, str]:
    """What is mounted, by its place in the container: the name of a volume, or a path that starts with `./`."""
    return {text.split(":")[1]: text.split(":")[0] for text in service.get("volumes", [])}
