import { CtmError } from "#system";
import { compileExpression } from "./language/compile.ts";
import { parseExpression } from "./language/parse.ts";
import { RequestFields } from "./language/request-fields.ts";
import type { EdgeRequest, RateLimitRule } from "./model.ts";

/** What a rate limit would have done to a timeline. */
export interface LimitOutcome {
  ref: string;
  /** Requests that it is for and that no limit before it stopped. */
  matched: number;
  stopped: number;
  /** Clients of which it stopped at least one request. */
  stoppedClients: number;
  /** The most that one client sent within a period: a threshold at or above it stops nobody. */
  peak: { client: string; requests: number } | null;
}

export interface Simulation {
  /** For each request, in the order given: the limit that would have stopped it, or null. */
  stoppedBy: (string | null)[];
  limits: LimitOutcome[];
}

/** What is known of one client under one limit. Times are milliseconds. */
interface Counter {
  /** Of the requests within the last period that were let through, oldest first. */
  passed: number[];
  /** Of all matching requests within the last period: for the peak. */
  seen: number[];
  mitigatedUntil: number;
  stopped: number;
}

/**
 * Plays a timeline through rate limits, in their order. A client's request above the threshold
 * within the last period is stopped, and so are all that the limit is for until the mitigation
 * ends; then counting starts again. Cloudflare estimates the same with two counters a client and
 * counts in each of its data centres by itself: here there is one.
 *
 * @param requests in any order; they are played by their time
 * @throws CtmError `not-evaluated` for a limit that counts by more than the client's address
 */
export function simulateRateLimits(
  rules: readonly RateLimitRule[],
  requests: readonly EdgeRequest[],
): Simulation {
  const limits = rules.filter(({ enabled }) => enabled).map((rule) => new Limit(rule));
  const stoppedBy = requests.map((): string | null => null);
  const inOrder = [...requests.entries()].toSorted(([, one], [, other]) => one.time - other.time);
  for (const [index, request] of inOrder) {
    const fields = new RequestFields(request);
    const stopping = limits.find((limit) => limit.stops(request, fields));
    stoppedBy[index] = stopping?.ref ?? null;
  }
  return { stoppedBy, limits: limits.map((limit) => limit.outcome()) };
}

class Limit {
  readonly ref: string;
  readonly #threshold: number;
  readonly #periodMs: number;
  readonly #mitigationMs: number;
  readonly #matches: (fields: RequestFields) => boolean;
  readonly #counters = new Map<string, Counter>();
  #matched = 0;
  #peak: LimitOutcome["peak"] = null;

  constructor({ ref, expression, rateLimit }: RateLimitRule) {
    const more = rateLimit.characteristics.filter(
      (one) => one !== "ip.src" && one !== "cf.colo.id",
    );
    if (more.length > 0) {
      throw new CtmError("not-evaluated", `${ref} counts by ${more.join(", ")}`, {
        next: "only limits that count by ip.src are simulated",
      });
    }
    this.ref = ref;
    this.#threshold = rateLimit.requestsPerPeriod;
    this.#periodMs = rateLimit.period * 1000;
    this.#mitigationMs = rateLimit.mitigationTimeout * 1000;
    this.#matches = compileExpression(parseExpression(expression));
  }

  stops({ ip, time }: EdgeRequest, fields: RequestFields): boolean {
    if (!this.#matches(fields)) return false;
    this.#matched += 1;
    const counter = this.#counters.get(ip) ?? {
      passed: [],
      seen: [],
      mitigatedUntil: -Infinity,
      stopped: 0,
    };
    this.#counters.set(ip, counter);
    const begin = time - this.#periodMs;
    counter.seen = [...counter.seen.filter((one) => one > begin), time];
    if (this.#peak === null || counter.seen.length > this.#peak.requests) {
      this.#peak = { client: ip, requests: counter.seen.length };
    }
    counter.passed = counter.passed.filter((one) => one > begin);
    const mitigated = time < counter.mitigatedUntil;
    if (!mitigated && counter.passed.length < this.#threshold) {
      counter.passed.push(time);
      return false;
    }
    if (!mitigated) {
      counter.mitigatedUntil = time + this.#mitigationMs;
      counter.passed = [];
    }
    counter.stopped += 1;
    return true;
  }

  outcome(): LimitOutcome {
    const counters = [...this.#counters.values()];
    return {
      ref: this.ref,
      matched: this.#matched,
      stopped: counters.reduce((total, { stopped }) => total + stopped, 0),
      stoppedClients: counters.filter(({ stopped }) => stopped > 0).length,
      peak: this.#peak,
    };
  }
}
