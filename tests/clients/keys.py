"""Keys for programs that call a running endpoint."""

import httpx

from serving.api.keys import create
from tests.serving.running import SOON_S, Server, within

UNAUTHORIZED = 401


def known_key(server: Server, scopes: tuple[str, ...], name: str) -> str:
    """Make a key, and wait until the endpoint knows it: it rereads the file of keys five times a second."""
    _, key = create(server.folder / "state" / "keys.json", scopes, name, "100000/second")
    address, headers = f"http://127.0.0.1:{server.port}/pages", {"authorization": f"Bearer {key}"}
    assert within(SOON_S, lambda: httpx.get(address, headers=headers).status_code != UNAUTHORIZED)
    return key
