/** A zone's plan: it decides which fields, functions, operators, counts and times rules may use. */
export const plans = ["free", "pro", "business", "enterprise"] as const;
export type Plan = (typeof plans)[number];

/** What a rule does with a request that it matches. `log` lets it pass on to the next rule. */
export type Action = "block" | "managed_challenge" | "js_challenge" | "challenge" | "log";

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

/** A request as it reaches the edge. Text is what the client sent: nothing is decoded. */
export interface EdgeRequest {
  method: string;
  host: string;
  /** Of the request target, up to the question mark. */
  path: string;
  /** What follows the question mark, without it. */
  query: string;
  /** Names in any case; a list where a header came more than once. */
  headers: Readonly<Record<string, string | readonly string[]>>;
  /** UTF-8 where it is text. */
  body: string | Uint8Array;
  /** Address of the client. */
  ip: string;
  /** ISO 3166-1 alpha-2; `T1` for Tor, `XX` where unknown. */
  country: string;
  /** Number of the client's autonomous system. */
  asn: number;
  scheme: "https" | "http";
  /** Milliseconds since 1970. */
  time: number;
}

/** What the edge does with a request: by which rule, or null where none stopped it. */
export interface Verdict {
  action: "allow" | Exclude<Action, "log">;
  ref: string | null;
  /** Refs of the log rules that saw the request before that. */
  logged: string[];
}
