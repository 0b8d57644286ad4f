"""Print the SQL that makes Airflow's role and database, as TOPSHELF_AIRFLOW_DB names them; for psql.

infra/airflow/start.sh database | sudo -u postgres psql --quiet

What is there is kept, and the role gets the password of TOPSHELF_AIRFLOW_DB.
"""

import os
import sys
from urllib.parse import unquote, urlsplit


def sql(url: str) -> str:
    """Return the statements. Raises ValueError if the URL lacks a user, a password or a database."""
    parts = urlsplit(url)
    name, password, database = parts.username, parts.password, parts.path.strip("/")
    if not (name and password and database):
        raise ValueError("TOPSHELF_AIRFLOW_DB must be postgresql://USER:PASSWORD@HOST:5432/DATABASE")
    role, secret, base = (_quoted(unquote(text)) for text in (name, password, database))
    return (
        f"SELECT format('CREATE ROLE %I LOGIN', {role})\n"  # noqa: S608  quoted above
        f"WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {role}) \\gexec\n"
        f"SELECT format('ALTER ROLE %I LOGIN PASSWORD %L', {role}, {secret}) \\gexec\n"
        f"SELECT format('CREATE DATABASE %I OWNER %I', {base}, {role})\n"
        f"WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = {base}) \\gexec\n"
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def main() -> None:
    """Print them, or what is wrong with the URL."""
    try:
        sys.stdout.write(sql(os.environ["TOPSHELF_AIRFLOW_DB"]))
    except ValueError as error:
        sys.exit(f"start.sh: {error}")


if __name__ == "__main__":
    main()
