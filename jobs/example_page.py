"""Serves the example page, static files of `clients/example-page`, on a free loopback port.

with example_page() as page:
    print(page.address("http://127.0.0.1:8000", ["anna", "ben"]))
"""

import contextlib
import functools
import threading
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "clients" / "example-page"


class MissingPageError(RuntimeError):
    """The folder of the page is not there."""


@dataclass(frozen=True)
class ExamplePage:
    """The page while it is served; `origin` is what the endpoint's `--cors-origins` names."""

    origin: str

    def address(self, endpoint: str, shoppers: Sequence[str]) -> str:
        """Return the page's address for an endpoint, with shoppers to choose from."""
        asked = urllib.parse.urlencode({"endpoint": endpoint, "shoppers": ",".join(shoppers)}, safe=":/,")
        return f"{self.origin}/?{asked}"


def has_page() -> bool:
    """Whether this installation has the page; images of the jobs have not."""
    return FOLDER.is_dir()


def check_page() -> None:
    """Check that the page is there. Raises MissingPageError."""
    if not has_page():
        raise MissingPageError(f"{FOLDER} is missing; run the demo in a clone of Topshelf, or with --no-stay")


@contextlib.contextmanager
def example_page() -> Iterator[ExamplePage]:
    """Serve the page until the block ends."""
    handler = functools.partial(_Quiet, directory=str(FOLDER))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield ExamplePage(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    """Python's own file server without its log, whose files a browser asks for anew each time."""

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing: the demo's output is for reading."""
