"""The endpoint's settings. `python -m serving serve` passes them to its workers and its lander as the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_PREFIX = "TOPSHELF_"
PERTURB_SHARE = 0.01
"""The share of answers whose ranked places are reordered, unless set."""


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """Where an endpoint reads and writes, and what it allows. `python -m serving serve --help` explains each."""

    store: str
    landing: str  # a folder, or s3://bucket/prefix?endpoint=URL
    state: Path  # logs, rates, metrics and spool, shared by the workers of this host
    keys: Path
    shared: str | None = None  # redis://…: hosts that name it share live state, last actions, erasures and rates
    open: bool = False  # callers of this machine need no key as long as none was ever created
    max_state_age_s: float | None = None
    explore_share: float | None = None  # None for the default of `serving.shelf.request.POLICY`
    perturb_share: float = PERTURB_SHARE
    cors_origins: tuple[str, ...] = ()  # sites whose pages may read shelves and send events from a browser
    messages: Path | None = None  # a folder of texts that change or add to `serving.shelf.languages`
    placements: Path | None = None  # which shelves stand on which page; the built-in pages where it is None
    mark_events: bool = False  # for a shop whose events come only from this endpoint: it marks their days as complete

    def to_environment(self) -> dict[str, str]:
        """The variables that `from_environment` reads."""
        return {_PREFIX + name.upper(): _text(getattr(self, name)) for name in self.__slots__}

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "EndpointSettings":
        """Read TOPSHELF_STORE and so on. Raises KeyError: a place is not set; ValueError: a number is not one."""

        def value(name: str) -> str | None:
            return environment.get(_PREFIX + name.upper()) or None

        placements = value("placements")
        age, share, perturbed = value("max_state_age_s"), value("explore_share"), value("perturb_share")
        origins, messages = value("cors_origins"), value("messages")
        return cls(
            store=environment[f"{_PREFIX}STORE"],
            landing=environment[f"{_PREFIX}LANDING"],
            state=Path(environment[f"{_PREFIX}STATE"]),
            keys=Path(environment[f"{_PREFIX}KEYS"]),
            shared=value("shared"),
            open=value("open") == "1",
            max_state_age_s=None if age is None else float(age),
            explore_share=None if share is None else float(share),
            perturb_share=PERTURB_SHARE if perturbed is None else float(perturbed),
            cors_origins=() if origins is None else tuple(origins.split(",")),
            messages=None if messages is None else Path(messages),
            placements=None if placements is None else Path(placements),
            mark_events=value("mark_events") == "1",
        )


def _text(value: object) -> str:
    if value is None or value is False:
        return ""
    if isinstance(value, tuple):
        return ",".join(value)
    return "1" if value is True else str(value)


def default_state(store: str) -> Path:
    """The state folder if none is given: `live` in an LMDB store's folder, else `data/live`."""
    return Path(store.removeprefix("lmdb://")) / "live" if store.startswith("lmdb://") else Path("data/live")
