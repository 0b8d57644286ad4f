"""The file of rules: what it says becomes plain data, and what it cannot mean is told by line, with a remedy."""

from pathlib import Path

import pytest

from jobs.config.configuration import read_configuration
from jobs.config.parameters import Parameters
from jobs.config.rules import AgeLimit, Rules, RulesError, checked_rules, read_rules

WHOLE = """\
blocked:
  items: [mug-2, "0042"]
  categories: [/ garden / pesticides/]
  brands: [Acme, Acme]
  sellers:
    - s-17
age_limits:
  - {category: drinks/spirits, least_age: 18, by_region: {US: 21, DE: 0, NO: 20}}
  - item: knife-1
    least_age: 16
just_bought:
  days: 30
"""


def read(tmp_path: Path, text: str | bytes) -> dict[str, object]:
    (tmp_path / "rules.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_rules(str(tmp_path / "rules.yaml"))


def test_a_file_of_every_rule_is_read_as_it_stands(tmp_path: Path) -> None:
    found = read(tmp_path, WHOLE)
    assert found["blocked"] == {
        "items": ["0042", "mug-2"],
        "categories": ["garden/pesticides"],
        "brands": ["Acme"],
        "sellers": ["s-17"],
    }
    assert Rules.of(found) == Rules(
        {"item_id": ["0042", "mug-2"], "category": ["garden/pesticides"], "brand": ["Acme"], "seller_id": ["s-17"]},
        (
            AgeLimit("category", "drinks/spirits", 18, {"DE": 0, "NO": 20, "US": 21}),
            AgeLimit("item_id", "knife-1", 16, {}),
        ),
        30,
    )


def test_what_was_read_reads_the_same_again_so_parameters_survive_json(tmp_path: Path) -> None:
    found = read(tmp_path, WHOLE)
    assert checked_rules(found, "parameters.json") == found
    assert Parameters().with_values({"rules": found}).model_dump()["rules"] == found


@pytest.mark.parametrize(
    "text", ["", "# nothing yet\n", "blocked:\nage_limits:\njust_bought:\n", "blocked: {items: }"]
)
def test_a_file_that_says_nothing_is_no_rules(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == {}
    assert Rules.of({}) == Rules()


@pytest.mark.parametrize(
    ("text", "line", "what", "remedy"),
    [
        ("- mug-1\n", 1, "is no mapping", "blocked, age_limits, just_bought"),
        ("blocked:\n  items: [a]\nblock:\n  items: [b]\n", 3, "block is not known", "known here: blocked"),
        ("blocked: [a]\n", 1, "blocked is no mapping", "it takes items, categories, brands, sellers"),
        ("blocked:\n  colours: [red]\n", 2, "colours is not known", "items, categories, brands, sellers"),
        ("blocked:\n  brands: Acme\n", 2, "blocked, brands is no list", "dash"),
        ("blocked:\n  items:\n    - a\n    -\n", 4, "items no. 2 is no name", "as landing has it"),
        ("blocked:\n  items:\n    - [a]\n", 3, "items no. 1 is no name", "as landing has it"),
        ("blocked:\n  categories: [' / ']\n", 2, "categories no. 1 is no name", "take the entry out"),
        ("blocked:\n  items: [a]\n  items: [b]\n", 3, "items stands there twice", "keep one"),
        ("age_limits:\n  category: a\n", 1, "age_limits is no list", "dash"),
        ("age_limits:\n  - {category: a}\n", 2, "age_limits no. 1 has no least_age", "least_age: 18"),
        ("age_limits:\n  - {least_age: 18}\n", 2, "names nothing", "one of item, category, brand"),
        ("age_limits:\n  - {item: a, brand: b, least_age: 18}\n", 2, "names item and brand", "one of"),
        ("age_limits:\n  - item: a\n    least_age: adult\n", 3, "least_age is 'adult'", "from 1 to 120"),
        ("age_limits:\n  - item: a\n    least_age: 0\n", 3, "least_age is '0'", "from 1 to 120"),
        ("age_limits:\n  - {item: a, least_age: 18, by_region: [US]}\n", 2, "by_region is no mapping", "DE: 16"),
        (
            "age_limits:\n  - item: a\n    least_age: 9\n    by_region:\n      US: -1\n",
            5,
            "US is '-1'",
            "from 0 to 120",
        ),
        ("just_bought: 30\n", 1, "just_bought is no mapping", "it takes days"),
        ("just_bought: {days: 1.5}\n", 1, "just_bought, days is '1.5'", "from 1 to 3650"),
        ("just_bought: {}\n", 1, "just_bought has no days", "days: 30"),
        ("blocked:\n  items: [a\nage_limits:\n", 3, "this is no YAML", "docs/rules.md"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_told_by_its_line_with_a_remedy(
    tmp_path: Path, text: str, line: int, what: str, remedy: str
) -> None:
    with pytest.raises(RulesError) as raised:
        read(tmp_path, text)
    told = str(raised.value)
    assert f"rules.yaml line {line}: " in told
    assert what in told
    assert remedy in told.partition("; ")[2] or remedy in told.partition("(")[2]


def test_a_file_that_is_missing_or_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match=r"gone\.yaml cannot be read \(No such file.*TOPSHELF_RULES"):
        read_rules(str(tmp_path / "gone.yaml"))
    with pytest.raises(RulesError, match="this is no YAML"):
        read(tmp_path, b"\xff\xfe\x00")


def test_rules_are_part_of_a_runs_identity_by_what_they_say_and_not_by_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def digest(text: str) -> str:
        read(tmp_path, text)
        monkeypatch.setenv("TOPSHELF_RULES", str(tmp_path / "rules.yaml"))
        return read_configuration().parameters.digest()

    one = digest("blocked:\n  items: [b, a]\n")
    assert digest("# as agreed\nblocked: {items: [a, b, a]}\n") == one
    assert digest("blocked:\n  items: [a]\n") != one
    assert digest("") == Parameters().digest()


def test_rules_in_topshelf_toml_are_checked_too_and_a_file_of_rules_replaces_them(tmp_path: Path) -> None:
    def rules_of(text: str, **environment: str) -> object:
        (tmp_path / "shop.toml").write_text(text)
        environment["TOPSHELF_CONFIG"] = str(tmp_path / "shop.toml")
        return read_configuration(environment=environment).parameters.rules

    assert rules_of('[rules]\njust_bought.days = 7\nblocked.items = ["b", "a"]') == {
        "blocked": {"items": ["a", "b"]},
        "just_bought": {"days": 7},
    }
    with pytest.raises(RulesError, match=r"shop\.toml \[rules\]: just_bought, days is True; give a whole"):
        rules_of("rules.just_bought.days = true")
    with pytest.raises(RulesError, match=r"blocked, items no\. 1 is no name; give one as landing has it, as text"):
        rules_of("rules.blocked.items = [42]")
    (tmp_path / "rules.yaml").write_text("just_bought: {days: 3}")
    only = rules_of('rules.blocked.items = ["a"]', TOPSHELF_RULES=str(tmp_path / "rules.yaml"))
    assert only == {"just_bought": {"days": 3}}


def test_the_file_in_the_documentation_is_read_and_its_error_is_the_one_that_is_told(tmp_path: Path) -> None:
    documented = (Path(__file__).parents[3] / "docs" / "rules.md").read_text()
    text = documented.split("<<'YAML'\n")[1].split("\nYAML")[0]
    assert set(read(tmp_path, text)) == {"blocked", "age_limits", "just_bought"}
    with pytest.raises(RulesError) as raised:
        read(tmp_path, text.replace("least_age: 18", "least_age: adult"))
    assert f"`shop{str(raised.value).removeprefix(str(tmp_path))}`" in documented
