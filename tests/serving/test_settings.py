"""Settings and their command line."""

from pathlib import Path

import click
import pytest

from serving.__main__ import main
from serving.settings import EndpointSettings, default_state

EVERYTHING = EndpointSettings(
    "redis://127.0.0.1/0", "s3://shop/landing", Path("state"), Path("keys.json"), "redis://127.0.0.1/1",
    open=True, max_state_age_s=900.5, explore_share=0.25,
    cors_origins=("https://a", "https://b"), messages=Path("messages"), mark_events=True,
)  # fmt: skip
LEAST = EndpointSettings("lmdb://store", "landing", Path("state"), Path("keys.json"))


@pytest.mark.parametrize("settings", [EVERYTHING, LEAST])
def test_settings_reach_the_workers_through_the_environment_as_they_are(settings: EndpointSettings) -> None:
    assert EndpointSettings.from_environment(settings.to_environment()) == settings


def test_the_state_stands_in_an_lmdb_store_or_else_under_data() -> None:
    assert default_state("lmdb://data/store") == Path("data/store/live")
    assert default_state("redis://127.0.0.1") == Path("data/live")


def commands(group: click.Group, path: str = "") -> list[tuple[str, click.Command]]:
    return [
        each
        for name, command in group.commands.items()
        for each in (
            commands(command, f"{path}{name} ") if isinstance(command, click.Group) else [(path + name, command)]
        )
    ]


@pytest.mark.parametrize(("name", "command"), commands(main))
def test_every_command_and_every_option_is_explained(name: str, command: click.Command) -> None:
    assert command.help, name
    for parameter in command.params:
        assert isinstance(parameter, click.Argument) or getattr(parameter, "help", None), (name, parameter.name)
