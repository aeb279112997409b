import type { Plan } from "./model.ts";

/** What the rules of a zone are made from. */
export interface RuleSettings {
  plan: Plan;
  /** The API's host name: requests for other names of the zone are left alone. */
  hostname: string;
  /**
   * What happens to a rule that the plan cannot hold: `refuse` is an error that names it, `degrade`
   * takes the nearest form that the plan can hold.
   */
  beyondPlan: "refuse" | "degrade";
  /** Countries (ISO 3166-1 alpha-2) that requests may come from; an empty list allows all. */
  allowedCountries: readonly string[];
  /** Autonomous systems that are blocked. */
  blockedAsns: readonly number[];
  /** Largest request body, bytes; the API's own limit. */
  maxBodyBytes: number;
  /** Whether the source's third rule, which logs use of the admin paths, is wanted (Enterprise). */
  logAdminPaths: boolean;
  /** Whether Cloudflare's managed rulesets are executed, as far as the plan has them. */
  managedRulesets: boolean;
  /** For the time of an attack: until then, only these addresses and ranges reach the API. */
  lockdown: { until: Date; allowedAddresses: readonly string[] } | null;
}
