"""What a person does on the example page, in the machine's own Chromium, over a small published night."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from jobs.example_page import ExamplePage, example_page
from tests.clients.example_page.night import publish_titled_night
from tests.serving.running import SOON_S, Server, serving, within
from tests.serving.servers import need

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
NODE, CHROMIUM = "apt-get install nodejs npm", "apt-get install chromium"
INSTALL_S = 300  # a package registry may be slow
WAIT_MS = 60_000
DESKTOP, PHONE = (1280, 900), (390, 844)
REGULAR = "user-1"
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")

pytestmark = pytest.mark.slow


@dataclass
class Visit:
    """A tab of the browser on the example page, what it requested, and what went wrong in it."""

    page: "Page"
    address: str
    requested: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def settle(self, page: str = "") -> None:
        """Wait until the shelves that were last asked for are drawn; those of `page`, where another one is opened."""
        self.page.locator(f"#shelves[aria-busy=false]{f'[data-page={page}]' if page else ''}").wait_for(
            state="attached"
        )

    def go(self, place: str) -> None:
        self.page.goto(f"{self.address}#/{place}")
        self.settle(place.partition("/")[0])

    def choose(self, what: str, value: str) -> None:
        self.page.select_option(f"#{what}", value)
        self.settle()

    def shelves(self) -> dict[str, list[str]]:
        """The ids of the products on each shelf, by the shelf's name."""
        return {
            str(shelf.get_attribute("data-shelf")): [
                str(card.get_attribute("data-item")) for card in shelf.locator("[data-item]").all()
            ]
            for shelf in self.page.locator("[data-shelf]").all()
        }

    def add(self, item_id: str) -> None:
        self.page.locator(f"[data-item='{item_id}'] button").first.click()
        self.page.locator(".count").wait_for()
        self.settle()

    def open(self, item_id: str) -> None:
        self.page.locator(f"[data-item='{item_id}'] a").first.click()
        self.settle("product")


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or need("chromium-browser", CHROMIUM)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, ExamplePage]]:
    folder: Path = tmp_path_factory.mktemp("example-page")
    publish_titled_night(folder)
    with example_page() as page, serving(folder, "--explore-share", "0", "--cors-origins", page.origin) as server:
        yield server, page


@pytest.fixture
def visit(shop: tuple[Server, ExamplePage], browser: "Browser") -> Iterator[Visit]:
    """A visitor without an id, on the homepage. Afterwards no request has left loopback, and no error was logged."""
    server, page = shop
    context = browser.new_context(viewport={"width": DESKTOP[0], "height": DESKTOP[1]}, locale="en-GB")
    tab = context.new_page()
    tab.set_default_timeout(WAIT_MS)
    visit = Visit(tab, page.address(f"http://127.0.0.1:{server.port}", [REGULAR, "user-4", "user-7"]))
    tab.on("request", lambda request: visit.requested.append(request.url))
    tab.on("pageerror", lambda error: visit.errors.append(str(error)))
    tab.on("console", lambda message: visit.errors.append(message.text) if message.type == "error" else None)
    visit.go("homepage")
    yield visit
    context.close()
    assert {urlsplit(url).hostname for url in visit.requested if not url.startswith("data:")} == {"127.0.0.1"}
    assert visit.errors == []


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, as the lock file beside this test has it."""
    folder: Path = tmp_path_factory.mktemp("axe")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    command = [need("npm", NODE), "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    subprocess.run(command, cwd=folder, timeout=INSTALL_S, check=True)
    return (folder / "node_modules/axe-core/axe.min.js").read_text()


def shot(visit: Visit, name: str) -> None:
    folder = Path(os.environ.get("TOPSHELF_TEST_OUTPUT") or ROOT / "build/test-output")
    folder.mkdir(parents=True, exist_ok=True)
    visit.page.screenshot(path=folder / f"example-page-{name}.png", full_page=True)


def flat(shelves: dict[str, list[str]]) -> list[str]:
    return [item_id for items in shelves.values() for item_id in items]


def test_the_homepage_shows_shelves_with_reasons_and_no_product_twice(visit: Visit) -> None:
    visit.choose("shopper", REGULAR)
    assert visit.page.locator("h1").inner_text() == f"Welcome back, {REGULAR}"
    shelves = visit.shelves()
    assert len(shelves["for_you"]) == 20
    assert len(flat(shelves)) == len(set(flat(shelves)))
    assert visit.page.get_by_role("heading", name="Recommended for you").count() == 1
    reasons = visit.page.locator(".reason").all_inner_texts()
    assert len(reasons) == len(flat(shelves))
    assert all(reasons)


def test_a_visitor_s_clicks_change_the_homepage_at_once(visit: Visit) -> None:
    before = visit.shelves()
    clicked = before["for_you"][3]
    title = visit.page.locator(f"[data-item='{clicked}'] h3").inner_text()
    visit.open(clicked)
    visit.page.locator("nav a[href='#/homepage']").click()
    visit.settle("homepage")
    assert visit.shelves()["for_you"][:3] != before["for_you"][:3]
    assert f"Because you viewed {title}" in visit.page.locator(".reason").all_inner_texts()


def test_a_product_shows_what_is_like_it_and_what_is_bought_with_it(visit: Visit) -> None:
    item_id = visit.shelves()["for_you"][0]
    title = visit.page.locator(f"[data-item='{item_id}'] h3").inner_text()
    visit.open(item_id)
    assert visit.page.locator("h1").inner_text() == title
    shelves = visit.shelves()
    assert {"bought_together", "similar", "also_viewed"} <= shelves.keys()
    assert item_id not in flat(shelves)
    assert len(flat(shelves)) == len(set(flat(shelves)))


def test_what_lies_in_the_basket_decides_what_is_offered_with_it(visit: Visit) -> None:
    first, second = visit.shelves()["for_you"][:2]
    visit.go("cart")
    assert "bought_together" not in visit.shelves()
    visit.go("homepage")
    visit.add(first)
    visit.go("cart")
    with_one = visit.shelves()["bought_together"]
    visit.go("homepage")
    visit.open(second)
    visit.page.locator(".product button").click()
    visit.settle()
    visit.go("cart")
    with_two = visit.shelves()["bought_together"]
    assert with_one != with_two
    assert visit.page.locator(".basket li").count() == 2
    assert not {first, second} & set(flat(visit.shelves()))
    visit.page.locator(".basket li button").nth(1).click()
    visit.page.locator(".basket li").nth(1).wait_for(state="detached")
    visit.settle()
    assert visit.shelves()["bought_together"] == with_one


def test_what_is_done_is_sent_as_events_that_name_the_answer_and_the_place(
    visit: Visit, shop: tuple[Server, ExamplePage]
) -> None:
    visit.choose("shopper", "user-4")
    item_id = visit.shelves()["for_you"][2]
    visit.add(item_id)

    def landed() -> list[dict[str, object]]:
        return [row for row in shop[0].landed("events") if row.get("user_id") == "user-4"]

    assert within(SOON_S, lambda: len(landed()) == 1)
    (event,) = landed()
    expected = {
        "item_id": item_id,
        "event_type": "add_to_cart",
        "page": "homepage",
        "location": "for_you",
        "position": 2,
    }
    assert {name: event[name] for name in expected} == expected
    assert str(event["request_id"]).startswith("0.")


def test_after_the_basket_changed_the_keyboard_goes_on_where_it_was(visit: Visit) -> None:
    first, second = visit.shelves()["for_you"][:2]
    visit.open(first)
    button = visit.page.locator(".product button")
    for word in ("Take out", "Add to basket"):
        button.focus()
        visit.page.keyboard.press("Enter")
        visit.page.locator(f".product button:text-is('{word}'):focus").wait_for()
    visit.page.locator("nav a[href='#/homepage']").click()
    visit.settle("homepage")
    visit.add(second)
    visit.page.locator("h1:focus").wait_for()


def test_an_order_empties_the_basket(visit: Visit) -> None:
    visit.add(visit.shelves()["for_you"][0])
    visit.go("checkout")
    visit.page.get_by_role("button", name="Buy").click()
    visit.settle("homepage")
    assert visit.page.locator(".count").count() == 0


@pytest.mark.parametrize(
    ("language", "title"),
    [
        ("de", "Für Sie empfohlen"),
        ("fr", "Recommandé pour vous"),
        ("es", "Recomendado para ti"),
        ("ru", "Рекомендуем вам"),
    ],
)
def test_titles_reasons_and_the_page_s_own_words_are_in_the_chosen_language(
    visit: Visit, language: str, title: str
) -> None:
    english = visit.page.locator("h2").all_inner_texts()
    visit.choose("language", language)
    words = visit.page.locator("h2").all_inner_texts()
    assert not set(english) & set(words)
    assert words[0] == title
    assert visit.page.locator("html").get_attribute("lang") == language
    visit.page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    shot(visit, f"homepage-phone-{language}")
    assert visit.page.evaluate("document.documentElement.scrollWidth") == PHONE[0]


def test_an_endpoint_that_is_not_there_is_told_with_what_helps(visit: Visit) -> None:
    visit.page.goto(f"{visit.address.split('?')[0]}?endpoint=http://127.0.0.1:9")
    problem = visit.page.get_by_role("alert")
    problem.wait_for()
    assert "--cors-origins" in problem.inner_text()
    visit.errors.clear()  # the browser logs the connection that was refused


@pytest.mark.parametrize(("name", "size"), [("desktop", DESKTOP), ("phone", PHONE)])
def test_every_page_fits_its_width_and_breaks_no_rule_of_accessibility(
    visit: Visit, axe: str, name: str, size: tuple[int, int]
) -> None:
    visit.page.set_viewport_size({"width": size[0], "height": size[1]})
    visit.choose("shopper", REGULAR)
    shelf = visit.shelves()["for_you"]
    visit.add(shelf[0])
    visit.add(shelf[4])
    for place in ("homepage", f"product/{shelf[1]}", "cart", "checkout"):
        visit.go(place)
        visit.page.locator("#said:not(.shown)").wait_for(state="attached")
        shot(visit, f"{place.partition('/')[0]}-{name}")
        assert visit.page.evaluate("document.documentElement.scrollWidth") == size[0]
        visit.page.evaluate(axe)
        found = visit.page.evaluate("axe.run()")
        assert found["violations"] == [], json.dumps(found["violations"], indent=1)
