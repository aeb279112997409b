import { expect, it } from "vitest";
import { planProblems } from "./check-plan.ts";
import { plans, type Plan, type RateLimitRule, type Rule } from "./index.ts";

const rule = (expression: string, changes: Partial<Rule> = {}): Rule => ({
  ref: "r",
  description: "",
  expression,
  action: "block",
  enabled: true,
  ...changes,
});
const limit = (
  rateLimit: Partial<RateLimitRule["rateLimit"]>,
  changes: Partial<Rule> = {},
): RateLimitRule => ({
  ...rule('starts_with(http.request.uri.path, "/")', changes),
  rateLimit: {
    characteristics: ["cf.colo.id", "ip.src"],
    period: 10,
    requestsPerPeriod: 20,
    mitigationTimeout: 10,
    ...rateLimit,
  },
});
const ofCustom = (plan: Plan, ...custom: Rule[]): string[] =>
  planProblems(plan, { custom, rateLimits: [] });
const ofLimits = (plan: Plan, ...rateLimits: RateLimitRule[]): string[] =>
  planProblems(plan, { custom: [], rateLimits });

/** From which plan on an expression, action or limit may be used, and what is said below it. */
it.each<[what: Rule, from: Plan, problem: string]>([
  [rule("ssl"), "free", ""],
  [
    rule('http.host matches "a"'),
    "business",
    "r: the operator matches needs the plan business; nearest: wildcard, contains and lengths",
  ],
  [
    rule('any(lower(http.request.headers["a"][*])[*] matches "a")'),
    "business",
    "r: the operator matches needs the plan business; nearest: wildcard, contains and lengths",
  ],
  [
    rule('lower(http.request.body.raw) contains "a"'),
    "enterprise",
    "r: the field http.request.body.raw needs the plan enterprise; nearest: http.request.uri.query and http.request.headers",
  ],
  [
    rule("not (ssl and http.request.body.size gt 5)"),
    "enterprise",
    'r: the field http.request.body.size needs the plan enterprise; nearest: http.request.headers["content-length"]',
  ],
  [
    rule('any(http.request.cookies["a"][*] eq "b")'),
    "pro",
    "r: the field http.request.cookies needs the plan pro; nearest: http.cookie",
  ],
  [
    rule('cf.waf.score.class eq "attack"'),
    "business",
    "r: the field cf.waf.score.class needs the plan business; nearest: a rule without it",
  ],
  [
    rule("cf.threat_score lt cf.waf.score"),
    "enterprise",
    "r: the field cf.waf.score needs the plan enterprise; nearest: a rule without it",
  ],
  [
    rule('is_timed_hmac_valid_v0("k", http.request.uri, 10, http.request.timestamp.sec)'),
    "pro",
    "r: the function is_timed_hmac_valid_v0 needs the plan pro; nearest: a header's shape",
  ],
  [
    rule("ssl", { action: "log" }),
    "enterprise",
    "r: the action log needs the plan enterprise; nearest: the action block",
  ],
])("%j may be used from %s on", (one, from, problem) => {
  for (const plan of plans) {
    const wanted = plans.indexOf(plan) < plans.indexOf(from) ? [problem] : [];
    expect(ofCustom(plan, one), plan).toEqual(wanted);
  }
});

it.each<[expression: string, problem: string]>([
  [
    "http.response.code eq 200",
    "r: the field http.response.code is not known before the response; nearest: a field of the request",
  ],
  [
    'regex_replace(http.host, "a", "b") eq "c"',
    "r: the function regex_replace cannot be called in a custom rule; nearest: the field itself",
  ],
  [
    `http.host eq "${"a".repeat(4096)}"`,
    "r: its expression has 4111 characters, at most 4096 are allowed; nearest: two rules",
  ],
])("no plan has %s", (expression, problem) => {
  for (const plan of plans) expect(ofCustom(plan, rule(expression)), plan).toEqual([problem]);
});

it.each<[plan: Plan, custom: number, limits: number]>([
  ["free", 5, 1],
  ["pro", 20, 2],
  ["business", 100, 5],
  ["enterprise", 1000, 100],
])("%s holds %i custom rules and %i rate limits, and not one more", (plan, custom, limits) => {
  const rules = (count: number): Rule[] =>
    Array.from({ length: count }, (_, index) => rule("ssl", { ref: `r${index}` }));
  const rateLimits = (count: number): RateLimitRule[] =>
    Array.from({ length: count }, (_, index) => limit({}, { ref: `r${index}` }));
  expect(ofCustom(plan, ...rules(custom))).toEqual([]);
  expect(ofCustom(plan, ...rules(custom + 1))).toEqual([
    `r${custom}: the plan ${plan} holds ${custom} custom rules, not ${custom + 1}; nearest: some of them merged`,
  ]);
  expect(ofLimits(plan, ...rateLimits(limits))).toEqual([]);
  expect(ofLimits(plan, ...rateLimits(limits + 1))).toEqual([
    `r${limits}: the plan ${plan} holds ${limits} rate limits, not ${limits + 1}; nearest: some of them merged`,
  ]);
});

it.each<[plan: Plan, longestPeriod: number, longestMitigation: number]>([
  ["free", 10, 10],
  ["pro", 60, 3600],
  ["business", 600, 86_400],
  ["enterprise", 65_535, 86_400],
])("%s counts over %i s and mitigates for %i s at most", (plan, period, mitigationTimeout) => {
  expect(ofLimits(plan, limit({ period, mitigationTimeout }))).toEqual([]);
  expect(ofLimits(plan, limit({ period: period + 1 }))).toHaveLength(1);
  expect(ofLimits(plan, limit({ mitigationTimeout: mitigationTimeout + 1 }))).toHaveLength(1);
});

it("a challenge throttles below enterprise, and a block mitigates", () => {
  const challenge = { action: "managed_challenge" } as const;
  for (const plan of ["free", "pro", "business"] as const) {
    expect(ofLimits(plan, limit({ mitigationTimeout: 0 }, challenge)), plan).toEqual([]);
    expect(ofLimits(plan, limit({ mitigationTimeout: 10 }, challenge)), plan).toEqual([
      "r: below enterprise a challenge has no mitigation time, not 10 s; nearest: 0 s",
    ]);
    expect(ofLimits(plan, limit({ mitigationTimeout: 0 })), plan).toEqual([
      "r: below enterprise a block has a mitigation time, not 0 s; nearest: 10 s",
    ]);
  }
  expect(ofLimits("enterprise", limit({ mitigationTimeout: 60 }, challenge))).toEqual([]);
  expect(ofLimits("enterprise", limit({ mitigationTimeout: 0 }))).toEqual([]);
});

it("requests are counted by data centre, and by more than the address on enterprise only", () => {
  expect(ofLimits("enterprise", limit({ characteristics: ["ip.src"] }))).toEqual([
    "r: requests are counted in each data centre, by cf.colo.id; nearest: cf.colo.id added",
  ]);
  const byKey = limit({ characteristics: ["cf.colo.id", 'http.request.headers["x-api-key"]'] });
  expect(ofLimits("enterprise", byKey)).toEqual([]);
  for (const plan of ["free", "pro", "business"] as const) {
    expect(ofLimits(plan, byKey), plan).toEqual([
      `r: the plan ${plan} counts by ip.src, not by http.request.headers["x-api-key"]; nearest: ip.src`,
    ]);
  }
});

it.each<[expression: string, from: Plan]>([
  ['http.request.uri.path eq "/"', "free"],
  ['http.host eq "a"', "pro"],
  ['http.request.uri.query contains "a"', "pro"],
  ['http.request.method eq "POST"', "business"],
  ["ip.src eq 1.2.3.4", "business"],
  ['any(http.request.headers["a"][*] eq "b")', "enterprise"],
])("a limit may be for %s from %s on", (expression, from) => {
  for (const plan of plans) {
    const isBelow = plans.indexOf(plan) < plans.indexOf(from);
    expect(ofLimits(plan, limit({}, { expression })).length > 0, plan).toBe(isBelow);
  }
});
