"""Chooses the language of an answer by the caller's `Accept-Language` (RFC 9110, 12.5.4).

A header's ranges are tried by their quality, each as RFC 4647 (3.4, lookup) says: `de-AT` finds `de`. So the first
that is known wins, whether it is known exactly or not. Werkzeug's parser, which Airflow brings, tries all ranges
exactly first: it answers `de-AT, en;q=0.5` in English. Litestar's reads media types alone.
"""

import re
from collections.abc import Iterable

from serving.shelf.languages import Language, Languages

_RANGE = re.compile(
    r"[ \t]*([A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*)[ \t]*(?:;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*)?"
)
_MOST_RANGES = 32
_MOST_KEPT, _KEPT_BYTES = 1_024, 128  # headers, and bytes of one


def matching_tags(header: str, known: frozenset[str]) -> list[str]:
    """Return the known tags that a header accepts, best first; known ones are in small letters.

    What is no range is passed over, and so is `*`: it names no language.
    """
    ranges = [found for text in header.split(",", _MOST_RANGES)[:_MOST_RANGES] if (found := _RANGE.fullmatch(text))]
    weights = [(found[1].lower(), float(found[2] or 1)) for found in ranges]
    refused = {tag for tag, weight in weights if weight == 0}
    tags = []
    for tag, weight in sorted(weights, key=lambda pair: -pair[1]):
        while tag and tag not in known:
            tag = tag.rpartition("-")[0]  # noqa: PLW2901 - a shorter range
        if weight > 0 and tag and tag not in refused:
            tags.append(tag)
    return tags


def language_headers(language: Language) -> dict[str, str]:
    """Return the headers of an answer in a language, as Litestar takes them."""
    return {name.decode(): value.decode() for name, value in language.headers}


class LanguageChoice:
    """The languages of one worker, and those chosen for the headers that callers repeat."""

    def __init__(self, languages: Languages) -> None:
        self.english = languages.english
        self._by_tag, self._known = languages.by_tag, frozenset(languages.by_tag)
        self._kept: dict[bytes, Language] = {}

    def of_request(self, headers: Iterable[tuple[bytes, bytes]]) -> Language:
        """Return the language for a request's headers."""
        return self.of(b",".join(value for name, value in headers if name == b"accept-language") or None)

    def of(self, header: bytes | None) -> Language:
        """Return the language for the value of an `Accept-Language` header; English where it finds none."""
        if header is None:
            return self.english
        language = self._kept.get(header)
        if language is None:
            tags = matching_tags(header.decode("latin-1"), self._known)
            language = self._by_tag[tags[0]] if tags else self.english
            if len(header) <= _KEPT_BYTES:
                if len(self._kept) >= _MOST_KEPT:
                    self._kept.clear()
                self._kept[header] = language
        return language
