"""The TypeScript client's packages, its build, and its types made anew from the endpoint's schema."""

import fcntl
import hashlib
import os
import subprocess
import tempfile
from pathlib import Path
from shutil import copy, copytree

from tests.serving.running import serving
from tests.serving.servers import need

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "clients" / "typescript"
TYPES = PACKAGE / "src" / "schema.ts"
_NODE = "apt-get install nodejs npm"
INSTALL_S, STEP_S = 600, 600  # a registry may be slow, and so may a machine that runs other tests beside these
_HEAD = """\
// The endpoint's schema as types, made by `python -m tests.clients.typescript.generate`. Do not edit.

"""


def run(*command: str | Path, cwd: Path, timeout_s: float = STEP_S, **environment: str) -> str:
    """Run a command to its end; return what it prints. Raises AssertionError, with its output, if it fails."""
    done = subprocess.run(
        command, cwd=cwd, timeout=timeout_s, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-8_000:]}\n{done.stderr[-4_000:]}"
    return done.stdout


def node_modules() -> Path:
    """The packages of the lock file, installed into `build/` once."""
    names = ("package.json", "package-lock.json", ".npmrc")
    contents = b"".join((PACKAGE / name).read_bytes() for name in names)
    folder = ROOT / "build" / "clients-typescript" / hashlib.sha256(contents).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run at the same time
        if not (folder / "complete").exists():
            for name in names:
                copy(PACKAGE / name, folder)
            run(need("npm", _NODE), "ci", "--no-audit", "--no-fund", "--ignore-scripts", cwd=folder,
                timeout_s=INSTALL_S)  # fmt: skip
            (folder / "complete").touch()
    return folder / "node_modules"


def copied(folder: Path) -> Path:
    """Copy the package without what was built or installed in it, with the packages that it needs, and build it."""
    need("node", _NODE)
    copytree(PACKAGE, folder, ignore=lambda _, names: {"dist", "node_modules"} & set(names))
    (folder / "node_modules").symlink_to(node_modules())
    compile_in(folder)
    return folder


def compile_in(folder: Path, *options: str) -> None:
    """Run the TypeScript compiler."""
    run(folder / "node_modules" / ".bin" / "tsc", *options, cwd=folder)


def generated_types() -> str:
    """The types of the endpoint's schema, as the clone's code makes it now."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with serving(folder, ready=False) as server:
            (folder / "openapi.json").write_bytes(server.http.get("/schema/openapi.json").content)
        generator = node_modules() / ".bin" / "openapi-typescript"
        return _HEAD + run(generator, "openapi.json", cwd=folder)
