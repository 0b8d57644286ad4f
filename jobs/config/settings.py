"""Where a deployment's landing, lake, store and archive are."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field

from jobs.config.fields import Section


class Settings(Section):
    """The places of a deployment, which stand in `[places]` of topshelf.toml."""

    landing: Annotated[
        str, Field(min_length=1, description="Landing, a folder or s3://: what the shop drops, a folder a day.")
    ] = "data/landing"
    lake: Annotated[str, Field(min_length=1, description="Lake, a folder or s3://: tables and artifacts.")] = (
        "data/lake"
    )
    store: Annotated[
        str, Field(min_length=1, description="Store of snapshots: lmdb://, redis:// or dynamodb://.")
    ] = "lmdb://data/store"
    archive: Annotated[str, Field(description="Archive of snapshots, s3://BUCKET/PREFIX; empty for none.")] = ""

    @classmethod
    def below(cls, folder: Path) -> Self:
        """Return the places of a deployment that has one folder, without an archive."""
        return cls(landing=f"{folder}/landing", lake=f"{folder}/lake", store=f"lmdb://{folder}/store")
