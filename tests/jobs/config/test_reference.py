"""docs/settings.md names every setting that is read anywhere, and none that is not."""

import re
import subprocess
from pathlib import Path

from jobs.config.configuration import KNOWN, environment_name, read_configuration
from jobs.config.reference import settings_as_markdown, variables

ROOT = Path(__file__).resolve().parents[3]
NAME = re.compile(r"TOPSHELF_[A-Z0-9]+(?:_[A-Z0-9]+)*")


def names_in_sources() -> set[str]:
    """Return the variables that code, scripts and deployments name; of parameters, they are made.

    Those that the clients' tests name are of the apps in their examples.
    """
    listed = ["git", "ls-files", "jobs", "serving", "dags", "infra", "docker-compose.yml", "Makefile", ".ci", "tests"]
    listed += [":!tests/clients"]
    files = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    texts = [(ROOT / name).read_text(errors="replace") for name in files if name != "jobs/config/variables.yml"]
    found = {name for text in texts for name in NAME.findall(text)}
    return {name for name in found if not name.startswith(("TOPSHELF_PARAMETERS", "TOPSHELF_RETENTION"))}


def test_the_page_is_what_the_code_says():
    assert (ROOT / "docs/settings.md").read_text() == settings_as_markdown(), (
        "topshelf config --markdown > docs/settings.md"
    )


def test_each_variable_that_is_read_stands_on_the_page_and_each_on_the_page_is_read():
    told = {name for variable in variables() for name in NAME.findall(f"{variable.name} {variable.meaning}")}
    told |= {environment_name(key) for key in KNOWN if key.startswith("places.")}
    assert names_in_sources() == told


def test_the_variable_of_a_parameter_sets_it():
    name = environment_name("parameters.staging.max_quarantine_share")
    assert read_configuration(environment={name: "0.25"}).parameters.staging.max_quarantine_share == 0.25
