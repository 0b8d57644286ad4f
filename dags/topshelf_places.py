"""Where a deployment's files are, as Airflow's tasks and notices find them."""

import os
import tomllib
from pathlib import Path

HOME = Path(os.environ.get("TOPSHELF_HOME") or Path(__file__).resolve().parent.parent)
"""Where jobs run: relative places and topshelf.toml are looked up from here. By default the folder of `dags/`."""


def landing_place() -> str:
    """Return where landing is, as the jobs find it: TOPSHELF_LANDING, else topshelf.toml, else data/landing."""
    place = os.environ.get("TOPSHELF_LANDING", "")
    file = HOME / os.environ.get("TOPSHELF_CONFIG", "topshelf.toml")
    if not place and file.exists():
        place = str(tomllib.loads(file.read_text()).get("places", {}).get("landing", ""))
    place = place or "data/landing"
    return place if "://" in place else str(HOME / place)
