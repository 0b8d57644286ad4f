// The lines of a batch: whole ones from the pieces of a stream, and what one says.

import { ProblemError, UnreadableAnswerError } from "./problems.js";
import { helps } from "./repeating.js";
import type { components } from "./schema.js";

export type BatchAnswer = components["schemas"]["BatchAnswer"];
/** Why one shopper of a batch gets no shelf; asking again would not help. */
export type BatchProblem = components["schemas"]["BatchProblem"];
export type BatchLine = BatchAnswer | BatchProblem;

export const MOST_USERS = 1_000;

/** A signal that is aborted once the endpoint was waited for so long at a stretch. */
export class Silence {
  readonly #controller = new AbortController();
  readonly #longestMs: number;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(longestMs: number) {
    this.#longestMs = longestMs;
    this.begins();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  begins(): void {
    const stop = () => this.#controller.abort(new DOMException(`nothing came for ${this.#longestMs} ms`, "TimeoutError"));
    clearTimeout(this.#timer);
    this.#timer = setTimeout(stop, this.#longestMs);
  }

  ends(): void {
    clearTimeout(this.#timer);
  }
}

/** Yield the lines that end within a stream; the last, if it is cut, is left out. */
export async function* wholeLines(stream: ReadableStream<Uint8Array>, silence: Silence): AsyncGenerator<string> {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let begun = "";
  try {
    for (;;) {
      silence.begins();
      const { done, value } = await reader.read();
      silence.ends(); // the caller may take their time with the lines
      if (done) return;
      const lines = (begun + decoder.decode(value, { stream: true })).split("\n");
      begun = lines.pop() ?? "";
      yield* lines;
    }
  } finally {
    silence.ends();
    await reader.cancel().catch(() => undefined); // a reader who stops in the middle ends the request
  }
}

/** Read a line. Throws a ProblemError where asking again for its shopper may help, or an UnreadableAnswerError. */
export function readLine(line: string): BatchLine {
  let read: BatchLine;
  try {
    read = JSON.parse(line) as BatchLine;
  } catch (error) {
    throw new UnreadableAnswerError("a line of a batch is no JSON; is the base URL the endpoint's?", { cause: error });
  }
  if ("status" in read) {
    const problem = new ProblemError(read.status, read, read.retry_after_s ?? undefined);
    if (helps(problem, true)) throw problem;
  }
  return read;
}
