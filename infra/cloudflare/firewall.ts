import * as pulumi from "@pulumi/pulumi";
import { Ruleset } from "@pulumi/cloudflare/ruleset.js";
import type { ZoneRules } from "./rules/index.ts";
import type { CloudflareSettings } from "./settings.ts";

export interface FirewallArguments {
  settings: CloudflareSettings;
  rules: ZoneRules;
}

/** Which requests are refused before anything of ours sees them, and how many of one client. */
export class Firewall extends pulumi.ComponentResource {
  readonly rulesets: Ruleset[];

  constructor(
    name: string,
    { settings: { zoneId, hostname }, rules }: FirewallArguments,
    options: pulumi.ComponentResourceOptions = {},
  ) {
    super("ctm:cloudflare:Firewall", name, {}, options);
    const ruleset = (resource: string, phase: string, phaseRules: RulesetRules): Ruleset[] => {
      // A ruleset without rules is one that somebody else may want to make.
      if (phaseRules.length === 0) return [];
      return [
        new Ruleset(
          resource,
          {
            zoneId,
            kind: "zone",
            phase,
            name: `ctm ${resource}`,
            description: `ctm: ${hostname}`,
            rules: phaseRules,
          },
          // A zone has one ruleset a phase: a second one, made before the first is gone, is refused.
          { parent: this, deleteBeforeReplace: true },
        ),
      ];
    };
    this.rulesets = [
      ...ruleset(
        "custom-rules",
        "http_request_firewall_custom",
        rules.custom.map(({ ref, description, enabled, expression, action }) => ({
          ref,
          description,
          enabled,
          expression,
          action,
        })),
      ),
      ...ruleset(
        "rate-limits",
        "http_ratelimit",
        rules.rateLimits.map(({ ref, description, enabled, expression, action, rateLimit }) => ({
          ref,
          description,
          enabled,
          expression,
          action,
          ratelimit: {
            characteristics: [...rateLimit.characteristics],
            period: rateLimit.period,
            requestsPerPeriod: rateLimit.requestsPerPeriod,
            mitigationTimeout: rateLimit.mitigationTimeout,
          },
        })),
      ),
      ...ruleset(
        "managed-rules",
        "http_request_firewall_managed",
        rules.managed.map(({ ref, description, enabled, expression, action, rulesetId }) => ({
          ref,
          description,
          enabled,
          expression,
          action,
          actionParameters: { id: rulesetId },
        })),
      ),
    ];
    this.registerOutputs({});
  }
}

type RulesetRules = Extract<
  NonNullable<ConstructorParameters<typeof Ruleset>[1]["rules"]>,
  readonly unknown[]
>;
