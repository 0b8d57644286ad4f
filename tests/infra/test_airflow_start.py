"""infra/airflow/start.sh hands a component what its env file says, to the last character."""

import subprocess
from pathlib import Path

from cryptography.fernet import Fernet

ROOT = Path(__file__).parents[2]
SHOWS_ITS_ENVIRONMENT = "#!/bin/sh\nenv\n"


def environment_of(tmp_path: Path, env_file: str, **given: str) -> dict[str, str]:
    """Return the environment that a component gets, which a script in the place of Python prints."""
    (tmp_path / "topshelf.env").write_text(env_file)
    python = tmp_path / "python"
    python.write_text(SHOWS_ITS_ENVIRONMENT)
    python.chmod(0o755)
    variables = {"PATH": "/usr/bin:/bin", "AIRFLOW_PYTHON": str(python), "AIRFLOW_HOME": str(tmp_path / "home")}
    variables |= {"TOPSHELF_ENV_FILE": str(tmp_path / "topshelf.env")} | given
    command = [str(ROOT / "infra/airflow/start.sh"), "triggerer"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def test_a_value_keeps_every_sign_and_what_is_set_already_stands(tmp_path: Path) -> None:
    key = Fernet.generate_key().decode()
    assert key.endswith("=")
    found = environment_of(
        tmp_path,
        "# a comment = of words\n\nno sign here\nTOPSHELF_AIRFLOW_DB=postgresql://a:b=c@h/d\nTOPSHELF_AIRFLOW_SECRET=s==\n"
        f"EMPTY=\nSET=file\nTOPSHELF_AIRFLOW_FERNET_KEY={key}",  # the last line without an end
        SET="before",
    )
    assert found["AIRFLOW__CORE__FERNET_KEY"] == key
    Fernet(found["AIRFLOW__CORE__FERNET_KEY"])
    assert found["AIRFLOW__API__SECRET_KEY"] == "s=="
    assert found["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == "postgresql+psycopg2://a:b=c@h/d"
    assert (found["EMPTY"], found["SET"]) == ("", "before")
