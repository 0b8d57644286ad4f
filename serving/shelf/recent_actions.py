"""Users' last actions, as the endpoint received them from `POST /events` or within a request.

Every worker follows the log of events, so an event posted to one counts at all of them within a second. Each item and
kind counts once. The newest MAX_ACTIONS actions are kept for each of the MAX_USERS users who acted last. No action
counts for longer than MAX_AGE_S.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

ACTION_KINDS = ("impression", "click", "view", "add_to_cart", "purchase", "rating")
MAX_ACTIONS = 20
MAX_USERS = 100_000
MAX_AGE_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class LastActions:
    """One user's actions on items of one snapshot's catalogue, newest first, at most MAX_ACTIONS."""

    positions: list[int]  # in the catalogue
    kinds: list[int]  # indices into ACTION_KINDS
    ages_s: list[float]


class EventLine(msgspec.Struct, frozen=True):
    """The fields of a logged event that make it an action."""

    item_id: str
    event_type: str
    user_id: str | None = None
    received: float = 0.0  # when the endpoint took it, in UTC seconds


_LINE = msgspec.json.Decoder(EventLine)
_KIND = {name: kind for kind, name in enumerate(ACTION_KINDS)}
_Action = tuple[float, str, int]  # UTC seconds, item id, kind


class RecentActions:
    """The recent actions of all users. Actions from before a user's erasure do not count."""

    def __init__(self, erased_at: Callable[[str], float | None]) -> None:
        self._erased_at = erased_at
        self._users: dict[str, list[_Action]] = {}  # in the order of their latest action; newest action first

    def __len__(self) -> int:
        return len(self._users)

    def take(self, lines: Sequence[bytes]) -> None:
        """Take in lines of the log of events, in its order."""
        for line in lines:
            try:
                self._take(_LINE.decode(line))
            except msgspec.MsgspecError:
                continue  # a crash cut this line off; it was never acknowledged

    def _take(self, event: EventLine) -> None:
        if event.user_id is None:
            return
        item_and_kind = (event.item_id, _KIND.get(event.event_type, 0))
        actions = [action for action in self._users.pop(event.user_id, []) if action[1:] != item_and_kind]
        actions.insert(0, (event.received, *item_and_kind))
        del actions[MAX_ACTIONS:]
        self._users[event.user_id] = actions
        if len(self._users) > MAX_USERS:
            del self._users[next(iter(self._users))]

    def last_actions(
        self,
        user_id: str | None,
        sent: Sequence[tuple[str, str]],
        position: Callable[[str], int],
        now: float | None = None,
    ) -> LastActions | None:
        """Return a user's last actions, or None; `sent` are those of the request (kind, item id), and come first.

        `position` maps an item id to its row in the catalogue, or -1. `now` is in UTC seconds.
        """
        logged = self._users.get(user_id) if user_id is not None else None
        if not logged and not sent:
            return None
        now = time.time() if now is None else now
        since = now - MAX_AGE_S
        if logged and user_id is not None:
            since = max(since, self._erased_at(user_id) or 0.0)
        actions = [(now, item_id, _KIND[kind]) for kind, item_id in sent] + (logged or [])
        last = LastActions([], [], [])
        for at_s, item_id, kind in actions[:MAX_ACTIONS]:
            row = position(item_id) if at_s >= since else -1
            if row >= 0:
                last.positions.append(row)
                last.kinds.append(kind)
                last.ages_s.append(max(0.0, now - at_s))
        return last if last.positions else None

    def forget(self, user_id: str) -> None:
        """Drop a user's actions."""
        self._users.pop(user_id, None)
