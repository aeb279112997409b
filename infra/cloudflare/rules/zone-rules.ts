import type { ZoneRules } from "./model.ts";
import { rateLimits } from "./rate-limits.ts";
import type { RuleSettings } from "./settings.ts";

/** The rules of a zone, ready to be sent to Cloudflare. */
export function zoneRules(_settings: RuleSettings): ZoneRules {
  return { custom: [], rateLimits: [...rateLimits], managed: [] };
}
