/** The rules of the edge: what they are, in Cloudflare's language, and what they do to a request. */
export { readAccessLog } from "./access-log.ts";
export { compileRules } from "./evaluate.ts";
export {
  plans,
  type EdgeRequest,
  type Plan,
  type RateLimitRule,
  type Rule,
  type Verdict,
  type ZoneRules,
} from "./model.ts";
export type { RuleSettings } from "./settings.ts";
export { simulateRateLimits, type Simulation } from "./simulate.ts";
export { zoneRules } from "./zone-rules.ts";
