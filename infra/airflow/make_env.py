"""Write infra/topshelf.env from its example, with secrets of its own in place of each "change-me".

python infra/airflow/make_env.py infra/topshelf.env.example infra/topshelf.env

A file that is there is kept as it is.
"""

import os
import secrets
import sys
from base64 import urlsafe_b64encode
from pathlib import Path


def filled(example: str) -> str:
    """Return the example with secrets, none of which begins with a dash: commands would take it for an option.

    PostgreSQL's password is the same wherever it stands.
    """
    postgres = secrets.token_hex(24)
    lines = []
    for line in example.splitlines():
        name = line.split("=", 1)[0]
        if name == "TOPSHELF_AIRFLOW_FERNET_KEY":
            secret = urlsafe_b64encode(secrets.token_bytes(32)).decode()
        elif name in ("POSTGRES_PASSWORD", "TOPSHELF_AIRFLOW_DB"):
            secret = postgres
        else:
            secret = secrets.token_hex(24)
        lines.append(line if line.startswith("#") else line.replace("change-me", secret))
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the file, for its owner's eyes alone."""
    example, path = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        sys.stdout.write(f"{path} is there and stays as it is; delete it to make new secrets\n")
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(filled(example.read_text()))
    sys.stdout.write(f"{path} is written, with new secrets; the password of Airflow's administrator stands there\n")


if __name__ == "__main__":
    main()
