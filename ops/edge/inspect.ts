import { z } from "zod";
import {
  declaredPolicies,
  declaredTokens,
  declaredZoneSettings,
  tokenName,
} from "../../infra/cloudflare/declared.ts";
import { zoneRules, type RateLimitRule, type Rule } from "../../infra/cloudflare/rules/index.ts";
import type { CloudflareSettings } from "../../infra/cloudflare/settings.ts";
import { CtmError } from "#system";
import { countText } from "../text.ts";
import type { CloudflareClient } from "../../infra/cloudflare/cloudflare-client.ts";
import { differencesOf } from "./differences.ts";

/** One part of the edge that was looked at. */
export interface Finding {
  part: Part;
  ok: boolean;
  message: string;
  /** What to do; null when it is well. */
  next: string | null;
}

/** A service token that ends sooner is a problem: clients need time to change. */
const leastTokenDays = 14;

const anything = z.looseObject({});
const tunnelShape = z.looseObject({
  id: z.string(),
  status: z.string().nullish(),
  config_src: z.string().nullish(),
});
const configurationShape = z.looseObject({
  config: z.looseObject({ ingress: z.array(anything).nullish() }).nullish(),
});
const recordShape = z.looseObject({ type: z.string(), content: z.string().nullish() });
const applicationShape = z.looseObject({
  id: z.string(),
  domain: z.string().nullish(),
  aud: z.string(),
  policies: z.array(z.looseObject({ id: z.string() })).nullish(),
});
const policyShape = z.looseObject({ id: z.string(), name: z.string() });
const serviceTokenShape = z.looseObject({
  id: z.string(),
  name: z.string(),
  expires_at: z.string().nullish(),
});
const rulesetShape = z.looseObject({ rules: z.array(anything).nullish() });
const zoneSettingShape = z.looseObject({ value: z.unknown() });
const bucketShape = z.looseObject({ name: z.string(), location: z.string().nullish() });

type Inspection = (
  client: CloudflareClient,
  settings: CloudflareSettings,
  now: Date,
) => Promise<string[]>;

/** Parts of the edge, by the names under which they are shown. */
export type Part = "tunnel" | "name" | "access" | "service tokens" | "rules" | "zone" | "bucket";

const everyPart: readonly Part[] = [
  "tunnel",
  "name",
  "access",
  "service tokens",
  "rules",
  "zone",
  "bucket",
];

/** Where `up` is not what mends a part. */
const nextSteps: Partial<Record<Part, string>> = {
  tunnel: "ctm logs cloudflared, and npm run up",
  "service tokens": "npm run up, and ctm edge rotate-token for one that ends",
};

/** What Cloudflare holds, against what the settings declare; a part that cannot be read is one too. */
export async function inspectEdge(
  client: CloudflareClient,
  settings: CloudflareSettings,
  now: Date,
  parts: readonly Part[] = everyPart,
): Promise<Finding[]> {
  const inspections: Record<Part, Inspection> = {
    tunnel: inspectTunnel,
    name: inspectName,
    access: inspectAccess,
    "service tokens": inspectServiceTokens,
    rules: inspectRules,
    zone: inspectZone,
    bucket: inspectBucket,
  };
  const declared = parts.filter((part) => part !== "bucket" || settings.bucket !== undefined);
  return await Promise.all(
    declared.map(async (part): Promise<Finding> => {
      const inspect = inspections[part];
      try {
        const problems = await inspect(client, settings, now);
        return problems.length === 0
          ? { part, ok: true, message: "as declared", next: null }
          : {
              part,
              ok: false,
              message: problems.join("\n"),
              next: nextSteps[part] ?? "npm run up",
            };
      } catch (error) {
        if (!(error instanceof CtmError)) throw error;
        return { part, ok: false, message: error.message, next: error.next ?? "ctm edge status" };
      }
    }),
  );
}

/**
 * Asks Cloudflare whether it took a change.
 *
 * @throws CtmError with the code `otherwise` and the first part that is not as declared
 */
export async function requireAsDeclared(
  client: CloudflareClient,
  settings: CloudflareSettings,
  { parts, otherwise }: { parts: readonly Part[]; otherwise: string },
): Promise<void> {
  const findings = await inspectEdge(client, settings, new Date(), parts);
  const wrong = findings.find(({ ok }) => !ok);
  if (wrong !== undefined) throw new CtmError(otherwise, wrong.message, { next: "npm run up" });
}

const inspectTunnel: Inspection = async (client, settings) => {
  const { accountId, hostname } = settings;
  const path = `/accounts/${accountId}/cfd_tunnel`;
  const tunnels = await client.list(path, tunnelShape, { name: hostname, is_deleted: "false" });
  const [tunnel] = tunnels;
  if (tunnel === undefined) return [`no tunnel is named ${hostname}`];
  if (tunnels.length > 1) return [`${tunnels.length} tunnels are named ${hostname}`];
  const configuration = await client.find(
    `${path}/${tunnel.id}/configurations`,
    configurationShape,
  );
  const [entry, last, ...others] = configuration?.config?.ingress ?? [];
  const foreign = others.map((one) => `the tunnel leads elsewhere too: ${JSON.stringify(one)}`);
  return [
    ...(tunnel.status === "healthy" ? [] : [`its status is ${tunnel.status ?? "unknown"}`]),
    ...differencesOf(
      { hostname, originRequest: { access: { required: true, teamName: settings.team } } },
      entry,
      "ingress[0]",
    ),
    ...differencesOf({ service: "http_status:404" }, last, "ingress[1]"),
    ...foreign,
  ];
};

const inspectName: Inspection = async (client, { accountId, zoneId, hostname }) => {
  const [records, tunnels] = await Promise.all([
    client.list(`/zones/${zoneId}/dns_records`, recordShape, { name: hostname }),
    client.list(`/accounts/${accountId}/cfd_tunnel`, tunnelShape, {
      name: hostname,
      is_deleted: "false",
    }),
  ]);
  const [record, ...others] = records;
  if (record === undefined) return [`${hostname} has no DNS record`];
  return [
    ...differencesOf(
      { type: "CNAME", content: `${tunnels[0]?.id}.cfargotunnel.com`, proxied: true },
      record,
      hostname,
    ),
    // An address beside the tunnel is a way around Cloudflare, or a leak of where it is.
    ...others.map(({ type, content }) => `${hostname} has another record: ${type} ${content}`),
  ];
};

const inspectAccess: Inspection = async (client, settings) => {
  const { accountId, hostname } = settings;
  const [applications, policies, tokens] = await Promise.all([
    client.list(`/accounts/${accountId}/access/apps`, applicationShape),
    client.list(`/accounts/${accountId}/access/policies`, policyShape),
    client.list(`/accounts/${accountId}/access/service_tokens`, serviceTokenShape),
  ]);
  // A longer domain is a door of its own, with policies of its own, before a part of the API.
  const ours = applications.filter(
    ({ domain }) => domain === hostname || domain?.startsWith(`${hostname}/`) === true,
  );
  const [application] = ours.filter(({ domain }) => domain === hostname);
  if (application === undefined) return [`no Access application guards ${hostname}`];
  const nameOfToken = new Map(tokens.map(({ id, name }) => [id, name]));
  const found = (application.policies ?? []).map(({ id }) =>
    withTokenNames(
      policies.find((policy) => policy.id === id),
      nameOfToken,
    ),
  );
  return [
    ...differencesOf({ type: "self_hosted" }, application, "application"),
    ...differencesOf(
      declaredPolicies(settings).map(([, policy]) => policy),
      found,
      "policies",
    ),
    ...ours
      .filter((one) => one !== application)
      .map(({ domain }) => `another Access application guards ${domain}`),
  ];
};

/** A policy with the names of its service tokens instead of their ids. */
function withTokenNames(policy: unknown, names: ReadonlyMap<string, string>): unknown {
  if (policy === undefined) return undefined;
  return JSON.parse(JSON.stringify(policy), (key: string, value: unknown) => {
    if (key !== "service_token") return value;
    const { token_id: id } = z.looseObject({ token_id: z.string() }).parse(value);
    return { name: names.get(id) ?? id };
  });
}

const inspectServiceTokens: Inspection = async (client, settings, now) => {
  const found = await client.list(
    `/accounts/${settings.accountId}/access/service_tokens`,
    serviceTokenShape,
  );
  const declared = declaredTokens(settings).map(({ key }) => tokenName(settings, key));
  const own = found.filter(({ name }) => name.startsWith(tokenName(settings, "")));
  return [
    ...declared
      .filter((name) => !own.some((token) => token.name === name))
      .map((name) => `"${name}" does not exist`),
    ...own
      .filter(({ name }) => !declared.includes(name))
      .map(({ name }) => `"${name}" exists and is not declared`),
    ...own.flatMap(({ name, expires_at: end }) => {
      const days = Math.floor((Date.parse(end ?? "") - now.getTime()) / 86_400_000);
      if (!(days < leastTokenDays)) return [];
      const when = days < 0 ? "has ended" : `ends in ${countText(days, "day")}`;
      return [`"${name}" ${when}`];
    }),
  ];
};

const inspectRules: Inspection = async (client, settings) => {
  const { custom, rateLimits, managed } = zoneRules(settings);
  const phases: [phase: string, rules: object[]][] = [
    ["http_request_firewall_custom", custom.map(inApiWords)],
    ["http_ratelimit", rateLimits.map(limitInApiWords)],
    [
      "http_request_firewall_managed",
      managed.map(({ rulesetId, ...rule }) => ({ ...rule, action_parameters: { id: rulesetId } })),
    ],
  ];
  const found = await Promise.all(
    phases.map(async ([phase, declared]) => {
      const path = `/zones/${settings.zoneId}/rulesets/phases/${phase}/entrypoint`;
      const ruleset = await client.find(path, rulesetShape);
      return differencesOf(declared, ruleset?.rules ?? [], phase);
    }),
  );
  return found.flat();
};

function inApiWords({ ref, description, enabled, expression, action }: Rule): object {
  return { ref, description, enabled, expression, action };
}

function limitInApiWords({ rateLimit, ...rule }: RateLimitRule): object {
  return {
    ...inApiWords(rule),
    ratelimit: {
      characteristics: rateLimit.characteristics,
      period: rateLimit.period,
      requests_per_period: rateLimit.requestsPerPeriod,
      mitigation_timeout: rateLimit.mitigationTimeout,
    },
  };
}

const inspectZone: Inspection = async (client, settings) => {
  const found = await Promise.all(
    Object.entries(declaredZoneSettings(settings)).map(async ([id, declared]) => {
      const setting = await client.find(
        `/zones/${settings.zoneId}/settings/${id}`,
        zoneSettingShape,
      );
      return differencesOf(declared, setting?.value, id);
    }),
  );
  return found.flat();
};

const inspectBucket: Inspection = async (client, { accountId, bucket }) => {
  if (bucket === undefined) return [];
  const path = `/accounts/${accountId}/r2/buckets/${bucket.name}`;
  const [found, lock, lifecycle] = await Promise.all([
    client.find(path, bucketShape),
    client.find(`${path}/lock`, rulesetShape),
    client.find(`${path}/lifecycle`, rulesetShape),
  ]);
  if (found === undefined) return [`there is no bucket ${bucket.name}`];
  const days = (count: number): number => count * 86_400;
  return [
    ...differencesOf(
      [{ enabled: true, condition: { type: "Age", maxAgeSeconds: days(bucket.lockDays) } }],
      ownRules(lock, "keep"),
      "lock",
    ),
    ...differencesOf(
      [
        {
          enabled: true,
          deleteObjectsTransition: {
            condition: { type: "Age", maxAge: days(bucket.deleteAfterDays) },
          },
        },
      ],
      ownRules(lifecycle, "expire"),
      "lifecycle",
    ),
  ];
};

/** Cloudflare adds rules of its own to a bucket, such as one for unfinished uploads. */
function ownRules(found: z.infer<typeof rulesetShape> | undefined, id: string): object[] {
  return (found?.rules ?? []).filter((rule) => rule["id"] === id);
}
