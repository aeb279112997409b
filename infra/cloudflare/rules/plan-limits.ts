import type { Plan } from "./model.ts";

/** What a plan's rules may be. */
interface PlanLimits {
  customRules: number;
  rateLimitRules: number;
  /** Longest counting period and mitigation of a rate limit, seconds. */
  longestPeriod: number;
  longestMitigation: number;
  /** Fields beyond `ip.src` that rate limits may count by. */
  countsByMore: boolean;
  /** Whether the operator `matches` exists. */
  patterns: boolean;
  /** Whether request bodies can be read, rules can log, and every field serves rate limits. */
  enterprise: boolean;
  /** Fields of a rate limit's expression; undefined for all. */
  rateLimitFields: ReadonlySet<string> | undefined;
}

const pathOnly = ["http.request.uri.path"];
const wholeUri = [
  ...pathOnly,
  "http.host",
  "http.request.uri",
  "http.request.full_uri",
  "http.request.uri.query",
];

/**
 * https://developers.cloudflare.com/waf/custom-rules/#availability and
 * https://developers.cloudflare.com/waf/rate-limiting-rules/#availability
 */
export const planLimits: Readonly<Record<Plan, PlanLimits>> = {
  free: {
    customRules: 5,
    rateLimitRules: 1,
    longestPeriod: 10,
    longestMitigation: 10,
    countsByMore: false,
    patterns: false,
    enterprise: false,
    rateLimitFields: new Set(pathOnly),
  },
  pro: {
    customRules: 20,
    rateLimitRules: 2,
    longestPeriod: 60,
    longestMitigation: 3600,
    countsByMore: false,
    patterns: false,
    enterprise: false,
    rateLimitFields: new Set(wholeUri),
  },
  business: {
    customRules: 100,
    rateLimitRules: 5,
    longestPeriod: 600,
    longestMitigation: 86_400,
    countsByMore: false,
    patterns: true,
    enterprise: false,
    rateLimitFields: new Set([...wholeUri, "http.request.method", "ip.src", "http.user_agent"]),
  },
  enterprise: {
    customRules: 1000,
    rateLimitRules: 100,
    longestPeriod: 65_535,
    longestMitigation: 86_400,
    countsByMore: true,
    patterns: true,
    enterprise: true,
    rateLimitFields: undefined,
  },
};

/** Longest text of one expression, characters. */
export const longestExpression = 4096;

/** Periods and mitigations that the API takes, seconds. */
export const periods = [10, 60, 120, 300, 600, 3600] as const;
export const mitigations = [0, ...periods, 86_400] as const;
