"""Addresses of places: a known scheme, a path, or an error that says what is known."""

from pathlib import Path

import pytest

from serving.stores import open_store
from serving.stores.archive import Archive
from serving.stores.places import PlaceError, S3Address, folder_of, place_of

UNKNOWN = ["gs://shop/x", "s3a://shop/x", "abfss://shop@account/x", "hdfs://host/x", "S3://shop/x", "s3:/shop/x"]


def test_a_path_is_a_folder_and_s3_may_name_its_server() -> None:
    assert place_of("data/landing") == Path("data/landing")
    assert place_of("/data/a:b") == Path("/data/a:b")
    url = "s3://shop/a/b/?endpoint=http://127.0.0.1:7070&region=eu-central-1"
    assert place_of(url) == S3Address("shop", "a/b", "http://127.0.0.1:7070", "eu-central-1")


@pytest.mark.parametrize("address", [*UNKNOWN, "s3://", "s3://shop/x?endpiont=http://host"])
def test_a_landing_or_an_archive_of_another_scheme_is_refused(address: str) -> None:
    for take in (place_of, Archive):
        with pytest.raises(PlaceError, match=r"give|are known"):
            take(address)


@pytest.mark.parametrize("address", [*UNKNOWN, "s3://shop/x"])
def test_a_folder_of_this_host_is_no_url(address: str) -> None:
    with pytest.raises(PlaceError, match="no folder of this host; give a path"):
        folder_of(address)


@pytest.mark.parametrize("url", [*UNKNOWN, "LMDB://store", "lmdb://gs://shop", "REDIS://:secret@host", "data/store"])
def test_a_store_of_another_scheme_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(PlaceError, match="give") as raised:
        open_store(url)
    assert "secret" not in str(raised.value)
