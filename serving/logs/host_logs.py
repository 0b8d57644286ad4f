"""Opens the logs of one host as its settings say: files of the host, or streams in the Redis that hosts share.

log            one host                    hosts that share Redis
item changes   file                        stream
events         file, landed by this host   the same, and a stream for last actions
erasures       file (`erasures`)           the same, and a stream
exposures      file (the spool)            the same
"""

from typing import TYPE_CHECKING

from serving.logs.file_log import FileLog, Log
from serving.settings import EndpointSettings
from serving.shelf.recent_actions import MAX_AGE_S

if TYPE_CHECKING:
    from serving.logs.redis_log import RedisLog


def event_log(settings: EndpointSettings) -> FileLog:
    """The log of the events that this host takes and lands."""
    return FileLog(settings.state, "events", rolls=True)


def spool(settings: EndpointSettings) -> FileLog:
    """The spool of exposures. It survives the end of the process, but not a power cut."""
    return FileLog(settings.state / "spool", "exposures", sync=False, rolls=True)


def item_log(settings: EndpointSettings) -> Log:
    """The log of item changes, of this host or of all hosts that share Redis."""
    if settings.shared is None:
        return FileLog(settings.state, "items")
    from serving.logs.redis_log import RedisLog

    return RedisLog(settings.shared, "items")


def shared_logs(settings: EndpointSettings) -> "tuple[RedisLog | None, RedisLog | None]":
    """The logs of events and of erasures that hosts share; None without a shared Redis."""
    if settings.shared is None:
        return None, None
    from serving.logs.redis_log import RedisLog

    return RedisLog(settings.shared, "events", keep_s=MAX_AGE_S), RedisLog(settings.shared, "tombstones")
