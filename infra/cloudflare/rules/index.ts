/** The rules of the edge: what they are, in Cloudflare's language, and what they do to a request. */
export {
  plans,
  type ManagedRule,
  type Plan,
  type RateLimitRule,
  type Rule,
  type ZoneRules,
} from "./model.ts";
export type { RuleSettings } from "./settings.ts";
export { zoneRules } from "./zone-rules.ts";
