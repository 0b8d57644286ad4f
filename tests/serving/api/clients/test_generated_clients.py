"""Clients generated from the running endpoint's schema read shelves, feed items and send events."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import copy

import pytest

from tests.serving.running import Server, publish_night, serving, within
from tests.serving.servers import need

HERE = Path(__file__).parent
NODE = "apt-get install nodejs npm"
INSTALL_S, STEP_S = 300, 120  # a package registry may be slow; the steps take seconds

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path, timeout_s: float = STEP_S, **environment: str) -> str:
    """Run a command to its end; return what it prints. Raises AssertionError, with its output, if it fails."""
    done = subprocess.run(
        command, cwd=cwd, timeout=timeout_s, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-4_000:]}\n{done.stderr[-4_000:]}"
    return done.stdout


def python_shop(folder: Path, schema: Path, arguments: list[str]) -> str:
    """Generate a Python client into an environment of its own; return what `shop.py` prints with it."""
    uv, python = Path(sys.executable).with_name("uv"), folder / "env" / "bin" / "python"
    run(uv, "venv", "--quiet", "--python", sys.executable, "env", cwd=folder)
    requirements = str(HERE / "requirements.txt")
    run(uv, "pip", "install", "--quiet", "--no-deps", "--python", python, "-r", requirements, cwd=folder,
        timeout_s=INSTALL_S)  # fmt: skip
    run(
        *(python.with_name("openapi-python-client"), "generate", "--path", schema, "--meta", "none"),
        *("--output-path", "topshelf_client"),
        cwd=folder,
        PATH=f"{python.parent}:{os.environ['PATH']}",  # it formats what it makes with the ruff beside it
    )
    copy(HERE / "shop.py", folder)
    return run(python, "shop.py", *arguments, cwd=folder)


def typescript_shop(folder: Path, schema: Path, arguments: list[str]) -> str:
    """Generate TypeScript types, check `shop.ts` against them and compile it; return what it prints."""
    npm, node = need("npm", NODE), need("node", NODE)
    tools = folder / "node_modules" / ".bin"
    for name in ("package.json", "package-lock.json", "shop.ts"):
        copy(HERE / name, folder)
    run(npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", cwd=folder, timeout_s=INSTALL_S)
    run(tools / "openapi-typescript", schema, "--output", "topshelf.ts", cwd=folder)
    strict = ("--strict", "--exactOptionalPropertyTypes", "--target", "es2022", "--lib", "es2022,dom")
    run(tools / "tsc", *strict, "--module", "nodenext", "shop.ts", cwd=folder)
    return run(node, "shop.js", *arguments, cwd=folder)


@pytest.mark.parametrize(("shop", "user_id"), [(python_shop, "user-py"), (typescript_shop, "user-ts")])
def test_a_generated_client_reads_shelves_feeds_items_and_sends_events(
    tmp_path: Path, shop: Callable[[Path, Path, list[str]], str], user_id: str
) -> None:
    publish_night(tmp_path, "2026-01-01")
    program, schema = tmp_path / "program", tmp_path / "openapi.json"
    program.mkdir()
    with serving(tmp_path, keyed=True) as server:
        schema.write_bytes(server.http.get("/schema/openapi.json").content)
        arguments = [f"http://127.0.0.1:{server.port}", server.keys["read"], server.keys["feed"]]
        shelf = server.shelf(user_id="user-1", limit=5, details="true")
        got = json.loads(shop(program, schema, arguments))
        rows = shelf["recommendations"]
        assert got == {
            "shelf": [[row["item_id"], row["source"], row["reason_code"], row["fill_level"]] for row in rows],
            "taken": 2, "partly": [207, 1, [2]], "refused": [400, [1]], "seen": 2, "similar": 3, "asked": 4,
        }  # fmt: skip
        assert within(3, lambda: len(server.landed("events")) == 2)
        assert {row["user_id"] for row in server.landed("events")} == {user_id}
        assert_fed(server, sold_out=rows[0]["item_id"], taken_back=rows[1]["item_id"])


def assert_fed(server: Server, sold_out: str, taken_back: str) -> None:
    ids = server.ids(user_id="user-1", limit=100, price_max="9000")
    assert sold_out not in ids
    assert taken_back in ids  # its price was fed, and then taken back by a null
