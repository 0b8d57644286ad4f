"""Wait until Airflow's API server answers: a task that starts before it does fails.

python infra/airflow/await_api.py http://127.0.0.1:8080/execution/
"""

import sys
import time
import urllib.error
import urllib.request

WAIT_S = 600.0


def answers(url: str) -> bool:
    """Tell whether a server answers at the URL, with whatever status."""
    try:
        with urllib.request.urlopen(url, timeout=10):  # noqa: S310  a setting
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def main() -> None:
    """Return when it answers, or end with an error after WAIT_S seconds."""
    url, until = sys.argv[1], time.monotonic() + WAIT_S
    while not answers(url):
        if time.monotonic() > until:
            sys.exit(f"start.sh: {url} does not answer after {WAIT_S:.0f} s; start the api-server")
        time.sleep(0.5)


if __name__ == "__main__":
    main()
