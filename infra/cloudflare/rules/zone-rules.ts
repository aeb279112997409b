import { CtmError } from "#system";
import { planProblems } from "./check-plan.ts";
import { nearestCustomRules, wantedCustomRules } from "./custom-rules.ts";
import { managedRules } from "./managed-rules.ts";
import type { ZoneRules } from "./model.ts";
import { nearestRateLimits, wantedRateLimits } from "./rate-limits.ts";
import type { RuleSettings } from "./settings.ts";

/**
 * The rules of a zone, ready to be sent to Cloudflare: as they should be, or, where the settings
 * allow it, in the nearest form that the plan can hold.
 *
 * @throws CtmError `plan-too-small` (exit 2), naming each rule, its limit and the nearest form
 */
export function zoneRules(settings: RuleSettings): ZoneRules {
  const { plan, mayDegrade } = settings;
  const rules = {
    custom: mayDegrade.customRules ? nearestCustomRules(settings) : wantedCustomRules(settings),
    rateLimits: mayDegrade.rateLimits ? nearestRateLimits(settings) : wantedRateLimits(settings),
    managed: managedRules(settings),
  };
  const problems = planProblems(plan, rules);
  if (settings.managedRules && plan === "free" && !mayDegrade.managedRules) {
    problems.push(
      "managed rules: the plan free has one ruleset; nearest: the Cloudflare Free Managed Ruleset",
    );
  }
  if (problems.length === 0) return rules;
  throw new CtmError("plan-too-small", problems.join("\n"), {
    next: "allow the nearest forms with ctm:cloudflare.mayDegrade, change the settings, or choose a larger plan",
    exitCode: 2,
  });
}
