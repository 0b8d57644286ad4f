"""The logs of one host: events, item changes and exposures, in files or in the Redis that hosts share."""

from serving.logs.file_log import FileLog, Log
from serving.settings import EndpointSettings
from serving.shelf.recent_actions import MAX_AGE_S


def event_log(settings: EndpointSettings) -> FileLog:
    """The log of events that this host lands."""
    return FileLog(settings.state, "events")


def spool(settings: EndpointSettings) -> FileLog:
    """The spool of exposures: it outlasts the process, not a power cut."""
    return FileLog(settings.state / "spool", "exposures", sync=False)


def item_log(settings: EndpointSettings) -> Log:
    """The log of live item state, of this host or of all."""
    if settings.shared is None:
        return FileLog(settings.state, "items")
    from serving.logs.redis_log import RedisLog

    return RedisLog(settings.shared, "items")


def shared_logs(settings: EndpointSettings) -> tuple[Log | None, Log | None]:
    if settings.shared is None:
        return None, None
    from serving.logs.redis_log import RedisLog

    return RedisLog(settings.shared, "events", keep_s=MAX_AGE_S), RedisLog(settings.shared, "tombstones")
