"""Where a Redis is, and how to reach it: what the store, the shared logs and the shared limits read off a URL.

address = redis_address("rediss+cluster://:secret@host:7000?namespace=shop")
client = address.connect(timeout_s=0.5)
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import redis
import redis.cluster
from redis.backoff import NoBackoff
from redis.retry import Retry

_OURS = ("namespace", "lease", "timeout", "look_up")  # the rest of a query is the driver's


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """One URL, taken apart."""

    url: str  # without what is ours in its query; the scheme as it was given
    where: str  # host and port, fit for a log
    path: str
    namespace: str
    seconds: dict[str, float]  # `lease`, `timeout` and `look_up`, those that were given

    @property
    def scheme(self) -> str:
        return self.url.partition("://")[0]

    @property
    def cluster(self) -> bool:
        return self.scheme.endswith("+cluster")

    def connect(self, timeout_s: float, connect_timeout_s: float | None = None, *, again: bool = False) -> Any:
        """A client, which connects when it is first used. With `again` it tries a failed command again."""
        kind: Any = redis.cluster.RedisCluster if self.cluster else redis.Redis
        once: dict[str, Any] = {} if again or self.cluster else {"retry": Retry(NoBackoff(), 0)}
        return kind.from_url(
            self.url.replace("+cluster://", "://", 1),
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s if connect_timeout_s is None else connect_timeout_s,
            **once,
        )


def redis_address(url: str) -> RedisAddress:
    """Take a URL apart. Raises ValueError where seconds are no number."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    ours = {name: query.pop(name) for name in _OURS if name in query}
    namespace = ours.pop("namespace", "topshelf")
    return RedisAddress(
        url=urlunsplit((*parts[:3], urlencode(query), "")),
        where=f"{parts.hostname}:{parts.port}",
        path=parts.path,
        namespace=namespace,
        seconds={name: float(value) for name, value in ours.items()},
    )
