"""Last actions of users and of sessions, as the endpoint got them by `POST /events`, a topic, or within a request.

Every worker follows the log of events, so an event posted to one counts at all of them within a second. Each item and
kind counts once. An item that was put into the cart and taken out of it later counts as viewed.

An action is as old as it says by its `ts`, so what arrives late does not count as new.

An event without a user id counts for its session. One with both ids counts for the user, and for the session too if
that began without a user: who signs in within a session goes on seeing what goes with it. Sessions that always have a
user id take no room.

The newest MAX_ACTIONS actions are kept for each of the users and sessions that acted last: MAX_ACTORS of them, or
fewer if ids are so long that MAX_BYTES are reached. No action counts for longer than MAX_AGE_S.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter

import msgspec

from serving.snapshot.manifest import NOT_JSON

ACTION_KINDS = ("impression", "click", "view", "add_to_cart", "purchase", "rating", "remove_from_cart")
MAX_ACTIONS = 20
MAX_ACTORS = 100_000
MAX_BYTES = 128 << 20
MAX_AGE_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class LastActions:
    """What a user, a session or both did with a catalogue's items, newest first, at most MAX_ACTIONS."""

    positions: list[int]  # in the catalogue of one snapshot
    kinds: list[int]  # indices into ACTION_KINDS
    ages_s: list[float]


class EventLine(msgspec.Struct, frozen=True):
    """The fields of a logged event that make it an action."""

    item_id: str
    event_type: str
    user_id: str | None = None
    session_id: str | None = None
    received: float = 0.0  # when the endpoint took it, in UTC seconds
    ts: datetime | None = None  # when it happened


_LINE = msgspec.json.Decoder(EventLine)
_KIND = {name: kind for kind, name in enumerate(ACTION_KINDS)}
_VIEWED, _ADDED, _REMOVED = (_KIND[name] for name in ("view", "add_to_cart", "remove_from_cart"))
# UTC seconds, item id, kind, and for a session's action the user who was named with it; empty for none.
_Action = tuple[float, str, int, str]

# The actions of a user or of a session are one MessagePack array of 16-bit length, the oldest first. So an action is
# appended without reading those before it. Now and then the array is written anew without those that no longer count.
_MAX_APPENDED = 10  # actions beyond MAX_ACTIONS at which that is done
_ACTOR_BYTES = 250  # of a place in the table, beside the id and the array
_PACKER, _UNPACKER = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(list[_Action])


def _array(count: int, body: bytes) -> bytes:
    return b"\xdc%b%b" % (count.to_bytes(2, "big"), body)


def _of_user(user_id: str) -> str:
    return f"u{user_id}"


def _of_session(session_id: str) -> str:
    return f"s{session_id}"


def _newest_first(packed: bytes) -> list[_Action]:
    """Return the actions by their time; of two at once the one that was appended last comes first."""
    actions = _UNPACKER.decode(packed)
    actions.reverse()
    actions.sort(key=itemgetter(0), reverse=True)
    return actions


def _once(newest_first: Iterable[_Action], removed: set[str]) -> list[_Action]:
    """Return the actions that count: each item and kind once, at most MAX_ACTIONS. `removed` is as in `_counting`."""
    actions: dict[tuple[str, int], _Action] = {}
    for action in _counting(newest_first, removed):
        actions.setdefault(action[1:3], action)
    return list(actions.values())[:MAX_ACTIONS]


def _counting(newest_first: Iterable[_Action], removed: set[str]) -> Iterator[_Action]:
    """Yield actions without those that take an item out of the cart; what was put into it before counts as viewed.

    `removed` has the items that newer actions took out; those of these actions are added.
    """
    for at_s, item_id, kind, named in newest_first:
        if kind == _REMOVED:
            removed.add(item_id)
        else:
            yield at_s, item_id, _VIEWED if kind == _ADDED and item_id in removed else kind, named


class RecentActions:
    """The recent actions of all users and sessions. A user's actions from before their erasure do not count."""

    def __init__(self, erased_at: Callable[[str], float | None]) -> None:
        self._erased_at = erased_at
        self._actors: OrderedDict[str, bytes] = OrderedDict()  # in the order of their latest action
        self.bytes = 0  # that all of this takes

    def __len__(self) -> int:
        return len(self._actors)

    def take(self, lines: Sequence[bytes]) -> None:
        """Take in lines of the log of events, in its order."""
        since = time.time() - MAX_AGE_S
        for line in lines:
            try:
                event = _LINE.decode(line)
            except NOT_JSON:
                continue  # a crash cut this line off; it was never acknowledged
            at_s = event.received if event.ts is None else min(event.received, event.ts.timestamp())
            if at_s >= since:
                self._take(event, at_s)
        while len(self._actors) > MAX_ACTORS or self.bytes > MAX_BYTES:
            self._drop(next(iter(self._actors)))

    def _take(self, event: EventLine, at_s: float) -> None:
        action = at_s, event.item_id, _KIND.get(event.event_type, 0)
        if event.user_id is not None:
            self._append(_of_user(event.user_id), (*action, ""))
        if event.session_id is not None:
            session = _of_session(event.session_id)
            if event.user_id is None or session in self._actors:
                self._append(session, (*action, event.user_id or ""))

    def _append(self, actor: str, action: _Action) -> None:
        before = self._actors.get(actor)
        count = 1 if before is None else before[2] + 1
        packed = _array(count, (b"" if before is None else before[3:]) + _PACKER.encode(action))
        if count > MAX_ACTIONS + _MAX_APPENDED:
            actions = _once(_newest_first(packed), set())[::-1]
            packed = _array(len(actions), b"".join(map(_PACKER.encode, actions)))
        self._actors[actor] = packed
        if before is None:
            self.bytes += _ACTOR_BYTES + len(actor) + len(packed)
        else:
            self._actors.move_to_end(actor)
            self.bytes += len(packed) - len(before)

    def last_actions(
        self,
        user_id: str | None,
        sent: Sequence[tuple[str, str]],
        position: Callable[[str], int],
        now: float | None = None,
        session_id: str | None = None,
    ) -> LastActions | None:
        """Return the last actions of a user, a session, or both together, or None.

        `sent` are those of the request (kind, item id), and come first. `position` maps an item id to its row in the
        catalogue, or -1. `now` is in UTC seconds.
        """
        own = self._actors.get(_of_user(user_id)) if user_id is not None else None
        of_session = self._actors.get(_of_session(session_id)) if session_id is not None else None
        if own is None and of_session is None and not sent:
            return None
        now, removed = time.time() if now is None else now, set[str]()
        told = list(_counting([(now, item_id, _KIND[kind], "") for kind, item_id in sent], removed))
        logged = self._logged(own, of_session, user_id)
        since = now - MAX_AGE_S
        last = LastActions([], [], [])
        for at_s, item_id, kind, _ in (told + _once(logged, removed))[:MAX_ACTIONS]:
            row = position(item_id) if at_s >= since else -1
            if row >= 0:
                last.positions.append(row)
                last.kinds.append(kind)
                last.ages_s.append(max(0.0, now - at_s))
        return last if last.positions else None

    def _logged(self, own: bytes | None, of_session: bytes | None, user_id: str | None) -> list[_Action]:
        """Return the logged actions, newest first, without those from before an erasure.

        An erasure of the asking user, or of one who was named within the session, is one of all these actions: what
        the user did in the session before they signed in was theirs too.
        """
        actions = [] if own is None else _newest_first(own)
        if of_session is not None:
            actions = sorted([*actions, *_newest_first(of_session)], key=itemgetter(0), reverse=True)
        named = {user for *_, user in actions if user}
        if user_id is not None and actions:
            named.add(user_id)
        since = max((self._erased_at(user) or 0.0 for user in named), default=0.0)
        return [action for action in actions if action[0] >= since] if since else actions

    def forget(self, user_id: str) -> None:
        """Drop a user's actions. What a session holds of them no longer counts once `erased_at` tells of the user."""
        self._drop(_of_user(user_id))

    def _drop(self, actor: str) -> None:
        packed = self._actors.pop(actor, None)
        if packed is not None:
            self.bytes -= _ACTOR_BYTES + len(actor) + len(packed)
