"""The command line: which errors are one line, and which keep their traceback."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from jobs import cli


@pytest.mark.parametrize("words", [("maintain",), ("report", "--ds", "2026-01-01")])
def test_a_place_that_is_no_folder_is_told_in_a_line(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "file").touch()
    places = {"TOPSHELF_LAKE": f"{tmp_path}/file/lake", "TOPSHELF_LANDING": f"{tmp_path}/file/landing"}
    command = [sys.executable, "-m", "jobs", *words]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, cwd=Path(__file__).parents[2],
        env={**os.environ, **places},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("topshelf: [Errno 20] Not a directory: ")
    assert "file/lake" in done.stderr
    assert done.stderr.endswith("; name another folder\n")


def test_what_the_terminal_s_encoding_lacks_is_printed_as_an_escape(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "jobs", "snapshots", "--store", f"lmdb://{tmp_path}/Möbel-店"]
    done = subprocess.run(
        command, capture_output=True, timeout=120, check=True, cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONIOENCODING": "latin-1", "COLUMNS": "300"},
    )  # fmt: skip
    assert "Möbel-\\u5e97 holds no snapshot".encode("latin-1") in done.stdout


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EISDIR])
def test_an_error_of_the_disk_is_told_in_a_line_with_a_remedy(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _raise(OSError(number, os.strerror(number), "data/x"), monkeypatch)
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"topshelf: [Errno {number}] {os.strerror(number)}: 'data/x'; ")


@pytest.mark.parametrize("error", [ValueError("a bug"), FileNotFoundError(errno.ENOENT, "gone"), OSError("a bug")])
def test_any_other_error_keeps_its_traceback(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    _raise(error, monkeypatch)
    with pytest.raises(type(error)):
        cli.main()


def _raise(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def command() -> None:
        raise error

    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr(sys, "argv", ["topshelf"])


@pytest.mark.parametrize(
    "words",
    [
        ("demo", "--folder", "gs://shop/demo"),
        ("export", "hdfs://host/shelves.jsonl"),
        ("land", "online-retail", "s3://shop/published"),
        ("land", "retailrocket", "published", "--landing", "s3://shop/landing"),
        ("synthetic-shop", "--landing", "s3://shop/landing"),
        ("synthetic-shop", "--truth", "gs://shop/truth"),
    ],
    ids=lambda words: "-".join(words[:3]).replace("/", ""),
)
def test_a_url_where_a_folder_of_this_machine_is_written_makes_no_folder_of_its_name(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["topshelf", *words])
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    assert capsys.readouterr().err.endswith("is no folder of this host; give a path\n")
    assert not list(tmp_path.iterdir())
