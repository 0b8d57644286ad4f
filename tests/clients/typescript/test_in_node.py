"""The TypeScript client in Node: its types are those of the schema, it is strict, and its own tests pass."""

import json
from collections.abc import Iterator
from pathlib import Path
from shutil import copy, copytree

import pytest

from serving.api.keys import SCOPES, create
from tests.clients.examples import ROOT, examples
from tests.clients.keys import known_key
from tests.clients.typescript.package import INSTALL_S, PACKAGE, TYPES, compile_in, copied, generated_types, run
from tests.serving.running import publish_night, serving

HERE = Path(__file__).parent

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The package, built."""
    yield copied(tmp_path_factory.mktemp("typescript") / "package")


def test_the_types_are_those_of_the_schema() -> None:
    remedy = "the schema has changed; run python -m tests.clients.typescript.generate"
    assert TYPES.read_text() == generated_types(), remedy


def test_the_client_does_in_node_what_it_promises(built: Path, tmp_path: Path) -> None:
    tests, shop, empty = built / "tests", tmp_path / "shop", tmp_path / "empty"
    tests.mkdir()
    empty.mkdir()
    for name in ("client.test.ts", "tsconfig.test.json"):
        copy(HERE / name, tests)
    compile_in(built, "--project", "tests/tsconfig.test.json")
    publish_night(shop, "2026-01-01")
    with serving(shop, "--explore-share", "0", keyed=True) as server, serving(empty, ready=False) as waiting:
        keys = dict(server.keys)
        for name, rate in (("ten a second", "10/second"), ("ten a day", "10/day")):
            keys[name] = create(shop / "state" / "keys.json", ("read",), name.replace(" ", "-"), rate)[1]
        known_key(server, ("read",), "last")  # once it is known, those before it are
        told = {
            "baseUrl": f"http://127.0.0.1:{server.port}",
            "emptyUrl": f"http://127.0.0.1:{waiting.port}",
            "keys": keys,
        }
        said = run("node", "--test", "tests/client.test.js", cwd=built, TOPSHELF_TEST=json.dumps(told))
    assert "# fail 0" in said
    assert "# skipped 0" in said


@pytest.mark.parametrize("text", ["clients/typescript/README.md", "docs/clients.md"])
def test_the_examples_of_a_text_run_in_their_order(built: Path, tmp_path: Path, text: str) -> None:
    folder = built / "examples"
    folder.mkdir(exist_ok=True)
    copy(HERE / "tsconfig.test.json", folder)
    (folder / "example.ts").write_text("\n".join(examples(ROOT / text, "ts")))
    compile_in(built, "--project", "examples/tsconfig.test.json")
    publish_night(tmp_path, "2026-01-01")
    with serving(tmp_path, keyed=True) as server:
        key = known_key(server, SCOPES, "examples")
        address = f"http://127.0.0.1:{server.port}"
        said = run("node", "examples/example.js", cwd=built, TOPSHELF_URL=address, TOPSHELF_KEY=key)
    assert "Thing №" in said


def test_an_app_installs_the_client_as_its_readme_says(tmp_path: Path) -> None:
    package, app = tmp_path / "typescript", tmp_path / "app"
    copytree(PACKAGE, package, ignore=lambda _, names: {"dist", "node_modules"} & set(names))
    quiet = ("--no-audit", "--no-fund")
    run("npm", "ci", *quiet, cwd=package, timeout_s=INSTALL_S)
    app.mkdir()
    (app / "package.json").write_text('{"name": "app", "type": "module"}')
    run("npm", "install", *quiet, "../typescript", cwd=app, timeout_s=INSTALL_S)
    said = run(
        "node", "--eval", 'import("topshelf-client").then(({ Topshelf }) => console.log(Topshelf.name))', cwd=app
    )
    assert said == "Topshelf\n"


def test_what_is_published_is_the_build_its_sources_and_its_readme(built: Path) -> None:
    (told,) = json.loads(run("npm", "pack", "--dry-run", "--json", "--ignore-scripts", cwd=built))
    names = {file["path"] for file in told["files"]}
    assert {"README.md", "package.json", "dist/index.js", "dist/index.d.ts", "src/index.ts"} <= names
    assert all(name.startswith(("dist/", "src/")) or "/" not in name for name in names)


def test_the_lock_names_no_registry() -> None:
    packages = json.loads((PACKAGE / "package-lock.json").read_text())["packages"]
    assert len(packages) > 10
    assert not any("resolved" in package for package in packages.values())
    needed = {name for name, package in packages.items() if name and not package.get("dev")}
    assert needed == {"node_modules/openapi-fetch", "node_modules/openapi-typescript-helpers"}
