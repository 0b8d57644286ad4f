"""Where landing and the lake are: no unknown scheme becomes a folder."""

from datetime import date
from pathlib import Path

import pytest
from pyarrow import fs

from jobs.lake.filesystems import filesystem_of
from jobs.lake.lake import Lake
from jobs.lake.locks import held
from jobs.landing.folders import has_landed
from serving.stores.places import PlaceError
from tests.serving.stores.test_places import UNKNOWN

DAY = date(2026, 1, 31)


@pytest.mark.parametrize("address", UNKNOWN)
def test_a_scheme_that_is_not_known_makes_no_folder(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PlaceError):
        has_landed(address, DAY)
    with pytest.raises(PlaceError):
        Lake(address).find_manifest("features/item", DAY)
    with pytest.raises(PlaceError), held(address, "staging"):
        pass
    assert not list(tmp_path.iterdir())


def test_landing_may_name_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    filesystem, path = filesystem_of("s3://shop/landing/?endpoint=http://127.0.0.1:7070&region=eu-central-1")
    assert path == "shop/landing"
    assert isinstance(filesystem, fs.S3FileSystem)
    assert filesystem.region == "eu-central-1"
