import { isForHost } from "./endpoints.ts";
import { bytes, and, oneOf, or, startsWith, type Condition } from "./language/build.ts";
import { printExpression } from "./language/print.ts";
import type { RateLimitRule } from "./model.ts";
import { planLimits } from "./plan-limits.ts";
import type { RuleSettings } from "./settings.ts";

interface Limit {
  name: string;
  description: string;
  condition: Condition;
  requests: number;
  periodSeconds: number;
  mitigationSeconds: number;
}

const path = bytes("http.request.uri.path");

/** What each of the document's limits is for. Of key administration the API has no endpoint yet. */
const conditions = {
  database: or(
    oneOf(path, ["/api/database/query", "/api/database/metrics"]),
    startsWith(path, "/api/database/keys"),
  ),
  api: startsWith(path, "/api/"),
  burst: startsWith(path, "/"),
};

/**
 * The document's three limits, with the mitigation times of the source. Its challenge for the
 * database is a block here: a program cannot solve a challenge.
 */
export function wantedRateLimits(settings: RuleSettings): RateLimitRule[] {
  return limitsOf(settings).map((limit) => finished(limit, settings.hostname));
}

/**
 * The nearest form that the plan can hold: rates over a shorter period, and limits merged from the
 * last, each at the looser of two rates, so that what the document lets through still passes.
 */
export function nearestRateLimits(settings: RuleSettings): RateLimitRule[] {
  const { rateLimitRules, longestPeriod, longestMitigation, rateLimitFields } =
    planLimits[settings.plan];
  const limits = limitsOf(settings).map((limit) => {
    const periodSeconds = Math.min(limit.periodSeconds, longestPeriod);
    return {
      ...limit,
      periodSeconds,
      requests: Math.ceil((limit.requests * periodSeconds) / limit.periodSeconds),
      mitigationSeconds: Math.min(limit.mitigationSeconds, longestMitigation),
    };
  });
  while (limits.length > rateLimitRules) {
    const [last, before] = [limits.pop(), limits.pop()];
    if (last === undefined || before === undefined) break;
    limits.push(merged(before, last));
  }
  // Without the host's name a limit is for all names of the zone.
  const named = rateLimitFields?.has("http.host") ?? true;
  return limits.map((limit) => finished(limit, named ? settings.hostname : undefined));
}

function merged(one: Limit, other: Limit): Limit {
  const looser =
    one.requests / one.periodSeconds > other.requests / other.periodSeconds ? one : other;
  return {
    ...looser,
    name: `${one.name}-${other.name}`,
    description: `${one.description}; ${other.description}`,
    condition: or(one.condition, other.condition),
    mitigationSeconds: Math.max(one.mitigationSeconds, other.mitigationSeconds),
  };
}

function limitsOf({ rateLimits }: RuleSettings): Limit[] {
  const limit = (name: keyof typeof conditions, description: string): Limit => ({
    name,
    description: `${name}: ${description}`,
    condition: conditions[name],
    ...rateLimits[name],
  });
  return [
    limit("database", "queries, metrics and key administration"),
    limit("api", "all of the API"),
    limit("burst", "whatever it is for"),
  ];
}

function finished(limit: Limit, hostname: string | undefined): RateLimitRule {
  const { expression } =
    hostname === undefined ? limit.condition : and(isForHost(hostname), limit.condition);
  return {
    ref: `ctm-limit-${limit.name}`,
    description: limit.description,
    expression: printExpression(expression),
    action: "block",
    enabled: true,
    rateLimit: {
      // Cloudflare counts in each of its data centres by itself.
      characteristics: ["cf.colo.id", "ip.src"],
      period: limit.periodSeconds,
      requestsPerPeriod: limit.requests,
      mitigationTimeout: limit.mitigationSeconds,
    },
  };
}
