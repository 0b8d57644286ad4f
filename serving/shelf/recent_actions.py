"""Users' last actions, as the endpoint heard them: from `POST /events`, or sent along with a request.

Every worker follows the log of events, so what was posted to one counts at all of them within a second. Kept are,
each item and kind once, the newest MAX_ACTIONS of each of the MAX_USERS that acted last; none counts for longer than
MAX_AGE_S.
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
    """The newest first, at most MAX_ACTIONS, items of one snapshot's catalogue alone."""

    positions: list[int]  # in the catalogue
    kinds: list[int]  # indices into ACTION_KINDS
    ages_s: list[float]


class Acted(msgspec.Struct, frozen=True):
    """What of an event's line counts as an action; `received` is when the endpoint took it, in UTC seconds."""

    item_id: str
    event_type: str
    user_id: str | None = None
    received: float = 0.0


_LINE = msgspec.json.Decoder(Acted)
_KIND = {name: kind for kind, name in enumerate(ACTION_KINDS)}
_Action = tuple[float, str, int]  # when, item, kind


class Actions:
    """What is known of all users; `of` answers for one. What came before a user's erasure does not count."""

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
                continue  # not acknowledged: a crash tore it

    def _take(self, acted: Acted) -> None:
        if acted.user_id is None:
            return
        what = (acted.item_id, _KIND.get(acted.event_type, 0))
        known = [action for action in self._users.pop(acted.user_id, []) if action[1:] != what]
        known.insert(0, (acted.received, *what))
        del known[MAX_ACTIONS:]
        self._users[acted.user_id] = known
        if len(self._users) > MAX_USERS:
            del self._users[next(iter(self._users))]

    def of(
        self,
        user_id: str | None,
        sent: Sequence[tuple[str, str]],
        position: Callable[[str], int],
        now: float | None = None,
    ) -> LastActions | None:
        """A user's last actions, before them those that the request itself names (kind and item, newest first)."""
        known = self._users.get(user_id) if user_id is not None else None
        if not known and not sent:
            return None
        now = time.time() if now is None else now
        since = now - MAX_AGE_S
        if known and user_id is not None:
            since = max(since, self._erased_at(user_id) or 0.0)
        rows = [(now, item_id, _KIND[kind]) for kind, item_id in sent] + (known or [])
        out = LastActions([], [], [])
        for when, item_id, kind in rows[:MAX_ACTIONS]:
            at = position(item_id) if when >= since else -1
            if at >= 0:
                out.positions.append(at)
                out.kinds.append(kind)
                out.ages_s.append(max(0.0, now - when))
        return out if out.positions else None

    def forget(self, user_id: str) -> None:
        """Drop what is known of a user."""
        self._users.pop(user_id, None)
