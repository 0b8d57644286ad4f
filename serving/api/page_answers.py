"""From a request for a page to the bytes of its answer, and each of its shelves to the exposure log.

Each shelf has a request id of its own, `ROW.KEY` with the page's key, to send with the events that follow from it. So
for the night a shelf of a page is an answer like any other.
"""

import time
from collections.abc import Sequence

import msgspec

from serving.api.answers import Answers, Recommendation, assigned_to, encode_answer
from serving.logs.exposures import spool_line
from serving.problems import ProblemError
from serving.shelf.fill import fill_shelf, read_stored_shelf
from serving.shelf.filled_shelf import FilledShelf
from serving.shelf.filters import Filters
from serving.shelf.items_json import items_json, shown_json
from serving.shelf.languages import Language, category_name
from serving.shelf.live_snapshot import LoadedSnapshot
from serving.shelf.own_lists import read_own_lists
from serving.shelf.page import PageShelf, fill_page, fill_placement
from serving.shelf.page_context import PageContext
from serving.shelf.placements import Page, Placement
from serving.shelf.placements_file import PlacementsFile
from serving.shelf.request import NOTHING_DRAWN, Policy, ShelfRequest
from serving.snapshot.experiments import UNASSIGNED
from serving.snapshot.own_lists import NO_OWN_LISTS

_ENCODER = msgspec.json.Encoder()


class ShelfOfPage(msgspec.Struct, frozen=True):
    """One shelf of a page. Send its `request_id` with the events that follow from it."""

    shelf: str
    title: str
    request_id: str
    recommendations: list[Recommendation]


class PageAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page: its shelves in the order to be shown, no product twice."""

    page: str
    shelves: list[ShelfOfPage]
    request_id: str
    model_version: str
    snapshot: str
    degraded: list[str] = []


class SharedShelf(msgspec.Struct, frozen=True):
    """One shelf of a page that is everybody's."""

    shelf: str
    title: str
    recommendations: list[Recommendation]


class SharedPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page as a stranger sees it. It is not logged, so neither it nor its shelves have a request_id."""

    page: str
    shelves: list[SharedShelf]
    model_version: str
    snapshot: str
    degraded: list[str] = []


class PageAnswers:
    """Answers requests for pages, with what `Answers` holds."""

    def __init__(self, answers: Answers, placements: PlacementsFile) -> None:
        self._answers, self.placements = answers, placements

    def page(
        self, name: str, request: ShelfRequest, most: int | None, client_id: str | None, language: Language
    ) -> tuple[bytes, str]:
        """One page as JSON, and the request's id; no shelf is longer than `most`.

        Raises ProblemError: 404 for a page that no placements have, 503 if no snapshot was ever loaded.
        """
        page = self._page(name)
        asked = _Asked(self._answers, msgspec.structs.replace(request, page=name), client_id, language)
        shelves = fill_page(asked.context, page, asked.for_you, most)
        rows = [asked.logged_and_encoded(shelf, row) for row, shelf in enumerate(shelves)]
        return asked.page(name, shelves, rows, b'"request_id":"%b",' % asked.request_id.encode()), asked.request_id

    def of_strangers(self, name: str, request: ShelfRequest, most: int | None, language: Language) -> bytes:
        """One page for whoever it is, as `SharedPage` in JSON; nothing is drawn, and it is not logged.

        Raises ProblemError: 404 for a page that no placements have, 503 if no snapshot was ever loaded.
        """
        page = self._page(name)
        asked = _Asked(self._answers, msgspec.structs.replace(request, page=name), None, language, NOTHING_DRAWN)
        shelves = fill_page(asked.context, page, asked.for_you, most)
        return asked.page(name, shelves, [asked.encoded(shelf) for shelf in shelves])

    def _page(self, name: str) -> Page:
        pages = self.placements.pages
        if name not in pages:
            known = ", ".join(sorted(pages))
            raise ProblemError(404, f"there is no page {name[:64]!r}", f"ask for one of {known}", "page")
        return pages[name]

    def recommend(
        self, request: ShelfRequest, client_id: str | None, language: Language, started: int = 0
    ) -> tuple[bytes, str]:
        """The shelf that a request's page and location name, or else the shopper's own: as `Answers.recommend`."""
        if request.location is not None and request.page is not None:
            placement = self._placement_of(request)
            if placement is not None:
                return self._one_shelf(placement, request, client_id, language)
        return self._answers.recommend(request, client_id, started, language)

    def _placement_of(self, request: ShelfRequest) -> Placement | None:
        """Return the placement that a request names, unless it is of the shopper's own shelf, or there is none."""
        page = self.placements.pages.get(request.page or "")
        if page is None:
            return None
        named = next((shelf for shelf in page.shelves if shelf.called == request.location), None)
        return None if named is None or named.shelf == "for_you" else named

    def _one_shelf(
        self, placement: Placement, request: ShelfRequest, client_id: str | None, language: Language
    ) -> tuple[bytes, str]:
        """The shelf of one placement as an `Answer` in JSON, and the request's id.

        Where it has fewer items than its least, it is the shopper's own. Raises ProblemError (503).
        """
        asked = _Asked(self._answers, request, client_id, language)
        taken = asked.context.page_items()
        shelf = fill_placement(asked.context, placement, request.limit, asked.for_you, taken)
        if shelf is None:
            shelf = fill_placement(asked.context, Placement("for_you"), request.limit, asked.for_you, taken)
        if shelf is None:  # the shop has nothing to show at all
            shelf = PageShelf(placement, FilledShelf(short=True), request)
        shelf.filled.degraded = asked.degraded([shelf.filled])
        asked.log(shelf, asked.request_id)
        return encode_answer(asked.loaded, shelf.filled, asked.request_id, request, language), asked.request_id


class _Asked:
    """One request on its way: what it is answered from, and the shelves that it logs."""

    def __init__(
        self,
        answers: Answers,
        request: ShelfRequest,
        client_id: str | None,
        language: Language,
        policy: Policy | None = None,
    ) -> None:
        """A given policy replaces the endpoint's, and no experiment is assigned."""
        self._answers, self._request, self._language, self._policy = answers, request, language, policy
        self.loaded: LoadedSnapshot = answers.loaded()
        snapshot, user_id = self.loaded.snapshot, request.user_id
        self._now, self._key = time.time(), answers.keys.next()
        self.request_id = self._key.hex() if client_id is None else f"{client_id}.{self._key.hex()}"
        self._personal = user_id is not None and not answers.erased_before(user_id, snapshot)
        actions = answers.actions.last_actions(
            user_id, request.actions, snapshot.position, self._now, request.session_id
        )
        self._assigned = UNASSIGNED
        if policy is None and (snapshot.experiments is not None or request.arms):
            own_id = user_id if self._personal else None
            self._assigned = assigned_to(snapshot.experiments, request, own_id, self._key)
        self._degraded: list[str] = []
        stored, own = None, NO_OWN_LISTS
        if self._personal and user_id is not None:
            stored = read_stored_shelf(snapshot, user_id, self._assigned.variants[0], self._degraded)
            own = read_own_lists(snapshot, user_id, self._degraded)
        basket = tuple(position for item_id in request.basket if (position := snapshot.position(item_id)) >= 0)
        item = -1 if request.item_id is None else snapshot.position(request.item_id)
        self.context = PageContext(snapshot, self.loaded.live, request, actions, stored, own, item, basket)

    def for_you(self, request: ShelfRequest, filters: Filters, taken: set[int]) -> FilledShelf:
        """Fill the shopper's own shelf."""
        return fill_shelf(
            self.loaded.snapshot,
            self.loaded.live,
            request,
            self._assigned.variants,
            actions=self.context.actions,
            request_key=self._key,
            personal=self._personal,
            policy=self._policy or self._answers.policy_of(self._assigned),
            filters=filters,
            taken=taken,
        )

    def page(self, name: str, shelves: Sequence[PageShelf], rows: Sequence[bytes], request_id: bytes = b"") -> bytes:
        """Return a page as JSON, of its shelves in JSON."""
        degraded = self.degraded([shelf.filled for shelf in shelves])
        rest = b',"degraded":%b' % _ENCODER.encode(degraded) if degraded else b""
        head = b'{"page":%b,"shelves":[%b],%b' % (_ENCODER.encode(name), b",".join(rows), request_id)
        return b"%b%b%b}" % (head, self.loaded.parts.versions, rest)

    def logged_and_encoded(self, shelf: PageShelf, row: int) -> bytes:
        """Log a shelf of a page, and return it as a `ShelfOfPage` in JSON."""
        shelf_id = f"{row}.{self._key.hex()}"
        self.log(shelf, shelf_id, row)
        return self.encoded(shelf, b'"request_id":"%b",' % shelf_id.encode())

    def encoded(self, shelf: PageShelf, request_id: bytes = b"") -> bytes:
        """Return a shelf of a page as JSON."""
        asked = self._request
        items = items_json(self.loaded, shelf.filled, self._language, fields=asked.fields, details=asked.details)
        title = _ENCODER.encode(self._title(shelf))
        return b'{"shelf":"%b","title":%b,%b"recommendations":[%b]}' % (
            shelf.placement.called.encode(),
            title,
            request_id,
            items,
        )

    def _title(self, shelf: PageShelf) -> str:
        """Return the placement's own title; without one, or where a name in it is unknown, that of the language."""
        placement, of_language = shelf.placement, self._language.shelves
        item = str(self.loaded.snapshot.titles[shelf.item]) if shelf.item >= 0 else ""
        names = {"item": item, "category": category_name(shelf.category)}
        if placement.title and all(name or f"{{{key}}}" not in placement.title for key, name in names.items()):
            return placement.title.format(**names)
        message = of_language.get(placement.called) or of_language[placement.shelf]
        return message.text(names.get(message.names, ""))

    def log(self, shelf: PageShelf, request_id: str, row: int = -1) -> None:
        """Hand what a shelf shows to the exposure log. Only the shopper's own shelf takes part in experiments."""
        parts, filled, prices = self.loaded.parts, shelf.filled, self.loaded.live.prices
        assigned = self._assigned if shelf.placement.shelf == "for_you" else UNASSIGNED
        shown = [prices[position] for position in filled.positions]
        body = shown_json(parts, filled, request_id)
        self._answers.exposures.put(
            spool_line(body, self._now, shelf.request, filled, parts, shown, assigned, shelf.placement.called, row)
        )
        self._answers.metrics.shown(filled.levels, filled.degraded, short=filled.short)

    def degraded(self, shelves: Sequence[FilledShelf]) -> list[str]:
        """Return what the answer had to do without, each once."""
        found = [self._degraded, *(shelf.degraded for shelf in shelves), self._answers.degraded_now]
        return list(dict.fromkeys(reason for reasons in found for reason in reasons))
