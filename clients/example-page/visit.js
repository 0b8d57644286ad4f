// One visit: who the shopper is, what they did last and what lies in the basket. It lasts as long as the browser's tab.

const MOST_ACTIONS = 20; // more are refused with a request
const KEY = "topshelf-visit";

/** The visit of this tab, or a new one. */
export function openVisit() {
  return JSON.parse(sessionStorage.getItem(KEY)) ?? newVisit(null);
}

/** A visit that begins now; `userId` is null for a visitor without an id. */
export function newVisit(userId) {
  return { userId, sessionId: crypto.randomUUID(), actions: [], basket: [], products: {} };
}

export function keep(visit) {
  sessionStorage.setItem(KEY, JSON.stringify(visit));
}

/** Note what the shopper did as the newest action, and return it as an event for the endpoint. */
export function act(visit, type, itemId, from = {}) {
  visit.actions.unshift({ type, itemId });
  visit.actions.length = Math.min(visit.actions.length, MOST_ACTIONS);
  if (type === "add_to_cart" && !visit.basket.includes(itemId)) visit.basket.push(itemId);
  if (type === "remove_from_cart" || type === "purchase") visit.basket = visit.basket.filter((held) => held !== itemId);
  const event = { event_id: crypto.randomUUID(), session_id: visit.sessionId, item_id: itemId, event_type: type, ...from };
  return visit.userId ? { ...event, user_id: visit.userId } : event;
}

/** Remember what answers said of products: the basket and a product's own page show it again. */
export function learn(visit, shelves) {
  for (const shelf of shelves) for (const product of shelf.recommendations) visit.products[product.item_id] = product;
}
