"""Servers that end when the tests that started them are killed, as Ctrl-C does to the workers of pytest-xdist."""

import shutil
from collections.abc import Sequence


def dying_with_tests(command: Sequence[str], signal: str = "TERM") -> list[str]:
    """Return the command with a prefix: when its parent dies, the system sends it the signal.

    The prefix is util-linux's setpriv. Without it, as on a Mac, the command is returned as it is.
    """
    prefix = ["setpriv", "--pdeathsig", signal] if shutil.which("setpriv") else []
    return [*prefix, *command]
