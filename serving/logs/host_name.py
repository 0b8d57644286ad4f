"""The name of an endpoint in what it lands: `<host>-<instance>`, of letters, digits, dots and dashes."""

import os
import secrets
import socket
from contextlib import suppress
from pathlib import Path


def host_name(state: Path) -> str:
    """Return the name of the endpoint with this state folder, so that two of one host never write the same file.

    The instance is random, and made once for a state folder.
    """
    path = state / "instance"
    if not path.exists():
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(secrets.token_hex(4))
        with suppress(FileExistsError):  # another process made it meanwhile
            path.hardlink_to(partial)
        partial.unlink()
    return f"{socket.gethostname()}-{path.read_text()}"
