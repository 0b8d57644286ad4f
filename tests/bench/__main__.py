"""Run the benches, all or those named, each in a process of its own, and print what they measured.

python -m tests.bench publish lookup --out figures/
python -m tests.bench soak --minutes 30
"""

import argparse
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.figures import show, write

HERE = Path(__file__).parent


def names() -> list[str]:
    """Every bench there is."""
    return sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def run_here(name: str, out: Path | None, minutes: float | None) -> None:
    """Run one bench in this process. `minutes` is how long the soak lasts."""
    module = importlib.import_module(f"tests.bench.bench_{name}")
    try:
        figures = module.main() if minutes is None else module.main(minutes)
    except pytest.skip.Exception as skipped:  # a server that is not installed
        sys.stdout.write(f"{name} skipped: {skipped}\n")
        return
    show(f"{name}: {(module.__doc__ or '').strip().splitlines()[0]}", figures)
    if out is not None:
        write(out / f"{name}.json", name, figures)


def main() -> int:
    """Run the benches that the command line names: 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(names())}; all if none is named")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write each bench's figures there as NAME.json")
    parser.add_argument("--minutes", type=float, help="how long the soak lasts")
    given = parser.parse_args()
    wanted = given.names or names()
    if unknown := [name for name in wanted if name not in names()]:
        parser.error(f"no bench {', '.join(unknown)}; there are {', '.join(names())}")
    if given.minutes is not None and wanted != ["soak"]:
        parser.error("--minutes is for the soak alone; name it")
    if len(wanted) == 1:
        run_here(wanted[0], given.out, given.minutes)
        return 0
    out = ["--out", str(given.out)] if given.out else []
    done = {name: subprocess.run([sys.executable, "-m", "tests.bench", name, *out], check=False) for name in wanted}
    failed = [name for name, process in done.items() if process.returncode]
    if failed:
        sys.stderr.write(f"failed: {', '.join(failed)}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
