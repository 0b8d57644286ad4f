// Topshelf's endpoint, called from TypeScript or JavaScript, in Node and in browsers.
//
//   const topshelf = new Topshelf({ baseUrl: "http://127.0.0.1:8000", key });
//   const shelf = await topshelf.recommend({ user_id: "anna", limit: 5, fields: "title,price" });

import createClient, { type Client } from "openapi-fetch";
import { type BatchLine, MOST_USERS, readLine, Silence, wholeLines } from "./batch.js";
import { type Part, parts } from "./feeds.js";
import { NoAnswerError, ProblemError, problemOf, type Refusal, TopshelfError, UnreadableAnswerError } from "./problems.js";
import { type Repeats, repeated } from "./repeating.js";
import type { components, operations, paths } from "./schema.js";

export type { BatchAnswer, BatchLine, BatchProblem } from "./batch.js";
export { NoAnswerError, ProblemError, type Refusal, TopshelfError, UnreadableAnswerError } from "./problems.js";
export type { components, operations, paths } from "./schema.js";

type Schemas = components["schemas"];
type Query<Operation extends keyof operations> = NonNullable<operations[Operation]["parameters"]["query"]>;

export type Answer = Schemas["Answer"];
export type Recommendation = Schemas["Recommendation"];
export type SimilarItems = Schemas["SimilarItems"];
export type SharedPage = Schemas["SharedPage"];
export type PageAnswer = Schemas["PageAnswer"];
export type PagePlan = Schemas["PagePlan"];
export type Taken = Schemas["Taken"];
export type ItemRow = Schemas["FeedRow"];
export type EventRow = Schemas["Event"];

export interface TopshelfOptions {
  /** Where the endpoint is; a path such as `/topshelf` on the page's own origin. */
  baseUrl: string;
  /** A key of `topshelf keys create`. Never put one into a page: let a proxy add it. */
  key?: string;
  /** How long an attempt may wait for an answer, or for the next piece of a batch; 5,000 unless given. */
  timeoutMs?: number;
  /** How often a call that may be repeated is sent at most; 4 unless given. */
  attempts?: number;
  /** It is not sent again once this would be over; 30,000 unless given. */
  deadlineMs?: number;
  /** A `fetch` of your own. */
  fetch?: typeof fetch;
}

export interface CallOptions {
  /** Ends the call; it then throws the signal's reason. */
  signal?: AbortSignal;
  /** The language of reasons and titles, such as `de-AT, en;q=0.5`. A browser's own counts where none is given. */
  language?: string;
}

/** What each attempt gives to openapi-fetch. */
type Init = { signal: AbortSignal; headers: Record<string, string> };

interface Sent<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** Calls one endpoint. Every method throws a `TopshelfError`, or the reason of its signal. */
export class Topshelf {
  /** openapi-fetch's client of the endpoint, for calls that need none of the timeouts and repeats of these methods. */
  readonly http: Client<paths>;
  readonly #repeats: Repeats;
  readonly #timeoutMs: number;

  constructor(options: TopshelfOptions) {
    const headers = options.key === undefined ? {} : { authorization: `Bearer ${options.key}` };
    this.http = createClient<paths>({
      baseUrl: options.baseUrl,
      headers,
      ...(options.fetch && { fetch: options.fetch as (request: Request) => Promise<Response> }),
    });
    this.#timeoutMs = options.timeoutMs ?? 5_000;
    this.#repeats = { attempts: options.attempts ?? 4, deadlineMs: options.deadlineMs ?? 30_000 };
  }

  /** A shopper's shelf; without a `user_id`, what anybody gets. */
  recommend(query: Query<"recommend"> = {}, options?: CallOptions): Promise<Answer> {
    return this.#answer((init) => this.http.GET("/recommendations", { params: { query }, ...init }), true, options);
  }

  /** The same asked for in JSON: for many excluded items, and for ids with commas. */
  recommendByBody(body: Schemas["Body"], options?: CallOptions): Promise<Answer> {
    return this.#answer((init) => this.http.POST("/recommendations", { body, ...init }), true, options);
  }

  /**
   * Yield a shelf for each of any number of shoppers, in their order, or why there is none.
   *
   * They are asked for 1,000 at a time. Where the key's rate is spent or the connection breaks, the client waits and
   * asks for the rest.
   */
  async *recommendBatch(body: Schemas["BatchBody"], options?: CallOptions): AsyncGenerator<BatchLine> {
    for (let first = 0; first < body.user_ids.length; first += MOST_USERS) {
      let waiting = body.user_ids.slice(first, first + MOST_USERS);
      while (waiting.length) {
        let done = 0;
        for await (const line of this.#lines({ ...body, user_ids: waiting }, options)) {
          done += 1;
          yield line;
        }
        waiting = waiting.slice(done);
      }
    }
  }

  /** All shelves of a page, such as `homepage`; no product stands on it twice. */
  page(name: string, query: Query<"page"> = {}, options?: CallOptions): Promise<PageAnswer> {
    const params = { path: { page: name }, query };
    return this.#answer((init) => this.http.GET("/pages/{page}", { params, ...init }), true, options);
  }

  /** Which pages there are, and which shelves they have. */
  pages(options?: CallOptions): Promise<PagePlan[]> {
    return this.#answer((init) => this.http.GET("/pages", init), true, options);
  }

  /** Items like one. */
  similar(itemId: string, query: Query<"similar_items"> = {}, options?: CallOptions): Promise<SimilarItems> {
    const params = { path: { item_id: itemId }, query };
    return this.#answer((init) => this.http.GET("/items/{item_id}/similar", { params, ...init }), true, options);
  }

  /** A shelf for everybody, which caches may keep; it is not logged as shown. */
  sharedShelf(query: Query<"shared_recommendations"> = {}, options?: CallOptions): Promise<SimilarItems> {
    return this.#answer((init) => this.http.GET("/shared/recommendations", { params: { query }, ...init }), true, options);
  }

  /** All shelves of a page for everybody, which caches may keep; they are not logged as shown. */
  sharedPage(name: string, query: Query<"shared_page"> = {}, options?: CallOptions): Promise<SharedPage> {
    const params = { path: { page: name }, query };
    return this.#answer((init) => this.http.GET("/shared/pages/{page}", { params, ...init }), true, options);
  }

  /**
   * Send live price, stock and moderation: any number of rows, 10,000 at a time.
   *
   * The result names the rows that were refused. It throws where none was accepted. A part whose rows all have `ts`
   * may be sent again; without it a row counts from when it comes, so sending it twice could undo a newer one.
   */
  sendItems(rows: Iterable<ItemRow>, options?: CallOptions): Promise<Taken> {
    return this.#taken("/items", rows, (row) => row.ts != null, options);
  }

  /**
   * Send what shoppers did: any number of events. Each has an id, so sending it twice does no harm.
   *
   * Few events go on their way even if their page is left meanwhile, as by a click on a link.
   */
  sendEvents(rows: Iterable<EventRow>, options?: CallOptions): Promise<Taken> {
    return this.#taken("/events", rows, () => true, options);
  }

  /** Why a shopper's shelf is as it is. */
  trace(userId: string, query: Query<"trace_user"> = {}, options?: CallOptions): Promise<Schemas["UserTrace"]> {
    const params = { path: { user_id: userId }, query };
    return this.#answer((init) => this.http.GET("/users/{user_id}/trace", { params, ...init }), true, options);
  }

  /** Erase a shopper. */
  erase(userId: string, options?: CallOptions): Promise<Schemas["Erased"]> {
    const params = { path: { user_id: userId } };
    return this.#answer((init) => this.http.DELETE("/users/{user_id}", { params, ...init }), true, options);
  }

  /** The endpoint's metrics, as Prometheus reads them. */
  metrics(options?: CallOptions): Promise<string> {
    const sent = (init: Init) => this.http.GET("/metrics", { parseAs: "text", ...init }) as Promise<Sent<string>>;
    return this.#answer(sent, true, options);
  }

  /** Whether the process is alive. */
  healthz(options?: CallOptions): Promise<Schemas["Health"]> {
    return this.#answer((init) => this.http.GET("/healthz", init), true, options);
  }

  /** Whether the endpoint is ready (its `status` is "ready"), and what does not work. */
  readyz(options?: CallOptions): Promise<Schemas["Health"]> {
    const sent = async (init: Init): Promise<Sent<Schemas["Health"]>> => {
      const { data, error, response } = await this.http.GET("/readyz", init);
      return { data: data ?? (error as Schemas["Health"]), response: response.status === 503 ? OK : response };
    };
    return this.#answer(sent, true, options);
  }

  /** Send a call, again where that helps. */
  #answer<T>(send: (init: Init) => Promise<Sent<T>>, repeatable: boolean, options?: CallOptions): Promise<T> {
    const attempt = async () => {
      const init = { signal: either(AbortSignal.timeout(this.#timeoutMs), options?.signal), headers: headersOf(options) };
      const { data, error, response } = await answered(send(init), options?.signal);
      if (response.ok) return data as T;
      throw problemOf(response, error);
    };
    return repeated(attempt, repeatable, this.#repeats, options?.signal);
  }

  async #taken<Row>(
    path: "/items" | "/events",
    rows: Iterable<Row>,
    isRepeatable: (row: Row) => boolean,
    options?: CallOptions,
  ): Promise<Taken> {
    let accepted = 0;
    let before = 0;
    let problem: ProblemError | undefined;
    const refused: Refusal[] = [];
    for (const part of parts(rows)) {
      let taken: { accepted: number; refused: Refusal[] };
      try {
        taken = await this.#sendPart(path, part, part.rows.every(isRepeatable), options);
      } catch (error) {
        if (!(error instanceof ProblemError && error.refused.length)) throw error;
        problem = error;
        taken = { accepted: 0, refused: error.refused };
      }
      accepted += taken.accepted;
      refused.push(...taken.refused.map(({ line, reason }) => ({ line: before + line, reason })));
      before += part.rows.length;
    }
    if (problem && !accepted) {
      throw new ProblemError(problem.status, { detail: problem.detail, remedy: problem.remedy }, undefined, refused);
    }
    return { accepted, refused };
  }

  #sendPart(path: "/items" | "/events", part: Part<unknown>, repeatable: boolean, options?: CallOptions): Promise<Taken> {
    const lines = { body: part.lines, bodySerializer: () => part.lines, keepalive: part.lines.length < KEPT_ALIVE };
    const headers = { "content-type": "application/x-ndjson" };
    return this.#answer((init) => this.http.POST(path, { ...lines, ...init, headers }), repeatable, options);
  }

  /** Yield lines of a batch until its end, or until the rest must be asked for again; at least one. */
  async *#lines(body: Schemas["BatchBody"], options?: CallOptions): AsyncGenerator<BatchLine> {
    const signal = options?.signal;
    const [first, lines] = await repeated(() => this.#firstLine(body, options), true, this.#repeats, signal);
    try {
      yield first;
      for (;;) {
        const { done, value } = await answered(lines.next(), signal);
        if (done) return;
        yield readLine(value);
      }
    } catch (error) {
      // What stopped it, if it lasts, meets the next attempt.
      if (!(error instanceof NoAnswerError || error instanceof ProblemError)) throw error;
    } finally {
      await lines.return(undefined);
    }
  }

  /** Ask for a batch, and read its first line. Throws what another attempt may help. */
  async #firstLine(
    body: Schemas["BatchBody"],
    options?: CallOptions,
  ): Promise<[BatchLine, AsyncGenerator<string>]> {
    const signal = options?.signal;
    const silence = new Silence(this.#timeoutMs);
    let lines: AsyncGenerator<string> | undefined;
    try {
      const headers = headersOf(options);
      const asked = { body, parseAs: "stream", headers, signal: either(silence.signal, signal) } as const;
      const { data, error, response } = await answered(this.http.POST("/recommendations/batch", asked), signal);
      if (!response.ok) throw problemOf(response, error);
      lines = wholeLines(data as ReadableStream<Uint8Array>, silence);
      const first = await answered(lines.next(), signal);
      return [readLine(first.value ?? ""), lines];
    } catch (error) {
      silence.ends();
      await lines?.return(undefined);
      throw error;
    }
  }
}

const OK = new Response();
const KEPT_ALIVE = 20_000; // characters; browsers keep 64 KiB alive at most

function headersOf(options: CallOptions | undefined): Record<string, string> {
  return options?.language === undefined ? {} : { "accept-language": options.language };
}

function either(one: AbortSignal, other: AbortSignal | undefined): AbortSignal {
  return other === undefined ? one : AbortSignal.any([one, other]);
}

/** Wait for what fetch does, and tell its failures apart: the caller's own signal, no answer, an answer of others. */
async function answered<T>(doing: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  try {
    return await doing;
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    if (error instanceof TopshelfError) throw error;
    if (error instanceof SyntaxError) {
      throw new UnreadableAnswerError("the answer is no JSON; is the base URL the endpoint's?", { cause: error });
    }
    throw new NoAnswerError(error);
  }
}
