// A shop's own program with a generated TypeScript client: node shop.js ADDRESS READ_KEY FEED_KEY

import createClient from "openapi-fetch";
import type { components, paths } from "./topshelf.js";

declare const process: { argv: string[] };

const [baseUrl, readKey, feedKey] = process.argv.slice(2);
const reader = createClient<paths>({ baseUrl, headers: { authorization: `Bearer ${readKey}` } });
const feeder = createClient<paths>({ baseUrl, headers: { authorization: `Bearer ${feedKey}` } });

function must<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("an answer was expected");
  return value;
}

const shelf = must(
  (await reader.GET("/recommendations", { params: { query: { user_id: "user-1", limit: 5, details: true } } })).data,
);
const [first, second] = shelf.recommendations;

const rows: components["schemas"]["FeedRow"][] = [
  { item_id: first.item_id, stock: 0 },
  { item_id: second.item_id, price: "9999.99" },
];
const taken = must((await feeder.POST("/items", { body: rows })).data);
const partly = await feeder.POST("/items", {
  body: [
    { item_id: second.item_id, price: null },
    { item_id: "", stock: 1 },
  ],
});
const refused = await feeder.POST("/items", { body: [{ item_id: "", stock: 1 }] });
const problem = must(refused.error) as components["schemas"]["RowsRefused"];

const seen = must(
  (
    await feeder.POST("/events", {
      body: [
        {
          event_id: "ts-1",
          item_id: second.item_id,
          event_type: "view",
          user_id: "user-ts",
          request_id: shelf.request_id,
          position: 1,
        },
        { event_id: "ts-2", item_id: first.item_id, event_type: "click", user_id: "user-ts" },
      ],
    })
  ).data,
);
const similar = must(
  (
    await reader.GET("/items/{item_id}/similar", {
      params: { path: { item_id: second.item_id }, query: { limit: 3 } },
    })
  ).data,
);
const asked = must(
  (
    await reader.POST("/recommendations", {
      body: { user_id: "user-1", limit: 4, context: { page: "home" } },
    })
  ).data,
);

console.log(
  JSON.stringify({
    shelf: shelf.recommendations.map((row) => [row.item_id, row.source, row.reason_code, row.fill_level]),
    taken: taken.accepted,
    partly: [partly.response.status, must(partly.data).accepted, must(partly.data).refused.map((row) => row.line)],
    refused: [refused.response.status, must(problem.refused).map((row) => row.line)],
    seen: seen.accepted,
    similar: similar.recommendations.length,
    asked: asked.recommendations.length,
  }),
);
