"""Options that several commands share, and the configuration that they give."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from jobs.config.configuration import Configuration
    from jobs.config.settings import Settings


def on_this_host(path: Path | None) -> Path | None:
    """Return the path of an option. Raises PlaceError for an URL, which would become a folder named `s3:`."""
    from serving.stores.places import folder_of

    return None if path is None else folder_of(str(path))


Ds = Annotated[datetime, typer.Option("--ds", formats=["%Y-%m-%d"], help="A UTC day.", metavar="DAY")]
Landing = Annotated[
    str | None,
    typer.Option("--landing", help="Landing, a folder or s3://: TOPSHELF_LANDING, or data/landing.", metavar="DIR"),
]
LakeAt = Annotated[
    str | None, typer.Option("--lake", help="Lake, a folder or s3://: TOPSHELF_LAKE, or data/lake.", metavar="DIR")
]
StoreAt = Annotated[
    str | None,
    typer.Option("--store", help="lmdb://, redis:// or dynamodb://: TOPSHELF_STORE, or lmdb://data/store."),
]
ArchiveAt = Annotated[
    str | None, typer.Option("--archive", help="s3://BUCKET/PREFIX: TOPSHELF_ARCHIVE, or none.", metavar="URL")
]
Version = Annotated[str, typer.Argument(help="As `topshelf snapshots` lists it.", metavar="VERSION")]
TopN = Annotated[int | None, typer.Option("--top-n", min=1, max=2000, help="Length of a shelf (100).")]
Today = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Another day than today, in UTC.", metavar="DAY")
]
Source = Annotated[
    Path, typer.Argument(callback=on_this_host, help="The files as published, .csv or .csv.gz.", metavar="SRC")
]


def configuration_of(
    landing: str | None = None,
    lake: str | None = None,
    store: str | None = None,
    archive: str | None = None,
    top_n: int | None = None,
) -> "Configuration":
    """Return the configuration in force for a command with these flags."""
    from jobs.config.configuration import read_configuration

    return read_configuration(
        {"--landing": landing, "--lake": lake, "--store": store, "--archive": archive, "--top-n": top_n}
    )


def places_of(
    landing: str | None = None, lake: str | None = None, store: str | None = None, archive: str | None = None
) -> "Settings":
    """Return the places for a command that needs nothing else. Invalid parameters and rules do not stop it."""
    from jobs.config.configuration import read_places

    return read_places({"--landing": landing, "--lake": lake, "--store": store, "--archive": archive})
