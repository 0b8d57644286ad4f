// The TypeScript client against a running endpoint, in Node: what TOPSHELF_TEST says of it is JSON.

import assert from "node:assert/strict";
import net from "node:net";
import { test } from "node:test";
import { type BatchAnswer, type EventRow, NoAnswerError, ProblemError, Topshelf, TopshelfError, type TopshelfOptions, UnreadableAnswerError } from "topshelf-client";
import { helps, waitMs } from "../dist/repeating.js";

const { baseUrl, keys } = JSON.parse(process.env.TOPSHELF_TEST ?? "") as { baseUrl: string; keys: Record<string, string> };
const client = (key: string, options: Partial<TopshelfOptions> = {}) =>
  new Topshelf({ baseUrl, key: keys[key] ?? key, ...options });
const reader = client("read");
const feeder = client("feed");

type Fault = "lost request" | "lost answer" | 502 | 504 | "cut after 5 lines";

/** A `fetch` whose first requests meet faults; `sent` are the bodies of all requests. */
function faulty(...faults: Fault[]): { fetch: typeof fetch; sent: string[] } {
  const sent: string[] = [];
  const faultyFetch = async (input: RequestInfo | URL): Promise<Response> => {
    const request = input as Request;
    sent.push(await request.clone().text());
    const fault = faults.shift();
    if (fault === "lost request") throw new TypeError("fetch failed");
    if (fault === 502) return new Response("<html>", { status: fault });
    const answer = await fetch(request);
    if (fault === undefined) return answer;
    const body = await answer.text();
    if (fault === "lost answer") throw new TypeError("fetch failed");
    if (fault === 504) return new Response("<html>", { status: fault });
    const lines = body.split("\n").slice(0, 5).join("\n") + '\n{"user_id":"us';
    const cut = new ReadableStream<Uint8Array>({
      start: (stream) => stream.enqueue(new TextEncoder().encode(lines)),
      pull: (stream) => stream.error(new TypeError("terminated")),
    });
    return new Response(cut, { status: answer.status, headers: answer.headers });
  };
  return { fetch: faultyFetch as typeof fetch, sent };
}

const users = (count: number) => Array.from({ length: count }, (_, number) => `user-${number}`);

async function all<T>(values: AsyncIterable<T>): Promise<T[]> {
  const got: T[] = [];
  for await (const value of values) got.push(value);
  return got;
}

test("a shelf comes by query and by body, with the fields that were asked for", async () => {
  const byQuery = await reader.recommend({ user_id: "user-1", limit: 5, category: "home", fields: "title,price", details: true });
  const byBody = await reader.recommendByBody({
    user_id: "user-1",
    limit: 5,
    filters: { category: "home" },
    fields: ["title", "price"],
    details: true,
  });
  assert.equal(byQuery.recommendations.length, 5);
  assert.deepEqual(byQuery.recommendations, byBody.recommendations);
  assert.equal(byQuery.request_id.length, 32);
  for (const { price, source } of byQuery.recommendations) {
    assert.ok(price === undefined || typeof price === "number");
    assert.equal(typeof source, "string");
  }
});

test("ids of any letters are sent whole", async () => {
  for (const odd of ["a/b", "%2F", "a?b#c", "✓ x", "a,b"]) assert.equal((await client("admin").trace(odd)).user_id, odd);
});

test("similar items leave out what is excluded", async () => {
  const { recommendations } = await reader.similar("item-00005", { limit: 3 });
  const first = recommendations[0]?.item_id ?? "";
  const others = await reader.similar("item-00005", { limit: 3, exclude: first });
  assert.ok(!others.recommendations.some(({ item_id }) => item_id === first));
});

test("what is everybody's names no request", async () => {
  const shelf = await reader.sharedShelf({ limit: 4, fields: "title" }, { language: "de" });
  assert.equal(shelf.recommendations.length, 4);
  const page = await reader.sharedPage("product", { item_id: "item-00005", limit: 4 });
  assert.equal(page.page, "product");
  for (const { recommendations } of page.shelves) assert.ok(recommendations.length <= 4);
});

test("a page has its shelves, no product twice, and a title in the language that is asked for", async () => {
  const actions = "view:item-00003";
  const page = await reader.page("homepage", { user_id: "user-1", limit: 4, actions, fields: "price" }, { language: "de" });
  const shown = page.shelves.flatMap(({ recommendations }) => recommendations.map(({ item_id }) => item_id));
  assert.ok(shown.length > 4 && new Set(shown).size === shown.length);
  assert.ok(page.shelves.some(({ title }) => title === "Für Sie empfohlen"));
  const plan = (await reader.pages()).find(({ page }) => page === "homepage");
  assert.ok(plan?.shelves.some(({ name }) => name === page.shelves[0]?.shelf));
  await assert.rejects(reader.page("no/such/page"), { status: 404 });
});

test("a batch of any number comes in the order of its shoppers, and a problem stands on its line", async () => {
  const wanted = users(2_300);
  wanted[1_500] = "";
  const lines = await all(reader.recommendBatch({ user_ids: wanted, limit: 2 }));
  assert.deepEqual(lines.map(({ user_id }) => user_id), wanted);
  const problems = lines.filter((line) => "status" in line);
  assert.deepEqual(problems.map(({ user_id, status }) => [user_id, status]), [["", 400]]);
  assert.equal((lines[0] as BatchAnswer).recommendations.length, 2);
});

test("a batch that breaks goes on with those who have no line yet", async () => {
  const { fetch, sent } = faulty("lost request", "cut after 5 lines", "cut after 5 lines", 502);
  const lines = await all(client("read", { fetch }).recommendBatch({ user_ids: users(20), limit: 1 }));
  assert.deepEqual(lines.map(({ user_id }) => user_id), users(20));
  assert.deepEqual(sent.map((body) => JSON.parse(body).user_ids.length), [20, 20, 15, 10, 10]);
});

test("a batch waits for its key's next window, and not longer than its deadline", async () => {
  const lines = await all(client("ten a second").recommendBatch({ user_ids: users(25), limit: 1 }));
  assert.ok(lines.every((line) => "recommendations" in line));
  const spent = all(client("ten a day").recommendBatch({ user_ids: users(25), limit: 1 }));
  await assert.rejects(spent, (error) => error instanceof ProblemError && error.status === 429 && error.retryAfterS! > 30);
});

test("a reader who takes their time between two lines gets them all at one go", async () => {
  const { fetch, sent } = faulty();
  const got: string[] = [];
  for await (const { user_id } of client("read", { fetch, timeoutMs: 400 }).recommendBatch({ user_ids: users(3) })) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    got.push(user_id);
  }
  assert.deepEqual([got, sent.length], [users(3), 1]);
});

test("a reader may stop in the middle of a batch", async () => {
  for await (const { user_id } of reader.recommendBatch({ user_ids: users(1_000), limit: 100 })) {
    assert.equal(user_id, "user-0");
    break;
  }
  assert.ok((await reader.recommend()).recommendations.length);
});

test("prices and stock count at once, and a null takes them back", async () => {
  const ids = async () => (await reader.recommend({ user_id: "user-2", limit: 2 })).recommendations.map(({ item_id }) => item_id);
  const until = async (holds: (now: string[]) => boolean) => {
    for (let tries = 0; !holds(await ids()); tries += 1) {
      assert.ok(tries < 200, "it did not come true");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  const before = await ids();
  const first = before[0] ?? "";
  assert.deepEqual(await feeder.sendItems([{ item_id: first, stock: 0 }]), { accepted: 1, refused: [] });
  await until((now) => !now.includes(first));
  await feeder.sendItems([{ item_id: first, stock: null, ts: new Date().toISOString() }]);
  await until((now) => now[0] === first);
});

test("refused rows are named by their place among all rows", async () => {
  const events = users(12_000).map((id): EventRow => ({ event_id: id, user_id: id, item_id: "item-00002", event_type: "view" }));
  events[3]!.item_id = "";
  events[11_998]!.item_id = "";
  const { accepted, refused } = await client("feed", { timeoutMs: 30_000 }).sendEvents(events);
  assert.equal(accepted, 11_998);
  assert.deepEqual(refused.map(({ line }) => line), [4, 11_999]);
});

test("rows of which none is accepted throw with each reason", async () => {
  await assert.rejects(feeder.sendItems([{ item_id: "" }, { item_id: "item-00001", price: "-1" }]), (error) => {
    assert.ok(error instanceof ProblemError);
    assert.deepEqual(error.refused.map(({ line }) => line), [1, 2]);
    return error.status === 400;
  });
  assert.deepEqual(await feeder.sendItems([]), { accepted: 0, refused: [] });
});

test("a problem is thrown with its detail and its remedy, and is not asked again", async () => {
  const { fetch, sent } = faulty();
  await assert.rejects(client("read", { fetch }).recommend({ user_id: "user-1", limit: 0 }), (error) => {
    assert.ok(error instanceof ProblemError && error instanceof TopshelfError);
    assert.deepEqual([error.status, error.parameter], [400, "limit"]);
    assert.ok(error.message.includes(error.detail) && error.message.includes(error.remedy));
    return true;
  });
  assert.equal(sent.length, 1);
  await assert.rejects(client("wrong").recommend(), { status: 401 });
  await assert.rejects(reader.sendItems([{ item_id: "item-00001" }]), { status: 403 });
  await assert.rejects(reader.similar("no-such-item"), { status: 404 });
});

test("reads and events are sent again where nobody knows what became of them, items only with a time", async () => {
  const row = { item_id: "not-of-the-catalogue", stock: 1 };
  const event: EventRow = { event_id: "again", user_id: "user-1", item_id: "item-00002", event_type: "view" };
  for (const fault of ["lost request", "lost answer", 502, 504] as const) {
    const twice = faulty(fault);
    await client("read", { fetch: twice.fetch }).recommend({ user_id: "user-1" });
    const events = faulty(fault);
    await client("feed", { fetch: events.fetch }).sendEvents([event]);
    const timed = faulty(fault);
    await client("feed", { fetch: timed.fetch }).sendItems([{ ...row, ts: new Date().toISOString() }]);
    assert.deepEqual([twice.sent.length, events.sent.length, timed.sent.length], [2, 2, 2]);
    const untimed = faulty(fault);
    await assert.rejects(client("feed", { fetch: untimed.fetch }).sendItems([row]), TopshelfError);
    assert.equal(untimed.sent.length, 1);
  }
});

test("a call is sent as often as attempts say", async () => {
  const { fetch, sent } = faulty(502, 502, 502);
  await assert.rejects(client("read", { fetch, attempts: 3 }).recommend(), { status: 502 });
  assert.equal(sent.length, 3);
});

test("the longest wait doubles, and each is drawn below it", () => {
  const drawn = (failures: number, error: unknown) => Array.from({ length: 400 }, () => waitMs(failures, error)).sort((a, b) => a - b);
  for (const [failures, longest] of [[1, 100], [2, 200], [9, 5_000]] as const) {
    const waits = drawn(failures, new ProblemError(503, {}));
    assert.ok(waits[0]! < longest / 20 && waits[399]! > longest * 0.95 && waits[399]! <= longest);
  }
  const told = drawn(1, new ProblemError(429, {}, 3));
  assert.ok(told[0]! >= 3_000 && told[399]! <= 3_100);
  assert.ok(!helps(new ProblemError(400, {}), true));
});

test("an endpoint that says nothing or is not there is no answer, and a signal ends a call", async () => {
  const sockets: net.Socket[] = [];
  const silent = net.createServer((socket) => sockets.push(socket));
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const address = `http://127.0.0.1:${(silent.address() as net.AddressInfo).port}`;
  const late = client("read", { baseUrl: address, timeoutMs: 200, attempts: 2 });
  await assert.rejects(late.recommend(), (error) => error instanceof NoAnswerError && error.sent);
  await assert.rejects(all(late.recommendBatch({ user_ids: ["user-1"] })), NoAnswerError);
  const leaving = new AbortController();
  const call = client("read", { baseUrl: address }).recommend({}, { signal: leaving.signal });
  leaving.abort(new Error("the shopper left"));
  await assert.rejects(call, { message: "the shopper left" });
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => silent.close(resolve));
  const nobody = client("feed", { baseUrl: address, attempts: 2 });
  await assert.rejects(nobody.sendItems([{ item_id: "a" }]), (error) => error instanceof NoAnswerError && !error.sent);
});

test("an answer of something else is told apart", async () => {
  const elsewhere = client("read", { fetch: (async () => new Response("<html>")) as typeof fetch });
  await assert.rejects(elsewhere.recommend(), UnreadableAnswerError);
});

test("operators trace, erase, read metrics and ask whether it is ready", async () => {
  const admin = client("admin");
  assert.equal((await admin.trace("user-9", { limit: 4 })).shelf.length, 4);
  assert.ok((await admin.metrics()).includes("topshelf_requests_total"));
  assert.deepEqual(await admin.erase("user-59"), { erased: true, everywhere: true, landed: true });
  assert.deepEqual([(await admin.healthz()).status, (await admin.readyz()).status], ["ok", "ready"]);
  const waiting = new Topshelf({ baseUrl: JSON.parse(process.env.TOPSHELF_TEST ?? "").emptyUrl, attempts: 1 });
  assert.notEqual((await waiting.readyz()).status, "ready");
  await assert.rejects(waiting.recommend(), { status: 503 });
});
