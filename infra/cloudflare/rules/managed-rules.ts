import { isForHost } from "./endpoints.ts";
import { and, bytes, equals } from "./language/build.ts";
import { printExpression } from "./language/print.ts";
import type { ManagedRule } from "./model.ts";
import type { RuleSettings } from "./settings.ts";

/**
 * Cloudflare's managed rulesets (https://developers.cloudflare.com/waf/managed-rules/). The
 * source's third, the check for exposed credentials, is for pages with a login, and deprecated.
 */
const rulesets = {
  free: [["free", "Cloudflare Free Managed Ruleset", "77454fe2d30c4220b5701f6fdfb893ba"]],
  paid: [
    ["cloudflare", "Cloudflare Managed Ruleset", "efb7b8c949ac4650a09736fc376e9aee"],
    ["owasp", "Cloudflare OWASP Core Ruleset", "4814384a9e5d4991b9815dcfc25d2f1f"],
  ],
} as const;

/**
 * Executed for what reads. Tasks are full of code and SQL, which rulesets made for any website
 * would block, and which the API only ever passes on as parameters.
 */
export function managedRules({
  plan,
  hostname,
  managedRules: wanted,
}: RuleSettings): ManagedRule[] {
  if (!wanted) return [];
  const { expression } = and(isForHost(hostname), equals(bytes("http.request.method"), "GET"));
  return rulesets[plan === "free" ? "free" : "paid"].map(([name, description, rulesetId]) => ({
    ref: `ctm-managed-${name}`,
    description,
    expression: printExpression(expression),
    action: "execute",
    enabled: true,
    rulesetId,
  }));
}
