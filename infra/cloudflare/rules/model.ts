/** A zone's plan: it decides which fields, functions, operators, counts and times rules may use. */
export const plans = ["free", "pro", "business", "enterprise"] as const;
export type Plan = (typeof plans)[number];

/** What a rule does with a request that it matches. `log` lets it pass on to the next rule. */
type Action = "block" | "managed_challenge" | "js_challenge" | "challenge" | "log";

/** A rule of the phase `http_request_firewall_custom`. */
export interface Rule {
  /** Names the rule across changes: Cloudflare keeps a rule's id where its ref stays. */
  ref: string;
  description: string;
  /** In the rules language, at most `longestExpression` characters. */
  expression: string;
  action: Action;
  enabled: boolean;
}

/** A rule of the phase `http_ratelimit`. */
export interface RateLimitRule extends Rule {
  rateLimit: {
    /** What requests are counted by; `cf.colo.id` is always among them. */
    characteristics: readonly string[];
    /** Length of the window, seconds. */
    period: number;
    /** Requests within the window that pass; the next one starts the mitigation. */
    requestsPerPeriod: number;
    /** Seconds for which the action lasts from then on. */
    mitigationTimeout: number;
  };
}

/** A rule of the phase `http_request_firewall_managed`, which executes a ruleset of Cloudflare's. */
export interface ManagedRule {
  ref: string;
  description: string;
  expression: string;
  action: "execute";
  enabled: boolean;
  /** Id of the ruleset: `action_parameters.id`. */
  rulesetId: string;
}

/** All rules of a zone, by the phase that they belong to, each in the order in which they run. */
export interface ZoneRules {
  custom: Rule[];
  rateLimits: RateLimitRule[];
  managed: ManagedRule[];
}
