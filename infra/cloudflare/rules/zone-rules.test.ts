import { expect, it } from "vitest";
import {
  plans,
  zoneRules,
  type ManagedRule,
  type Plan,
  type RateLimitRule,
  type Rule,
  type RuleSettings,
  type ZoneRules,
} from "./index.ts";

const settingsOf = (plan: Plan): RuleSettings => ({
  plan,
  hostname: "api.example.com",
  beyondPlan: "refuse",
  allowedCountries: [],
  blockedAsns: [],
  maxBodyBytes: 1_048_576,
  logAdminPaths: false,
  managedRulesets: true,
  lockdown: null,
});

it("has the document's three limits, with the source's mitigation times", () => {
  const numbers = ({ ref, rateLimit }: RateLimitRule): unknown => [
    ref,
    rateLimit.requestsPerPeriod,
    rateLimit.period,
    rateLimit.mitigationTimeout,
  ];
  expect(zoneRules(settingsOf("business")).rateLimits.map(numbers)).toEqual([
    ["ctm-limit-database", 50, 60, 600],
    ["ctm-limit-api", 100, 60, 300],
    ["ctm-limit-burst", 20, 10, 60],
  ]);
});

it.each(plans)("names every rule once on %s", (plan) => {
  const { custom, rateLimits, managed }: ZoneRules = zoneRules(settingsOf(plan));
  const all: readonly (Rule | ManagedRule)[] = [...custom, ...rateLimits, ...managed];
  expect(new Set(all.map(({ ref }) => ref)).size).toBe(all.length);
});
