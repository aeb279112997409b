import { cloudflareSchema, type CloudflareSettings } from "../settings.ts";

/** The keys that must be set; what they name is made up. */
export const leastSettings = {
  accountId: "a".repeat(31) + "1",
  zoneId: "b".repeat(31) + "2",
  zoneName: "example.com",
  plan: "business",
  hostname: "api.example.com",
  team: "example",
  admins: { emailDomains: ["example.com"] },
} as const;

/** Settings as the configuration gives them, with everything unnamed at its default. */
export function exampleSettings(
  changes: Readonly<Record<string, unknown>> = {},
): CloudflareSettings {
  return cloudflareSchema.parse({ ...leastSettings, ...changes });
}
