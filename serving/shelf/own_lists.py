"""Read a shopper's own lists for an answer: what they may buy again, and what they viewed last.

    lists = read_own_lists(snapshot, "anna", degraded)

Like a stored shelf, they are not read for a user who was erased: the caller asks first.
"""

from serving.shelf.snapshot import Snapshot
from serving.snapshot.manifest import StoreError
from serving.snapshot.own_lists import NO_OWN_LISTS, OwnLists
from serving.snapshot.record import NewerRecordError, RecordError


def read_own_lists(snapshot: Snapshot, user_id: str, degraded: list[str]) -> OwnLists:
    """Return the user's own lists; empty ones where the night has none, or where reading fails.

    A failure is appended to `degraded`: `store_unavailable`, `record_newer` or `record_unreadable`.
    """
    try:
        return snapshot.own_lists(user_id)
    except StoreError:
        degraded.append("store_unavailable")
    except NewerRecordError:
        degraded.append("record_newer")
    except RecordError:
        degraded.append("record_unreadable")
    return NO_OWN_LISTS
