"""Benches: what the system does, beside what the bare parts under it do in the same run.

    python -m tests.bench [NAME ...] [--out FOLDER]

A bench is a module `bench_<name>.py` whose `main()` returns its figures.
"""

import sys
from pathlib import Path

# The Python client is a package of its own, which is not installed with the project.
sys.path.append(str(Path(__file__).resolve().parents[2] / "clients" / "python"))
