"""What an endpoint is told, read once from the environment that `python -m serving serve` leaves to its workers."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_PREFIX = "TOPSHELF_"


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """Where an endpoint reads and writes, and what it allows."""

    store: str
    landing: Path
    state: Path  # the logs, limits, metrics and spools that the workers of this host share
    keys: Path
    shared: str | None = None  # redis://… where several hosts share live state, last actions, tombstones and limits
    open: bool = False  # answers without a key as long as none was ever made; on loopback alone
    max_state_age_s: float | None = None  # live state older than this is said in `degraded`
    explore_share: float | None = None  # of the places of a shelf; None for the default
    mark_events: bool = False  # the endpoint is the only source of events, so it marks their days as complete

    def to_environment(self) -> dict[str, str]:
        """The variables that `from_environment` reads."""
        told = {name: getattr(self, name) for name in self.__slots__}
        return {_PREFIX + name.upper(): _text(value) for name, value in told.items()}

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "EndpointSettings":
        def told(name: str) -> str | None:
            return environment.get(_PREFIX + name.upper()) or None

        age, share = told("max_state_age_s"), told("explore_share")
        return cls(
            store=environment[f"{_PREFIX}STORE"],
            landing=Path(environment[f"{_PREFIX}LANDING"]),
            state=Path(environment[f"{_PREFIX}STATE"]),
            keys=Path(environment[f"{_PREFIX}KEYS"]),
            shared=told("shared"),
            open=told("open") == "1",
            max_state_age_s=None if age is None else float(age),
            explore_share=None if share is None else float(share),
            mark_events=told("mark_events") == "1",
        )


def _text(value: object) -> str:
    if value is None or value is False:
        return ""
    return "1" if value is True else str(value)


def beside(store: str) -> Path:
    """Where the state stands if nothing is said: beside an embedded store."""
    return Path(store.removeprefix("lmdb://")) / "live" if store.startswith("lmdb://") else Path("data/live")
