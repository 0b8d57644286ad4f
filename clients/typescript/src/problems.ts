// What a call may throw. All of it is a `TopshelfError`, so a page can do without a shelf by catching that alone.

import type { components } from "./schema.js";

type Problem = components["schemas"]["Problem"];

/** A row that was refused: its line, from 1, among the rows of the call, and why. */
export type Refusal = components["schemas"]["Refusal"];

/** Any failure of a call. */
export class TopshelfError extends Error {
  override name = "TopshelfError";
}

/** No whole answer came: no connection, a timeout, or a connection that broke. `cause` is fetch's error. */
export class NoAnswerError extends TopshelfError {
  override name = "NoAnswerError";
  /** False where the request cannot have reached the endpoint. Browsers do not tell. */
  readonly sent: boolean;

  constructor(cause: unknown) {
    super(`no answer: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    const code = cause instanceof Error ? (cause.cause as { code?: unknown } | undefined)?.code : undefined;
    this.sent = !["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "UND_ERR_CONNECT_TIMEOUT"].includes(String(code));
  }
}

/** An answer that the endpoint does not give: is the base URL that of something else? */
export class UnreadableAnswerError extends TopshelfError {
  override name = "UnreadableAnswerError";
}

/** The endpoint's problem document (RFC 9457): what is wrong, with which parameter, and the remedy. */
export class ProblemError extends TopshelfError {
  override name = "ProblemError";
  readonly status: number;
  readonly detail: string;
  readonly remedy: string;
  readonly parameter: string | undefined;
  readonly requestId: string | undefined;
  /** How long to wait before the call can succeed, where the endpoint says so. */
  readonly retryAfterS: number | undefined;
  /** Why each row was refused, where none was accepted. */
  readonly refused: Refusal[];

  constructor(status: number, problem: Partial<Problem>, retryAfterS?: number, refused: Refusal[] = []) {
    const { detail = "an answer without a problem document", remedy = "" } = problem;
    super(`${status}: ${detail}${remedy && `; ${remedy}`}`);
    this.status = status;
    this.detail = detail;
    this.remedy = remedy;
    this.parameter = problem.parameter ?? undefined;
    this.requestId = problem.request_id ?? undefined;
    this.retryAfterS = retryAfterS;
    this.refused = refused;
  }
}

/** The problem that a response which is no 2xx tells; `document` is its body, as JSON where it is that. */
export function problemOf(response: Response, document: unknown): ProblemError {
  const seconds = response.headers.get("retry-after") ?? "";
  const retryAfterS = /^[0-9]+$/.test(seconds) ? Number(seconds) : undefined;
  const isProblem = typeof document === "object" && document !== null && "detail" in document;
  const problem = (isProblem ? document : {}) as Partial<Problem> & { refused?: Refusal[] };
  return new ProblemError(response.status, problem, retryAfterS, problem.refused ?? []);
}
