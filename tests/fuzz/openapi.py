"""Asks a running endpoint, over HTTP, whatever its OpenAPI document allows, and much that it does not.

The endpoint runs as users run it, with keys and without. Each scope's routes are asked with a key of that scope.
"""

import subprocess
import sys
from pathlib import Path

from tests.serving.running import Server

ROUTES = {  # by scope
    "read": "^/(recommendations(/batch)?|items/.*|healthz|readyz)$",
    "feed": "^/(items|events)$",
    "admin": "^/(users/.*|metrics)$",
}
# What no schema can say is refused all the same: price_min above price_max, 256 bytes of UTF-8 and not letters.
_SAID_NOWHERE = "positive_data_acceptance"
_REFUSED_BY_ROW = "negative_data_rejection"  # feeds take the good rows of a body that has bad ones too (207)
# An endpoint without keys takes requests without the `Authorization` that the document asks for.
_NEEDS_KEYS = ("ignored_auth", "missing_required_header", "negative_data_rejection")


def ask(server: Server, scope: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run Schemathesis on the routes of a scope, with a key of it if the endpoint has keys.

    The exit code is 0 where every answer kept to the document, and none was a fault of the endpoint.
    """
    key = server.keys.get(scope)
    excluded = {_SAID_NOWHERE, *(() if key else _NEEDS_KEYS), *([_REFUSED_BY_ROW] if scope == "feed" else [])}
    command = [str(Path(sys.executable).with_name("st")), "run"]
    command += [f"http://127.0.0.1:{server.port}/schema/openapi.json", "--checks", "all"]
    command += ["--exclude-checks", ",".join(sorted(excluded)), "--include-path-regex", ROUTES[scope], *options]
    if key:
        command += ["-H", f"Authorization: Bearer {key}"]
    return subprocess.run(command, capture_output=True, text=True, cwd=server.folder, check=False)
