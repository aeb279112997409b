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
  /** Requests that were let through. */
  passed: Recent;
  /** All matching requests: for the peak. */
  seen: Recent;
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
    const concerned = limits.filter((limit) => limit.sees(request, fields));
    const stopping = concerned.find((limit) => limit.stops(request));
    stoppedBy[index] = stopping?.ref ?? null;
  }
  return { stoppedBy, limits: limits.map((limit) => limit.outcome()) };
}

/** Times in the order in which they are added, of which the oldest are forgotten. */
class Recent {
  #times: number[] = [];
  /** Before it everything is forgotten: a list of its own for each request would be quadratic. */
  #first = 0;

  add(time: number): void {
    this.#times.push(time);
  }

  /** How many are later than a moment, which never goes back. */
  countSince(moment: number): number {
    while ((this.#times[this.#first] ?? Infinity) <= moment) this.#first += 1;
    if (this.#first > 1000 && this.#first * 2 > this.#times.length) {
      this.#times = this.#times.slice(this.#first);
      this.#first = 0;
    }
    return this.#times.length - this.#first;
  }
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

  /**
   * Whether it is for the request. The peak counts those too that a limit before it stops: with
   * that one raised, they would come here.
   */
  sees({ ip, time }: EdgeRequest, fields: RequestFields): boolean {
    if (!this.#matches(fields)) return false;
    const counter = this.#counterOf(ip);
    counter.seen.add(time);
    const seen = counter.seen.countSince(time - this.#periodMs);
    if (this.#peak === null || seen > this.#peak.requests) {
      this.#peak = { client: ip, requests: seen };
    }
    return true;
  }

  #counterOf(ip: string): Counter {
    const counter = this.#counters.get(ip) ?? {
      passed: new Recent(),
      seen: new Recent(),
      mitigatedUntil: -Infinity,
      stopped: 0,
    };
    this.#counters.set(ip, counter);
    return counter;
  }

  /** Of a request that it sees and that no limit before it has stopped. */
  stops({ ip, time }: EdgeRequest): boolean {
    this.#matched += 1;
    const counter = this.#counterOf(ip);
    const begin = time - this.#periodMs;
    const mitigated = time < counter.mitigatedUntil;
    if (!mitigated && counter.passed.countSince(begin) < this.#threshold) {
      counter.passed.add(time);
      return false;
    }
    if (!mitigated) {
      counter.mitigatedUntil = time + this.#mitigationMs;
      counter.passed = new Recent();
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
