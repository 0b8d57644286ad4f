from pathlib import Path

import pytest

from serving.shelf.placements import PlacementsError, built_in, read_placements
from serving.shelf.placements_file import PlacementsFile


def written(folder: Path, text: str) -> Path:
    path = folder / "placements.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_built_in_pages_are_those_that_docs_name() -> None:
    assert list(built_in()) == ["homepage", "product", "cart", "checkout", "category", "search_empty", "email"]


def test_a_page_is_a_list_of_shelves_or_says_its_order_too(tmp_path: Path) -> None:
    pages = read_placements(
        written(
            tmp_path,
            "homepage:\n  - {shelf: for_you}\n"
            "sale:\n  order: worth\n  shelves:\n"
            "    - {shelf: on_sale, in: favourite_category, price_max: 12.50, title: 'Less for {category}'}\n"
            "    - {shelf: bought_together, with: basket, price_max_share: 0.3}\n",
        )
    )
    assert (pages["homepage"].order, pages["sale"].order) == ("file", "worth")
    sale, together = pages["sale"].shelves
    assert (sale.within, sale.price_max_minor, sale.is_filled) == ("favourite_category", 1250, False)
    assert (together.goes_with, together.called) == ("basket", "bought_together")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("homepage:\n  - {shelf: for_me}\n", ("for_me", "homepage")),
        ("homepage:\n  - {shelf: for_you, limt: 3}\n", ("limt",)),
        (
            "homepage:\n  - {shelf: for_you, limit: 0}\n",
            ("page homepage, shelf no. 1 (for_you)", "limit 0", "1 to 100"),
        ),
        ("homepage:\n  - {shelf: for_you, limit: 5, least: 6}\n", ("least 6", "its limit")),
        (
            "homepage:\n  - {shelf: for_you}\n  - {shelf: for_you}\n",
            ("2 shelves called for_you", "a name of its own"),
        ),
        ("homepage:\n  - {shelf: bought_together}\n", ("with: item",)),
        ("homepage:\n  - {shelf: for_you, with: item}\n", ("with: item",)),
        ("homepage:\n  - {shelf: trending, price_max_share: 0.3}\n", ("price_max_share", "basket")),
        ("homepage:\n  - {shelf: trending, window_days: 7}\n", ("window_days", "best_sellers")),
        ("homepage:\n  - {shelf: trending, in: region}\n", ("in: region",)),
        ("homepage:\n  - {shelf: similar, in: category}\n", ("`in`", "leave it out")),
        ("homepage:\n  - {shelf: trending, in: category, category: toys}\n", ("keep one",)),
        ("homepage:\n  - {shelf: trending, price_min: 9, price_max: 1}\n", ("swap",)),
        ("homepage:\n  - {shelf: trending, price_min: -1}\n", ("decimal such as 12.50",)),
        ("homepage:\n  - {shelf: trending, title: 'Hot in {place}'}\n", ("{place}", "{category}")),
        ("homepage:\n  - {shelf: trending, title: 'Because {item}'}\n", ("{item}", "leave it out")),
        ("homepage:\n  - {shelf: trending, title: 'Hot {'}\n", ("title",)),
        ("home page:\n  - {shelf: for_you}\n", ("'home page'", "a to z")),
        ("homepage: []\n", ("0 shelves",)),
        ("", ("0 pages",)),
        ("- {shelf: for_you}\n", ("docs/pages.md",)),
        ("homepage: {shelf: [", ("docs/pages.md",)),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_with_place_and_remedy(
    tmp_path: Path, text: str, says: tuple[str, ...]
) -> None:
    with pytest.raises(PlacementsError) as refused:
        read_placements(written(tmp_path, text))
    assert all(word in str(refused.value) for word in ("placements.yaml", *says)), refused.value


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlacementsError, match="cannot be read"):
        read_placements(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PlacementsError, match="cannot be read"):
        read_placements(tmp_path / "binary.yaml")


def test_a_changed_file_counts_and_a_broken_one_leaves_the_pages_as_they_were(tmp_path: Path) -> None:
    path = written(tmp_path, "one:\n  - {shelf: for_you}\n")
    placements = PlacementsFile(path)
    assert list(placements.pages) == ["one"]
    written(tmp_path, "one:\n  - {shelf: for_you}\ntwo:\n  - {shelf: trending}\n")
    placements.refresh()
    assert list(placements.pages) == ["one", "two"]
    written(tmp_path, "one: 3\n")
    for _ in range(2):  # it is told until it is mended
        with pytest.raises(PlacementsError):
            placements.refresh()
    path.unlink()
    with pytest.raises(PlacementsError, match="put it back"):
        placements.refresh()
    assert list(placements.pages) == ["one", "two"]


def test_without_a_file_the_built_in_pages_are_in_force() -> None:
    placements = PlacementsFile(None)
    placements.refresh()
    assert placements.pages == built_in()
