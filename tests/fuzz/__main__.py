"""Fuzz the parsers, each target in a process of its own, and print what was run and found.

python -m pip install atheris
python -m tests.fuzz query record --seconds 60 --found findings/
python -m tests.fuzz openapi --seconds 600
python -m tests.fuzz --seconds 3600

The seconds are shared by the targets named, or by all. `openapi` asks a running endpoint, with Schemathesis; the
others call one parser each, with atheris, whose coverage guides what it tries. 1 is returned if anything was found:
the bytes, or the output of Schemathesis, are kept in the folder `--found`.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.openapi import ROUTES, ask
from tests.fuzz.targets import TARGETS
from tests.serving.running import publish_night, serving

OPENAPI = "openapi"
# One input may take 5 s and 2 GB. Longer inputs than this find little more, and fewer of them are tried.
LIMITS = ("-timeout=5", "-rss_limit_mb=2048", "-max_len=2048", "-verbosity=1", "-print_final_stats=1")


def say(text: str) -> None:
    """Print a line at once, as a run takes long."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def fuzz(name: str, seconds: int, found: Path) -> bool:
    """Fuzz one target; return whether nothing was found."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        seeds, words = Path(folder) / "seeds", Path(folder) / "words"
        seeds.mkdir()
        for number, seed in enumerate(TARGETS[name].seeds):
            (seeds / str(number)).write_bytes(seed)
        escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in TARGETS[name].words)
        words.write_text("".join(f'"{word}"\n' for word in escaped))
        options = [*LIMITS, f"-max_total_time={seconds}", f"-artifact_prefix={found}/{name}-"]
        options += [f"-dict={words}"] if TARGETS[name].words else []
        command = [sys.executable, "-m", "tests.fuzz.run_target", name, *options, str(seeds)]
        done = subprocess.run(command, capture_output=True, check=False)
    output = done.stdout.decode("utf-8", "replace") + done.stderr.decode("utf-8", "replace")
    edges = max(map(int, re.findall(r"\bcov: (\d+)", output)), default=0)
    count = re.search(r"number_of_executed_units: *(\d+)", output)
    outcome = "nothing" if done.returncode == 0 else f"exit code {done.returncode}"
    say(f"| {name} | {seconds} | {int(count[1]) if count else 0:,} | {edges:,} | {outcome} |")
    if done.returncode:
        (found / f"{name}.log").write_text(output)
        say(done.stdout.decode("utf-8", "replace")[-2_000:])  # the traceback
    return done.returncode == 0


def ask_endpoint(seconds: int, found: Path) -> bool:
    """Run Schemathesis against an endpoint with keys and one without; return whether nothing was found."""
    fine = True
    for keyed in (True, False):
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            publish_night(Path(folder), "2026-01-01", explores=True)
            with serving(Path(folder), keyed=keyed) as server:
                for scope in ROUTES:
                    share = max(1, seconds // (2 * len(ROUTES)))
                    name = f"{OPENAPI}, {scope}, {'keys' if keyed else 'no keys'}"
                    done = ask(server, scope, "--max-time", str(share), "--continue-on-failure")
                    count = re.search(r"(\d+) generated", done.stdout)
                    outcome = "nothing" if done.returncode == 0 else f"exit code {done.returncode}"
                    say(f"| {name} | {share} | {int(count[1]) if count else 0:,} | | {outcome} |")
                    if done.returncode:
                        (found / f"{name}.log").write_text(done.stdout + done.stderr)
                        say(done.stdout[-3_000:])
                    fine &= done.returncode == 0
            log = (Path(folder) / "server.log").read_text()
            if "Traceback" in log:
                (found / "server.log").write_text(log)
                say(log[-3_000:])
                fine = False
    return fine


def main() -> int:
    """Run what the command line names: 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*TARGETS, OPENAPI]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(names)}; all if none is named")
    parser.add_argument("--seconds", type=int, default=3_600, help="for all of them together")
    parser.add_argument("--found", type=Path, metavar="FOLDER", default=Path("fuzz-found"))
    given = parser.parse_args()
    wanted = given.names or names
    if unknown := [name for name in wanted if name not in names]:
        parser.error(f"no target {', '.join(unknown)}; there are {', '.join(names)}")
    given.found.mkdir(parents=True, exist_ok=True)
    share = max(1, given.seconds // len(wanted))
    say("| target | seconds | inputs | edges | found |\n| --- | --- | --- | --- | --- |")
    fine = [
        ask_endpoint(share, given.found) if name == OPENAPI else fuzz(name, share, given.found) for name in wanted
    ]
    return 0 if all(fine) else 1


if __name__ == "__main__":
    sys.exit(main())
