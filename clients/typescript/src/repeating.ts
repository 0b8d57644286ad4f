// Which calls are sent again, and after how long.
//
// The longest wait doubles with each attempt, and a wait is drawn between nothing and that (full jitter), so that many
// callers do not come back at once. Where the endpoint says how long to wait, that is waited before.

import { NoAnswerError, ProblemError } from "./problems.js";

const FIRST_WAIT_MS = 100;
const LONGEST_WAIT_MS = 5_000;
const NOTHING_WAS_DONE = [408, 429, 503, 507];
const NOBODY_KNOWS = [502, 504]; // what a proxy says of an endpoint that it lost

/** A call is sent `attempts` times at most, and not again once `deadlineMs` would be over. */
export interface Repeats {
  attempts: number;
  deadlineMs: number;
}

/**
 * Whether sending a call again may help, and does no harm.
 *
 * `repeatable`: it does none even where nobody knows whether the call was carried out.
 */
export function helps(error: unknown, repeatable: boolean): boolean {
  if (error instanceof NoAnswerError) return repeatable || !error.sent;
  if (!(error instanceof ProblemError)) return false;
  return NOTHING_WAS_DONE.includes(error.status) || (repeatable && NOBODY_KNOWS.includes(error.status));
}

/** How long to wait after so many failed attempts. */
export function waitMs(failures: number, error: unknown): number {
  const toldMs = error instanceof ProblemError ? (error.retryAfterS ?? 0) * 1_000 : 0;
  return toldMs + Math.random() * Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (failures - 1));
}

/** Make attempts until one succeeds, or another would not help. Throws the last one's error. */
export async function repeated<T>(
  attempt: () => Promise<T>,
  repeatable: boolean,
  repeats: Repeats,
  signal?: AbortSignal,
): Promise<T> {
  const deadline = performance.now() + repeats.deadlineMs;
  for (let failures = 1; ; failures += 1) {
    try {
      return await attempt();
    } catch (error) {
      const wait = waitMs(failures, error);
      if (failures >= repeats.attempts || !helps(error, repeatable) || performance.now() + wait >= deadline) throw error;
      await pause(wait, signal);
    }
  }
}

/** Wait. Throws the signal's reason once it is aborted. */
function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    if (signal?.aborted) stop();
    else signal?.addEventListener("abort", stop, { once: true });
  });
}
