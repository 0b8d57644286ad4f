// What the page asks of the endpoint: one request for all shelves of a page, and what the shopper does, as events.

const FIELDS = "title,price,category,brand,image_url";

/** The endpoint refused a request or did not answer; `message` says what and, where it is known, the remedy. */
export class EndpointError extends Error {}

/**
 * The address of `GET /pages/{page}` for a visit.
 * The last actions go with it, so they count at once. Events that are sent count within a second, and for the night.
 */
export function pageAddress(endpoint, page, visit, itemId) {
  const asked = new URLSearchParams({ session_id: visit.sessionId, fields: FIELDS });
  if (visit.userId) asked.set("user_id", visit.userId);
  if (itemId) asked.set("item_id", itemId);
  if (visit.basket.length) asked.set("basket", visit.basket.join(","));
  if (visit.actions.length) asked.set("actions", visit.actions.map(({ type, itemId }) => `${type}:${itemId}`).join(","));
  return `${endpoint}/pages/${page}?${asked}`;
}

/** The shelves of a page, with titles and reasons in a language. Throws EndpointError. */
export async function readPage(address, language, signal) {
  const answer = await send(address, { headers: { "Accept-Language": language }, signal });
  return answer.json();
}

/** Send events. Throws EndpointError. */
export async function sendEvents(endpoint, events) {
  await send(`${endpoint}/events`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(events),
    keepalive: true, // a click that leaves the page still arrives
  });
}

async function send(address, options) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new EndpointError(
      `${new URL(address).origin} does not answer this page. Does topshelf serve run there, with --cors-origins ${location.origin}?`,
    );
  }
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  throw new EndpointError([`${answer.status}: ${problem.detail ?? answer.statusText}`, problem.remedy].filter(Boolean).join("; "));
}
