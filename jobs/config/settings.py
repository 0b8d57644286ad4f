"""Where a deployment's landing, lake, store and archive are."""

import os
from dataclasses import dataclass

DEFAULT_LANDING = "data/landing"
DEFAULT_LAKE = "data/lake"
DEFAULT_STORE = "lmdb://data/store"


@dataclass(frozen=True)
class Settings:
    """The places of a deployment: folders or `s3://` addresses, a store's URL, and an archive's, empty for none."""

    landing: str = DEFAULT_LANDING
    lake: str = DEFAULT_LAKE
    store: str = DEFAULT_STORE
    archive: str = ""

    @classmethod
    def from_environment(
        cls,
        landing: str | None = None,
        lake: str | None = None,
        store: str | None = None,
        archive: str | None = None,
    ) -> "Settings":
        """Return the settings: a flag wins over its variable, a variable over the embedded default."""
        return cls(
            landing=str(landing or os.environ.get("TOPSHELF_LANDING") or DEFAULT_LANDING),
            lake=str(lake or os.environ.get("TOPSHELF_LAKE") or DEFAULT_LAKE),
            store=str(store or os.environ.get("TOPSHELF_STORE") or DEFAULT_STORE),
            archive=str(archive or os.environ.get("TOPSHELF_ARCHIVE") or ""),
        )
