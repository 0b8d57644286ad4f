// The example shop: shelves of a page, and what a shopper does with them.
//
//   http://127.0.0.1:8080/?endpoint=http://127.0.0.1:8000&shoppers=anna,ben
//
// The page is kept in the address after #/: homepage, product/ID, cart, checkout.

import { picture } from "./picture.js";
import { pageAddress, readPage, sendEvents } from "./topshelf.js";
import { act, keep, learn, newVisit, openVisit } from "./visit.js";
import { LANGUAGES, wordsOf } from "./words.js";

const PAGES = ["homepage", "product", "cart", "checkout"];
const ACTIONS_SHOWN = 6;
const settings = new URLSearchParams(location.search);
const endpoint = settings.get("endpoint") ?? "http://127.0.0.1:8000";
const shoppers = (settings.get("shoppers") ?? "").split(",").filter(Boolean);
const at = (id) => document.getElementById(id);

let visit = openVisit();
let language = localStorage.getItem("topshelf-language") ?? navigator.language.slice(0, 2);
if (!(language in LANGUAGES)) language = "en";
let words = wordsOf(language);
let asking = new AbortController();

/** The page and the product that the address names. */
function place() {
  const [page, ...rest] = location.hash.slice(2).split("/");
  return { page: PAGES.includes(page) ? page : "homepage", itemId: rest.length ? decodeURIComponent(rest.join("/")) : null };
}

/** Draw the page, ask for its shelves, and draw them. A newer request ends an older one. */
async function show() {
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  const { page, itemId } = place();
  const address = pageAddress(endpoint, page, visit, itemId);
  keep(visit);
  drawFrame(page, itemId, address);
  at("shelves").setAttribute("aria-busy", "true");
  try {
    const answer = await readPage(address, language, signal);
    if (signal.aborted) return;
    learn(visit, answer.shelves);
    keep(visit);
    drawShelves(answer.shelves, page);
  } catch (error) {
    if (error.name === "AbortError") return;
    fail(error);
  }
  at("shelves").setAttribute("aria-busy", "false");
  at("shelves").dataset.page = page;
}

/** Note what the shopper did, tell the endpoint, and show what came of it. */
function did(types, itemId, from) {
  const events = types.map((type) => act(visit, type, itemId, from));
  keep(visit);
  sendEvents(endpoint, events).catch(fail);
}

function fail(error) {
  at("shelves").replaceChildren(element("p", { className: "problem", role: "alert" }, error.message));
}

function say(text) {
  at("said").textContent = text;
  at("said").classList.add("shown");
  clearTimeout(say.ending);
  say.ending = setTimeout(() => at("said").classList.remove("shown"), 2500);
}

// ---- what is around the shelves

function drawFrame(page, itemId, address) {
  document.documentElement.lang = language;
  at("nav").setAttribute("aria-label", "Topshelf");
  at("nav").replaceChildren(...["homepage", "cart", "checkout"].map((name) => navLink(name, page)));
  at("shopper-label").textContent = words("shopper");
  at("language-label").textContent = words("language");
  const known = visit.userId && !shoppers.includes(visit.userId) ? [...shoppers, visit.userId] : shoppers;
  at("shopper").replaceChildren(new Option(words("visitor"), ""), ...known.map((id) => new Option(id, id)));
  at("shopper").value = visit.userId ?? "";
  at("language").value = language;
  at("heading").textContent = headingOf(page, itemId);
  document.title = `${at("heading").textContent} – Topshelf`;
  const about = { product: () => productOf(itemId), cart: () => basketOf("cart"), checkout: () => basketOf("checkout") };
  at("about").replaceChildren(...[about[page]?.()].filter(Boolean));
  at("footer").replaceChildren(lastActions(), requestOf(address));
}

function navLink(name, page) {
  const link = element("a", { href: `#/${name}` }, words(name));
  if (name === "cart" && visit.basket.length) link.append(element("span", { className: "count" }, `${visit.basket.length}`));
  if (name === page) link.setAttribute("aria-current", "page");
  return link;
}

function headingOf(page, itemId) {
  if (page === "product") return titleOf(itemId);
  if (page !== "homepage") return words(page);
  return visit.userId ? words("welcomeBack", { name: visit.userId }) : words("welcome");
}

function productOf(itemId) {
  const product = visit.products[itemId] ?? { item_id: itemId };
  const facts = [product.brand, product.category?.split("/").join(" › ")].filter(Boolean).join(" · ");
  const text = element("div", {}, element("p", { className: "quiet" }, facts), element("p", { className: "price" }, money(product.price)));
  text.append(basketButton(itemId));
  return element("section", { className: "product" }, picture(product), text);
}

function basketOf(page) {
  if (!visit.basket.length) return element("p", { className: "quiet" }, words("empty"));
  const rows = visit.basket.map((itemId) => {
    const product = visit.products[itemId] ?? { item_id: itemId };
    const link = element("a", { href: productLink(itemId) }, titleOf(itemId));
    return element("li", {}, picture(product), link, element("span", { className: "price" }, money(product.price)), basketButton(itemId));
  });
  const sum = visit.basket.reduce((total, itemId) => total + (visit.products[itemId]?.price ?? 0), 0);
  const next =
    page === "cart"
      ? element("a", { className: "button strong", href: "#/checkout" }, words("toCheckout"))
      : element("button", { className: "button strong", onclick: buy }, words("buy"));
  const foot = element("p", { className: "sum" }, element("span", {}, `${words("total")} `, element("strong", {}, money(sum))), next);
  return element("section", { className: "basket" }, element("ul", {}, ...rows), foot);
}

function buy() {
  for (const itemId of [...visit.basket]) did(["purchase"], itemId);
  say(words("bought"));
  location.hash = "#/homepage";
}

function basketButton(itemId, from) {
  const held = visit.basket.includes(itemId);
  const button = element("button", { className: held ? "button" : "button strong", type: "button" }, words(held ? "remove" : "add"));
  button.setAttribute("aria-label", `${button.textContent}: ${titleOf(itemId)}`);
  button.dataset.button = itemId;
  button.addEventListener("click", async () => {
    did([held ? "remove_from_cart" : "add_to_cart"], itemId, from);
    say(words(held ? "removed" : "added", { item: titleOf(itemId) }));
    await show();
    // The button was drawn anew, or is gone with its product: whoever uses the keyboard goes on from there.
    const drawn = document.querySelector(`[data-button="${CSS.escape(itemId)}"]`) ?? at("heading");
    drawn.focus({ preventScroll: true });
  });
  return button;
}

function lastActions() {
  const rows = visit.actions.slice(0, ACTIONS_SHOWN).map(({ type, itemId }) =>
    element("li", {}, element("a", { href: productLink(itemId) }, titleOf(itemId)), ` ${words(type)}`),
  );
  const list = rows.length ? element("ol", {}, ...rows) : element("p", { className: "quiet" }, words("noActions"));
  const button = element("button", { className: "button", type: "button", onclick: () => begin(visit.userId) }, words("startOver"));
  return element("section", {}, element("h2", {}, words("actions")), list, button);
}

function requestOf(address) {
  const shown = `GET ${decodeURIComponent(address).replace(/[?&]/g, "\n  $&")}\nAccept-Language: ${language}`;
  return element("section", {}, element("h2", {}, words("request")), element("pre", { tabIndex: 0 }, shown));
}

// ---- shelves

/** Draw all shelves; one that was there before stays where it was scrolled to. */
function drawShelves(shelves, page) {
  const rows = () => [...at("shelves").querySelectorAll(".shelf ul")];
  const scrolled = new Map(rows().map((row) => [row.parentElement.dataset.shelf, row.scrollLeft]));
  const drawn = shelves.map((shelf) => shelfOf(shelf, page));
  at("shelves").replaceChildren(...(drawn.length ? drawn : [element("p", { className: "quiet" }, words("noShelves"))]));
  if (at("shelves").dataset.page !== page) return;
  for (const row of rows()) row.scrollLeft = scrolled.get(row.parentElement.dataset.shelf) ?? 0;
}

function shelfOf(shelf, page) {
  const heading = element("h2", { id: `shelf-${shelf.shelf}` }, shelf.title);
  const cards = shelf.recommendations.map((product, position) =>
    element("li", {}, cardOf(product, { request_id: shelf.request_id, page, location: shelf.shelf, position })),
  );
  const section = element("section", { className: "shelf" }, heading, element("ul", {}, ...cards));
  section.dataset.shelf = shelf.shelf;
  section.setAttribute("aria-labelledby", heading.id);
  return section;
}

/** A product on a shelf. What is done with it names the shelf's answer and the place there, so the night can learn. */
function cardOf(product, from) {
  const link = element("a", { href: productLink(product.item_id) }, titleOf(product.item_id));
  link.addEventListener("click", () => did(["click"], product.item_id, from));
  const card = element("article", { className: "card" }, picture(product), element("h3", {}, link));
  card.append(element("p", { className: "reason" }, product.reason), element("p", { className: "price" }, money(product.price)));
  card.append(basketButton(product.item_id, from));
  card.dataset.item = product.item_id;
  return card;
}

function productLink(itemId) {
  return `#/product/${encodeURIComponent(itemId)}`;
}

function titleOf(itemId) {
  return visit.products[itemId]?.title ?? itemId;
}

function money(price) {
  if (price === undefined) return "";
  return new Intl.NumberFormat(language, { minimumFractionDigits: 2, maximumFractionDigits: 2 }).format(price);
}

/** An element with properties and children; texts are written as texts, never as HTML. */
function element(name, properties, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  if (properties.role) node.setAttribute("role", properties.role);
  node.append(...children);
  return node;
}

// ---- choices

/** Open the page that the address names; looking at a product is an action. */
function open() {
  const { page, itemId } = place();
  if (page === "product") did(["view"], itemId);
  show();
  scrollTo(0, 0);
  at("heading").focus({ preventScroll: true });
}

function begin(userId) {
  visit = newVisit(userId);
  location.hash = "#/homepage";
  show();
}

for (const [code, name] of Object.entries(LANGUAGES)) at("language").append(new Option(name, code));
at("shopper").addEventListener("change", (event) => begin(event.target.value || null));
at("language").addEventListener("change", (event) => {
  language = event.target.value;
  localStorage.setItem("topshelf-language", language);
  words = wordsOf(language);
  show();
});
addEventListener("hashchange", open);
show();
