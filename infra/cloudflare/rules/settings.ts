import type { CloudflareSettings } from "../settings.ts";

/** What the rules of a zone are made from. */
export type RuleSettings = Pick<
  CloudflareSettings,
  | "plan"
  | "hostname"
  | "countries"
  | "blockedNetworks"
  | "maximumBodyBytes"
  | "managedRules"
  | "rateLimits"
  | "mayDegrade"
  | "lockdown"
>;
