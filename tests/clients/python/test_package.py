"""The Python client as its users get it: its types, its README, and its wheel in an environment of its own."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from serving.api.keys import SCOPES
from tests.clients.examples import ROOT, examples
from tests.clients.keys import known_key
from tests.serving.running import Server, publish_night, serving

PACKAGE = ROOT / "clients" / "python"
TYPED_USE = Path(__file__).with_name("typed_use.py")


def run(*command: str | Path, cwd: Path, timeout_s: float = 600, **environment: str) -> str:
    """Run a command to its end; return what it prints. Raises AssertionError, with its output, if it fails."""
    done = subprocess.run(
        command, cwd=cwd, timeout=timeout_s, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-4_000:]}\n{done.stderr[-4_000:]}"
    return done.stdout


def test_the_types_tell_what_comes_out_and_which_calls_are_mistakes(tmp_path: Path) -> None:
    strict = ("--strict", "--warn-unused-ignores", "--cache-dir", str(tmp_path / "cache"))
    run(sys.executable, "-m", "mypy", *strict, TYPED_USE, cwd=ROOT, MYPYPATH=str(PACKAGE))


def program_environment(server: Server) -> dict[str, str]:
    """What the examples read: the endpoint's address, and a key that may do all that they do."""
    key = known_key(server, SCOPES, "examples")
    return {"TOPSHELF_URL": f"http://127.0.0.1:{server.port}", "TOPSHELF_KEY": key}


@pytest.mark.parametrize("text", ["clients/python/README.md", "docs/clients.md"])
def test_the_examples_of_a_text_run_in_their_order(text: str, tmp_path: Path) -> None:
    blocks = examples(ROOT / text, "python")
    assert len(blocks) > 2
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path, "--explore-share", "0", keyed=True) as server:
        environment = program_environment(server)
        said = run(sys.executable, "-c", "\n".join(blocks), cwd=tmp_path, PYTHONPATH=str(PACKAGE), **environment)
    assert "Thing №" in said


@pytest.mark.slow
def test_the_wheel_brings_its_types_and_all_that_it_needs(tmp_path: Path) -> None:
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, cwd=PACKAGE)
    (wheel,) = tmp_path.glob("topshelf_client-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "topshelf_client/py.typed" in names
    assert all(name.startswith(("topshelf_client/", "topshelf_client-")) for name in names)
    uv, python = Path(sys.executable).with_name("uv"), tmp_path / "env" / "bin" / "python"
    run(uv, "venv", "--quiet", "--python", sys.executable, "env", cwd=tmp_path)
    run(uv, "pip", "install", "--quiet", "--python", python, wheel, cwd=tmp_path)
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path, keyed=True) as server:
        program = "\n".join(examples(PACKAGE / "README.md", "python"))
        assert "Thing №" in run(python, "-c", program, cwd=tmp_path, **program_environment(server))
