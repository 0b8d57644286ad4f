"""Texts for shoppers: what comes with Topshelf, and what a shop's own folder of messages makes of it."""

from pathlib import Path

import pytest

from serving.shelf.languages import (
    Languages,
    MessagesError,
    built_in_languages,
    category_name,
    read_languages,
)
from serving.shelf.vocabulary import ANSWER_REASONS

ENGLISH_REASONS = {
    "popular": ("Popular right now", "Popular right now"),
    "trending": ("Trending in {}", "Trending now"),
    "popular_in_category": ("Popular in {}", "Popular right now"),
    "new_item": ("New in {}", "New arrival"),
    "buy_again": ("Buy again", "Buy again"),
    "bought": ("Because you bought {}", "Because of what you bought"),
    "viewed": ("Because you viewed {}", "Because of what you viewed"),
    "carted": ("Because {} is in your basket", "Goes with your basket"),
    "similar_taste": ("Picked for your taste", "Picked for your taste"),
    "explore": ("Worth a look", "Worth a look"),
    "rated": ("Because you rated {}", "Because of what you rated"),
}
SHELVES = {
    "for_you", "similar", "alternatives", "bought_together", "also_viewed", "because_you_viewed", "buy_again",
    "recently_viewed",
    "trending", "best_sellers", "most_viewed", "new_for_you", "on_sale", "popular_with_people_like_you",
}  # fmt: skip
BUILT_IN = built_in_languages()
TAGS = ("en", "de", "fr", "es", "ru")


def own(folder: Path, **files: str) -> Languages:
    for name, text in files.items():
        (folder / f"{name.replace('_', '-')}.toml").write_text(text, encoding="utf-8")
    return read_languages(folder)


@pytest.mark.parametrize("name", ["Blue {mug} №5 %s \\", ""])
def test_english_reasons_are_what_shoppers_have_always_read(name: str) -> None:
    assert ENGLISH_REASONS.keys() <= set(ANSWER_REASONS)
    for code, forms in ENGLISH_REASONS.items():
        assert BUILT_IN.english.reason(code, name) == (forms[0].format(name) if name else forms[1])


@pytest.mark.parametrize("tag", TAGS)
def test_every_language_has_every_message_with_the_same_names(tag: str) -> None:
    assert set(BUILT_IN.by_tag) == set(TAGS)
    language, english = BUILT_IN.by_tag[tag], BUILT_IN.english
    assert language.tag == tag
    assert language.reasons.keys() == english.reasons.keys() == set(ANSWER_REASONS)
    assert language.shelves.keys() == english.shelves.keys() == SHELVES
    for messages, of_english in ((language.reasons, english.reasons), (language.shelves, english.shelves)):
        assert {key: message.names for key, message in messages.items()} == {
            key: message.names for key, message in of_english.items()
        }


@pytest.mark.parametrize("tag", [tag for tag in TAGS if tag != "en"])
def test_a_name_stands_in_quotation_marks_where_its_form_would_depend_on_the_sentence(tag: str) -> None:
    quotes = {"de": "„{}“", "fr": "«\u00a0{}\u00a0»", "es": "«{}»", "ru": "«{}»"}[tag]
    language = BUILT_IN.by_tag[tag]
    for message in (*language.reasons.values(), *language.shelves.values()):
        assert not message.names or quotes.format("X") in message.text("X")
        assert "X" not in message.text("")


def test_a_title_names_its_item_or_category_where_that_is_known() -> None:
    german = BUILT_IN.by_tag["de"]
    assert german.shelf_title("because_you_viewed", "Blauer Becher") == "Weil Sie „Blauer Becher“ angesehen haben"
    assert german.shelf_title("because_you_viewed") == "Weil Sie Ähnliches angesehen haben"
    assert german.shelf_title("for_you", "Becher") == "Für Sie empfohlen"  # it names nothing
    assert category_name("home/coffee_mugs") == "coffee mugs"


def test_a_folder_changes_the_texts_that_it_names_and_no_others(tmp_path: Path) -> None:
    languages = own(
        tmp_path,
        de='\ufeff[reason]\nviewed = { named = "Weil du {item} angesehen hast", plain = "Weil du gestöbert hast" }\n'
        'bought = "Passend zu deinen Einkäufen"\n[shelf]\nfor_you = "Für dich"\n',
    )
    german, before = languages.by_tag["de"], BUILT_IN.by_tag["de"]
    assert german.reason("viewed", "Becher") == "Weil du Becher angesehen hast"
    assert german.reason("bought", "Becher") == "Passend zu deinen Einkäufen"  # without the name, as the shop wants
    assert german.shelf_title("for_you") == "Für dich"
    assert {**german.reasons, "viewed": 0, "bought": 0} == {**before.reasons, "viewed": 0, "bought": 0}
    assert languages.by_tag["fr"].reasons == BUILT_IN.by_tag["fr"].reasons
    assert built_in_languages().by_tag["de"].reason("viewed") == "Weil Sie Ähnliches angesehen haben"


def test_a_shelf_of_the_shops_own_is_named_in_english_first_and_so_in_every_language(tmp_path: Path) -> None:
    title = 'summer = { named = "Summer in {category}", plain = "Summer" }'
    languages = own(tmp_path, en=f"[shelf]\n{title}\n", de='[shelf]\nsummer = "Sommer"\n')
    assert languages.english is languages.by_tag["en"]
    assert languages.english.shelf_title("summer", "mugs") == "Summer in mugs"
    assert languages.by_tag["de"].shelf_title("summer", "Becher") == "Sommer"
    assert languages.by_tag["ru"].shelf_title("summer", "кружки") == "Summer in кружки"


def complete(**changed: str) -> str:
    lines = []
    for table, messages in (("reason", BUILT_IN.english.reasons), ("shelf", BUILT_IN.english.shelves)):
        lines += [f"[{table}]", *(f'{key} = "{changed.get(key, "text")}"' for key in messages)]
    return "\n".join(lines)


def test_a_language_of_the_shops_own_is_added_where_it_is_complete(tmp_path: Path) -> None:
    languages = own(tmp_path, pt_BR=complete(popular="Em alta"))
    assert languages.by_tag["pt-br"].reason("popular") == "Em alta"
    assert len(languages.by_tag) == len(TAGS) + 1


NAMED = "[reason]\nviewed = {{ named = '{}', plain = '{}' }}"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("de", "[reason\n", "cannot be read: "),
        ("de", "[reason]\npopular = 1\n", "Expected `str | object`, got `int` - at `$.reason[...]`"),
        ("de", "[reasons]\n", "unknown field `reasons`"),
        ("de", '[reason]\nviewed = { named = "{item}" }', "missing required field `plain`"),
        ("de", '[reason]\nveiwed = "x"\n', "reason.veiwed is no message; use popular, "),
        ("de", '[shelf]\nsummer = "x"\n', "shelf.summer is no message; …, or first name your own shelf in en.toml"),
        (
            "en",
            '[shelf]\n"Summer!" = "x"\n',
            "shelf.Summer!: no shelf can have this name; use up to 40 small letters",
        ),
        ("de", '[reason]\npopular = " "\n', "reason.popular: ' ' is no text that can be shown"),
        ("de", f'[reason]\npopular = "{"x" * 201}"\n', "write 1 to 200 characters in one line"),
        ("de", '[reason]\npopular = "a\\nb"\n', "is no text that can be shown"),
        ("de", '[reason]\nviewed = "Weil {item}"\n', "{item} stands in a text without a name; write {"),
        ("de", '[reason]\nviewed = "Weil {"\n', "{ stands in a text without a name"),
        ("de", NAMED.format("Weil", "Weil"), "'Weil' must name one thing; write {item} or {category} in it, once"),
        ("de", NAMED.format("{item} {item}", "Weil"), "must name one thing"),
        ("de", NAMED.format("{title}", "Weil"), "must name one thing"),
        ("de", NAMED.format("{item}}", "Weil"), "must name one thing"),
        ("de", NAMED.format("{category}", "Weil"), "reason.viewed: it can name {item}, not {category}"),
        ("de", NAMED.format("{item}", "Weil").replace("viewed", "popular"), "reason.popular: it can name nothing"),
        ("nl", '[reason]\npopular = "Nu populair"\n', "[reason] lacks trending, …; a language of your own needs"),
        ("Dutch", complete(), "Dutch.toml is named for no language; name it by a tag, such as de.toml"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_with_its_name_and_a_remedy(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    with pytest.raises(MessagesError) as refused:
        own(tmp_path, **{name: text})
    message = str(refused.value)
    assert message.startswith(f"{tmp_path / name}.toml")
    assert all(part in message for part in said.split("…")), message


def test_a_file_that_is_no_utf_8_and_a_folder_without_messages_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MessagesError, match="holds no messages; put files such as "):
        read_languages(tmp_path / "nowhere")
    (tmp_path / "de.toml").write_bytes('[reason]\npopular = "für"\n'.encode("latin-1"))
    with pytest.raises(MessagesError, match="can't decode byte 0xfc"):
        read_languages(tmp_path)
