"""The address of a Redis, as the store, the shared logs and the shared rate limits take it from a URL.

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

SCHEMES = ("redis", "rediss", "redis+cluster", "rediss+cluster")
_OWN_OPTIONS = ("namespace", "lease", "timeout", "look_up")  # the driver gets the rest of the query


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """A parsed URL."""

    url: str  # with the driver's own query options only
    where: str  # host and port, without a password: for messages
    path: str
    namespace: str
    seconds: dict[str, float]  # those given of `lease`, `timeout` and `look_up`

    @property
    def scheme(self) -> str:
        return self.url.partition("://")[0]

    @property
    def cluster(self) -> bool:
        return self.scheme.endswith("+cluster")

    def connect(self, timeout_s: float, connect_timeout_s: float | None = None, *, again: bool = False) -> Any:
        """Return a client that connects when first used. A single node retries failed commands only with `again`."""
        client_class: Any = redis.cluster.RedisCluster if self.cluster else redis.Redis
        retry: dict[str, Retry] = {} if again or self.cluster else {"retry": Retry(NoBackoff(), 0)}
        return client_class.from_url(
            self.url.replace("+cluster://", "://", 1),
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s if connect_timeout_s is None else connect_timeout_s,
            **retry,
        )


def redis_address(url: str) -> RedisAddress:
    """Parse a URL. Raises ValueError where it names no Redis, or seconds are no number."""
    parts = urlsplit(url)
    if url.partition("://")[0] not in SCHEMES or not parts.hostname:
        raise ValueError(f"it is no URL of a Redis; give {SCHEMES[0]}://HOST:PORT/DB")
    query = dict(parse_qsl(parts.query))
    own_options = {name: query.pop(name) for name in _OWN_OPTIONS if name in query}
    namespace = own_options.pop("namespace", "topshelf")
    return RedisAddress(
        url=urlunsplit((*parts[:3], urlencode(query), "")),
        where=f"{parts.hostname}:{parts.port}",
        path=parts.path,
        namespace=namespace,
        seconds={name: float(value) for name, value in own_options.items()},
    )
