import type { Pool } from "pg";
import { ApiError } from "./api-error.ts";
import { readUse, takeOne, type UseRow, type Window } from "./queries/rate-limits.ts";

/** What is left after this request, for the X-RateLimit headers. */
export interface Allowance {
  limit: number;
  remaining: number;
  /** When the window that is nearest to its limit begins anew. */
  resetAt: Date;
}

export interface Decision {
  allowance: Allowance;
  /** RATE_LIMIT_EXCEEDED, where the request may not be made. */
  refusal?: ApiError;
}

export interface Budget {
  /** Uses are counted for each key and scope. */
  scope: "requests" | "query";
  short: Window;
  long: Window;
}

/** Requests of one key: its own limits for an hour and for a day. */
export function requestBudget(perHour: number, perDay: number): Budget {
  return {
    scope: "requests",
    short: { seconds: 3600, limit: perHour },
    long: { seconds: 86_400, limit: perDay },
  };
}

/** POST /query of one key: ten a minute (spec). */
export const queryBudget: Budget = {
  scope: "query",
  short: { seconds: 60, limit: 10 },
  long: { seconds: 3600, limit: 600 },
};

/** A client that keeps asking after a refusal is refused from memory for so long. */
const refusalMemoryMs = 1000;
const refusalMemoryEntries = 10_000;

/**
 * Counts uses in the database, so that limits hold across processes and restarts. Sliding windows:
 * the previous window counts with the part of it that the last `seconds` still cover, so there is
 * no moment at which twice the limit gets through.
 */
export class RateLimiter {
  readonly #pool: Pool;
  readonly #refused = new Map<string, { decision: Decision; until: number }>();

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  /** Takes one use where there is one left; a refused request uses nothing up. */
  async take(apiKeyId: string, budget: Budget): Promise<Decision> {
    const name = `${apiKeyId} ${budget.scope} ${budget.short.limit} ${budget.long.limit}`;
    const refused = this.#refused.get(name);
    if (refused !== undefined) {
      if (refused.until > Date.now()) return refused.decision;
      this.#refused.delete(name);
    }
    const taken = await takeOne(this.#pool, apiKeyId, budget);
    if (taken !== undefined) return { allowance: tightest(budget, taken).allowance };
    const decision = refuse(budget, await readUse(this.#pool, apiKeyId, budget));
    if (this.#refused.size >= refusalMemoryEntries) this.#refused.clear();
    this.#refused.set(name, { decision, until: Date.now() + refusalMemoryMs });
    return decision;
  }
}

function refuse(budget: Budget, use: UseRow): Decision {
  const { allowance, window, waitSeconds } = tightest(budget, use);
  const what = budget.scope === "query" ? "queries" : "requests";
  return {
    allowance,
    refusal: new ApiError(
      "RATE_LIMIT_EXCEEDED",
      `This API key may make ${window.limit} ${what} in ${period(window.seconds)}.`,
      {
        details: {
          limit: allowance.limit,
          remaining: 0,
          reset_at: allowance.resetAt.toISOString(),
          window_seconds: window.seconds,
        },
        retryAfterSeconds: waitSeconds,
      },
    ),
  };
}

/** The window that is nearest to its limit: what it leaves, and how long until one more fits. */
export function tightest(
  budget: Budget,
  use: UseRow,
): { allowance: Allowance; window: Window; waitSeconds: number } {
  const [short, long] = [
    state(budget.short, use.now, use.short_window, use.short_used, use.short_before),
    state(budget.long, use.now, use.long_window, use.long_used, use.long_before),
  ];
  return long.waitSeconds > short.waitSeconds ||
    (long.waitSeconds === short.waitSeconds && long.allowance.remaining < short.allowance.remaining)
    ? long
    : short;
}

function state(
  window: Window,
  now: number,
  storedIndex: number,
  storedUsed: number,
  storedBefore: number,
): { allowance: Allowance; window: Window; waitSeconds: number } {
  const index = Math.max(Math.floor(now / window.seconds), storedIndex);
  const used = index === storedIndex ? storedUsed : 0;
  const before = index === storedIndex ? storedBefore : index - 1 === storedIndex ? storedUsed : 0;
  const start = index * window.seconds;
  const passed = Math.min(1, Math.max(0, now / window.seconds - index));
  const remaining = Math.floor(window.limit - used - before * (1 - passed));
  let waitSeconds = 0;
  if (remaining < 1) {
    // One more fits when `before` has faded far enough, or, where this window is used up by
    // itself, when it has become the previous one and fades in its turn.
    const fades = (count: number, room: number): number => Math.max(0, 1 - room / count);
    const at =
      used + 1 <= window.limit
        ? start + window.seconds * fades(before, window.limit - 1 - used)
        : start + window.seconds * (1 + (window.limit < 1 ? 1 : fades(used, window.limit - 1)));
    waitSeconds = Math.max(1, Math.ceil(at - now));
  }
  return {
    allowance: {
      limit: window.limit,
      remaining: Math.max(0, remaining),
      resetAt: new Date((start + window.seconds) * 1000),
    },
    window,
    waitSeconds,
  };
}

function period(seconds: number): string {
  if (seconds === 86_400) return "a day";
  return seconds === 3600 ? "an hour" : "a minute";
}
