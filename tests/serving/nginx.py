"""A real nginx before an endpoint, with the project's configuration."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.serving.servers import free_port, listening, need, running, wait_for

CONFIGURATION = Path(__file__).resolve().parents[2] / "infra/serving/nginx.conf"


@contextmanager
def caching(folder: Path, endpoint_port: int) -> Iterator[int]:
    """Run nginx until the block ends; yield its port."""
    tool, port = need("nginx", "apt-get install nginx-light"), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    text = CONFIGURATION.read_text()
    for ours, here in (
        ("127.0.0.1:8000", f"127.0.0.1:{endpoint_port}"),
        ("127.0.0.1:8080", f"127.0.0.1:{port}"),
        ("/var/cache/nginx/topshelf", f"{folder}/cache"),
        ("worker_processes auto", "worker_processes 1"),
    ):
        assert ours in text
        text = text.replace(ours, here)
    temporary = "".join(f"  {name}_temp_path {folder}/{name};\n" for name in ("proxy", "client_body"))
    text = text.replace("http {\n", f"http {{\n{temporary}", 1)
    (folder / "nginx.conf").write_text(f"user root;\npid {folder}/pid;\n{text}")
    command = [tool, "-c", str(folder / "nginx.conf"), "-e", f"{folder}/error.log", "-g", "daemon off;"]
    with running(command, folder) as process:
        wait_for(lambda: listening(port), "nginx", process)
        try:
            yield port
        finally:
            process.terminate()  # its workers end with it only if it is told to end
            process.wait(30)
