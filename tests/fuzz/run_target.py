"""Fuzz one target in this process with atheris, which ends it.

python -m tests.fuzz.run_target NAME [libFuzzer's options] [folder of seeds]
"""

import sys

import atheris

with atheris.instrument_imports(include=["serving", "jobs.landing"]):
    from tests.fuzz.targets import TARGETS

target = TARGETS[sys.argv[1]]
target.take(target.seeds[0])  # makes what the target needs, which counts for no input's time
atheris.Setup([sys.argv[0], *sys.argv[2:]], target.take)
atheris.Fuzz()
