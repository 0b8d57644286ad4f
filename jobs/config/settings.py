"""Where a deployment's landing, lake, store and archive are."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field

from jobs.config.fields import Place, Section
from serving.stores.places import FOLDER_OR_S3, S3_FORM, STORE_FORM, S3Address, check_store, place_of, s3_address


def _check_lake(address: str) -> None:
    place = place_of(address)
    if isinstance(place, S3Address) and address != place.url:
        raise ValueError("a lake's server stands in AWS_ENDPOINT_URL, where Spark reads it too")


def _check_archive(address: str) -> None:
    if address:
        s3_address(address)


_LANDING = AfterValidator(Place(place_of, f"{FOLDER_OR_S3}?endpoint=URL"))
_LAKE = AfterValidator(Place(_check_lake, f"{FOLDER_OR_S3}, its server in AWS_ENDPOINT_URL"))
_STORE = AfterValidator(Place(check_store, STORE_FORM))
_ARCHIVE = AfterValidator(Place(_check_archive, f"{S3_FORM}?endpoint=URL, or nothing"))


class Settings(Section):
    """The places of a deployment, which stand in `[places]` of topshelf.toml."""

    landing: Annotated[
        str,
        _LANDING,
        Field(min_length=1, description="Landing, a folder or s3://: what the shop drops, a folder a day."),
    ] = "data/landing"
    lake: Annotated[str, _LAKE, Field(min_length=1, description="Lake, a folder or s3://: tables and artifacts.")] = (
        "data/lake"
    )
    store: Annotated[
        str, _STORE, Field(min_length=1, description="Store of snapshots: lmdb://, redis:// or dynamodb://.")
    ] = "lmdb://data/store"
    archive: Annotated[
        str, _ARCHIVE, Field(description="Archive of snapshots, s3://BUCKET/PREFIX; empty for none.")
    ] = ""

    @classmethod
    def below(cls, folder: Path) -> Self:
        """Return the places of a deployment that has one folder, without an archive."""
        return cls(landing=f"{folder}/landing", lake=f"{folder}/lake", store=f"lmdb://{folder}/store")
