import type { RateLimitRule } from "./model.ts";

/**
 * The document's three limits, with the mitigation times of the source. Its `challenge` for the
 * database is a block here: a program cannot solve a challenge.
 *
 * Each counts by address, and by Cloudflare's data centre, as every limit there does.
 */
const characteristics = ["cf.colo.id", "ip.src"] as const;

export const rateLimits: readonly RateLimitRule[] = [
  {
    ref: "ctm-limit-database",
    description: "database: 50 requests a minute for queries, metrics and key administration",
    expression:
      'http.request.uri.path in {"/api/database/query" "/api/database/metrics"} or starts_with(http.request.uri.path, "/api/database/keys")',
    action: "block",
    enabled: true,
    rateLimit: { characteristics, period: 60, requestsPerPeriod: 50, mitigationTimeout: 600 },
  },
  {
    ref: "ctm-limit-api",
    description: "api: 100 requests a minute for all of the API",
    expression: 'starts_with(http.request.uri.path, "/api/")',
    action: "block",
    enabled: true,
    rateLimit: { characteristics, period: 60, requestsPerPeriod: 100, mitigationTimeout: 300 },
  },
  {
    ref: "ctm-limit-burst",
    description: "burst: 20 requests in ten seconds, whatever they are for",
    expression: 'starts_with(http.request.uri.path, "/")',
    action: "block",
    enabled: true,
    rateLimit: { characteristics, period: 10, requestsPerPeriod: 20, mitigationTimeout: 60 },
  },
];
