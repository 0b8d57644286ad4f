"""What shoppers read: the texts of reasons and the titles of shelves, in each language.

languages = read_languages(Path("shop/messages"))
languages.english.reason("viewed", "Blue mug")  # Because you viewed Blue mug
languages.by_tag["de"].shelf_title("best_sellers")  # Bestseller

`messages/<language>.toml` beside this module has the texts that come with Topshelf. A shop's own folder of such files
changes some of them, adds titles for its own shelves, or adds languages. All files are checked before the endpoint
starts.
"""

import re
import tomllib
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

import msgspec

from serving.shelf.vocabulary import ANSWER_REASONS

_FOLDER = Path(__file__).with_name("messages")
_TAG = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*")  # of a language, as RFC 5646 writes it
_OWN_SHELF = re.compile(r"[a-z0-9_]{1,40}")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}|[{}]")
_UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NAMED = ("item", "category")
_MOST_CHARACTERS = 200
_ENCODER = msgspec.json.Encoder()


class MessagesError(ValueError):
    """A file of messages cannot be used; the text says which, why, and the remedy."""


class Message(NamedTuple):
    """A text, and where it has one, its form with a name: what stands before and after it."""

    plain: str
    names: str = ""  # item or category; empty for a text that names nothing
    around: tuple[str, str] = ("", "")

    def text(self, name: str = "") -> str:
        """Return the text with a name; without one where it is empty, or where the text names nothing."""
        return f"{self.around[0]}{name}{self.around[1]}" if name and self.names else self.plain


Messages = Mapping[str, Message]


class ReasonTemplates(NamedTuple):
    """A language's reasons by code: what each names, and its JSON before and after the name, or without one."""

    names: list[str]
    named: list[tuple[bytes, bytes]]
    unnamed: list[tuple[bytes, bytes]]


class Language:
    """The texts of one language. `tag` is its name in HTTP, such as `de`."""

    def __init__(self, tag: str, reasons: Messages, shelves: Messages) -> None:
        self.tag, self.reasons, self.shelves = tag, reasons, shelves
        self.headers = [(b"content-language", tag.encode()), (b"vary", b"Accept-Language")]  # of an answer in it

    def reason(self, reason: str, name: str = "") -> str:
        """Return the text of a reason, with the title or category that it names where that is not empty."""
        return self.reasons[reason].text(name)

    def shelf_title(self, shelf: str, name: str = "") -> str:
        """Return the title of a kind of shelf, or of a shop's own; with a name likewise. Raises KeyError."""
        return self.shelves[shelf].text(name)

    @cached_property
    def templates(self) -> ReasonTemplates:
        """The texts of reasons as JSON that closes an item; made when the first answer needs them."""
        messages = [self.reasons[reason] for reason in ANSWER_REASONS]
        return ReasonTemplates(
            [message.names for message in messages],
            [(b'"' + json_text(message.around[0]), json_text(message.around[1]) + b'"},') for message in messages],
            [(b'"' + json_text(message.plain), b'"},') for message in messages],
        )


class Languages(NamedTuple):
    """Every language that answers may be in, by its tag; English where a caller understands none of them."""

    english: Language
    by_tag: dict[str, Language]


@cache
def built_in_languages() -> Languages:
    """Return the languages that come with Topshelf. Raises MessagesError."""
    path = _FOLDER / "en.toml"
    file = _read(path)
    english = Language("en", _messages(file.reason, path, "reason"), _messages(file.shelf, path, "shelf"))
    others = [_language(path, None, english) for path in sorted(_FOLDER.glob("*.toml")) if path.stem != "en"]
    return Languages(english, {language.tag: language for language in (english, *others)})


def read_languages(folder: Path | None) -> Languages:
    """Return the built-in languages, changed and completed by a shop's own folder. Raises MessagesError."""
    built_in = built_in_languages()
    if folder is None:
        return built_in
    paths = {path.stem.lower(): path for path in sorted(folder.glob("*.toml"))}
    if not paths:
        raise MessagesError(f"{folder} holds no messages; put files such as de.toml there, or leave the setting out")
    own = _own_shelves(paths["en"], built_in.english) if "en" in paths else {}
    by_tag = {
        tag: Language(tag, language.reasons, {**own, **language.shelves}) for tag, language in built_in.by_tag.items()
    }
    reference = by_tag["en"]
    for tag, path in paths.items():
        if not _TAG.fullmatch(tag):
            raise MessagesError(f"{path} is named for no language; name it by a tag, such as de.toml or pt-br.toml")
        by_tag[tag] = _language(path, by_tag.get(tag), reference)
    return Languages(by_tag["en"], by_tag)


def category_name(path: str) -> str:
    """Return the last part of a category path, as a sentence names it: `home/coffee_mugs` gives `coffee mugs`."""
    return path.rpartition("/")[2].replace("_", " ").replace("-", " ")


def json_text(text: str) -> bytes:
    """Return a JSON string without its quotes."""
    return _ENCODER.encode(text)[1:-1]


# Files ------------------------------------------------------------------------------------------------------


class _Forms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    named: str
    plain: str


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: dict[str, str | _Forms] = {}
    shelf: dict[str, str | _Forms] = {}


def _read(path: Path) -> _File:
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8-sig")), _File)
    except (OSError, ValueError, msgspec.ValidationError) as error:
        raise MessagesError(f"{path} cannot be read: {error}; docs/endpoint.md shows such a file") from error


def _messages(texts: Mapping[str, str | _Forms], path: Path, table: str) -> dict[str, Message]:
    """Return a table's messages by their keys. Raises MessagesError."""
    return {
        key: _message(text, "", f"{path}: {table}.{key}")
        if isinstance(text, str)
        else _message(text.plain, text.named, f"{path}: {table}.{key}")
        for key, text in texts.items()
    }


def _message(plain: str, named: str, where: str) -> Message:
    """Return a message. Raises MessagesError: it is empty or too long, or has other placeholders than its one."""
    for text in (plain, named) if named else (plain,):
        if not text.strip() or len(text) > _MOST_CHARACTERS or _UNSHOWN.search(text):
            remedy = f"write 1 to {_MOST_CHARACTERS} characters in one line"
            raise MessagesError(f"{where}: {text[:40]!r} is no text that can be shown; {remedy}")
    if found := _PLACEHOLDER.search(plain):
        remedy = "write { named = …, plain = … }, where `plain` is shown if the name is not known"
        raise MessagesError(f"{where}: {found[0]} stands in a text without a name; {remedy}")
    if not named:
        return Message(plain)
    placeholders = [found[1] for found in _PLACEHOLDER.finditer(named)]
    if len(placeholders) != 1 or placeholders[0] not in _NAMED:
        raise MessagesError(f"{where}: {named!r} must name one thing; write {{item}} or {{category}} in it, once")
    begin, _, end = named.partition(f"{{{placeholders[0]}}}")
    return Message(plain, placeholders[0], (begin, end))


def _language(path: Path, before: Language | None, english: Language) -> Language:
    """Return the language of a file, over what it was `before`. Raises MessagesError.

    Its keys are those that English has, and its messages name what the English ones name, or nothing. Without a
    `before` none may be missing.
    """
    file = _read(path)
    reasons, shelves = _messages(file.reason, path, "reason"), _messages(file.shelf, path, "shelf")
    for table, messages, of_english in (("reason", reasons, english.reasons), ("shelf", shelves, english.shelves)):
        for key, message in messages.items():
            if key not in of_english:
                more = ", or first name your own shelf in en.toml" if table == "shelf" else ""
                raise MessagesError(f"{path}: {table}.{key} is no message; use {', '.join(of_english)}{more}")
            names = of_english[key].names
            if message.names not in ("", names):
                may = f"name {{{names}}}" if names else "name nothing"
                raise MessagesError(f"{path}: {table}.{key}: it can {may}, not {{{message.names}}}; correct it there")
        missing = [key for key in of_english if key not in messages]
        if before is None and missing:
            remedy = "a language of your own needs every message: add them"
            raise MessagesError(f"{path}: [{table}] lacks {', '.join(missing)}; {remedy}")
    if before is None:
        return Language(path.stem.lower(), reasons, shelves)
    return Language(before.tag, {**before.reasons, **reasons}, {**before.shelves, **shelves})


def _own_shelves(path: Path, english: Language) -> dict[str, Message]:
    """Return the titles that a shop's English file adds for shelves of its own. Raises MessagesError."""
    own = {key: text for key, text in _read(path).shelf.items() if key not in english.shelves}
    for key in own:
        if not _OWN_SHELF.fullmatch(key):
            remedy = "use up to 40 small letters, digits and underscores"
            raise MessagesError(f"{path}: shelf.{key}: no shelf can have this name; {remedy}")
    return _messages(own, path, "shelf")
