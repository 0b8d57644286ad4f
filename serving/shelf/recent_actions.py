"""Users' last actions, as the endpoint received them from `POST /events` or within a request.

Every worker follows the log of events, so an event posted to one counts at all of them within a second. Each item and
kind counts once. The newest MAX_ACTIONS actions are kept for each of the users who acted last: MAX_USERS of them, or
fewer if ids are so long that MAX_BYTES are reached. No action counts for longer than MAX_AGE_S.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from serving.snapshot.manifest import NOT_JSON

ACTION_KINDS = ("impression", "click", "view", "add_to_cart", "purchase", "rating")
MAX_ACTIONS = 20
MAX_USERS = 100_000
MAX_BYTES = 128 << 20
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

# A user's actions are one MessagePack array of 16-bit length, the oldest first. So an action is appended without
# reading those before it. Now and then the array is written anew without the actions that no longer count.
_MAX_APPENDED = 10  # actions beyond MAX_ACTIONS at which that is done
_USER_BYTES = 250  # of a user's place in the table, beside the id and the array
_PACKER, _UNPACKER = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(list[_Action])


def _array(count: int, body: bytes) -> bytes:
    return b"\xdc%b%b" % (count.to_bytes(2, "big"), body)


def _newest_first(packed: bytes) -> list[_Action]:
    """Return the actions that count: each item and kind once, at most MAX_ACTIONS."""
    actions: dict[tuple[str, int], _Action] = {}
    for action in reversed(_UNPACKER.decode(packed)):
        actions.setdefault(action[1:], action)
    return list(actions.values())[:MAX_ACTIONS]


class RecentActions:
    """The recent actions of all users. Actions from before a user's erasure do not count."""

    def __init__(self, erased_at: Callable[[str], float | None]) -> None:
        self._erased_at = erased_at
        self._users: OrderedDict[str, bytes] = OrderedDict()  # in the order of their latest action
        self.bytes = 0  # that all of this takes

    def __len__(self) -> int:
        return len(self._users)

    def take(self, lines: Sequence[bytes]) -> None:
        """Take in lines of the log of events, in its order."""
        since = time.time() - MAX_AGE_S
        for line in lines:
            try:
                event = _LINE.decode(line)
            except NOT_JSON:
                continue  # a crash cut this line off; it was never acknowledged
            if event.user_id is not None and event.received >= since:
                self._append(event.user_id, (event.received, event.item_id, _KIND.get(event.event_type, 0)))
        while len(self._users) > MAX_USERS or self.bytes > MAX_BYTES:
            self.forget(next(iter(self._users)))

    def _append(self, user_id: str, action: _Action) -> None:
        before = self._users.get(user_id)
        count = 1 if before is None else before[2] + 1
        packed = _array(count, (b"" if before is None else before[3:]) + _PACKER.encode(action))
        if count > MAX_ACTIONS + _MAX_APPENDED:
            actions = _newest_first(packed)[::-1]
            packed = _array(len(actions), b"".join(map(_PACKER.encode, actions)))
        self._users[user_id] = packed
        if before is None:
            self.bytes += _USER_BYTES + len(user_id) + len(packed)
        else:
            self._users.move_to_end(user_id)
            self.bytes += len(packed) - len(before)

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
        packed = self._users.get(user_id) if user_id is not None else None
        if packed is None and not sent:
            return None
        logged = [] if packed is None else _newest_first(packed)
        now = time.time() if now is None else now
        since = now - MAX_AGE_S
        if logged and user_id is not None:
            since = max(since, self._erased_at(user_id) or 0.0)
        actions = [(now, item_id, _KIND[kind]) for kind, item_id in sent] + logged
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
        packed = self._users.pop(user_id, None)
        if packed is not None:
            self.bytes -= _USER_BYTES + len(user_id) + len(packed)
