import re
from pathlib import Path

import httpx
import pytest

from jobs import example_page as served
from jobs.demo import demo
from jobs.example_page import FOLDER, MissingPageError, example_page


def test_the_page_and_all_files_that_it_names_are_served_and_nothing_beside_its_folder() -> None:
    with example_page() as page, httpx.Client(base_url=page.origin) as http:
        index = http.get("/").text
        named = re.findall(r'(?:src|href)="([\w.-]+)"', index)
        assert {"page.js", "style.css"} <= set(named)
        for script in FOLDER.glob("*.js"):
            named += re.findall(r'from "\./([\w.-]+)"', script.read_text())
        assert {name: http.get(f"/{name}").status_code for name in named} == dict.fromkeys(named, 200)
        assert http.get("/page.js").headers["content-type"].startswith("text/javascript")
        assert http.get("/%2e%2e/python/pyproject.toml").status_code == 404
        assert http.get("/../../pyproject.toml").status_code == 404


def test_the_address_names_the_endpoint_and_the_shoppers() -> None:
    with example_page() as page:
        address = page.address("http://127.0.0.1:8000", ["anna", "b&n"])
        assert address == f"{page.origin}/?endpoint=http://127.0.0.1:8000&shoppers=anna,b%26n"


def test_a_demo_that_is_to_stay_without_the_page_ends_before_its_night(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "FOLDER", tmp_path / "example-page")
    with pytest.raises(MissingPageError, match="--no-stay"):
        demo(tmp_path / "demo", stay=True)
    assert not (tmp_path / "demo").exists()
