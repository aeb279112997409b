import { z } from "zod";
import type { Configuration } from "../config.ts";
import { CloudflareClient } from "./cloudflare-client.ts";

/** A resource whose creation a killed run had begun. */
export interface Unfinished {
  /** Pulumi's type. */
  type: string;
  inputs: Readonly<Record<string, unknown>>;
}

const named = z.looseObject({ id: z.string(), name: z.string().nullish() });
const application = z.looseObject({ id: z.string(), domain: z.string().nullish() });
const ruleset = z.looseObject({ id: z.string(), name: z.string(), phase: z.string() });
const tunnel = z.looseObject({
  id: z.string(),
  name: z.string(),
  deleted_at: z.string().nullish(),
});
const bucket = z.looseObject({ name: z.string() });

/** A client with the configuration's own token; undefined where it has no edge. */
export function clientOf(
  { cloudflare, cloudflareToken }: Configuration,
  signal: AbortSignal,
): CloudflareClient | undefined {
  if (cloudflare === undefined || cloudflareToken === undefined) return undefined;
  return new CloudflareClient({ token: cloudflareToken, baseUrl: cloudflare.baseUrl, signal });
}

/**
 * The id of what a killed run made at Cloudflare without learning of it; undefined where there is
 * nothing. Most things may exist twice under one name there, so that making it again would leave
 * two. A service token's secret was shown to the killed run alone: such a one is deleted instead,
 * and made again.
 *
 * @throws CtmError those of CloudflareClient
 */
export async function findExisting(
  { type, inputs }: Unfinished,
  client: CloudflareClient,
): Promise<string | undefined> {
  const account = `/accounts/${String(inputs["accountId"])}`;
  const zone = `/zones/${String(inputs["zoneId"])}`;
  const name = String(inputs["name"]);
  switch (type) {
    case "cloudflare:index/zeroTrustAccessPolicy:ZeroTrustAccessPolicy":
      return idOf(await client.list(`${account}/access/policies`, named), name);
    case "cloudflare:index/zeroTrustAccessServiceToken:ZeroTrustAccessServiceToken": {
      const path = `${account}/access/service_tokens`;
      const id = idOf(await client.list(path, named), name);
      if (id !== undefined) await client.delete(`${path}/${id}`);
      return undefined;
    }
    case "cloudflare:index/zeroTrustAccessApplication:ZeroTrustAccessApplication": {
      const found = await client.list(`${account}/access/apps`, application);
      return found.find(({ domain }) => domain === inputs["domain"])?.id;
    }
    case "cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared": {
      const found = await client.list(`${account}/cfd_tunnel`, tunnel, {
        name,
        is_deleted: "false",
      });
      return found.find((one) => one.name === name && (one.deleted_at ?? null) === null)?.id;
    }
    case "cloudflare:index/dnsRecord:DnsRecord":
      return idOf(
        await client.list(`${zone}/dns_records`, named, { name, type: String(inputs["type"]) }),
        name,
      );
    case "cloudflare:index/ruleset:Ruleset": {
      const found = await client.list(`${zone}/rulesets`, ruleset);
      return found.find((one) => one.name === name && one.phase === inputs["phase"])?.id;
    }
    case "cloudflare:index/r2Bucket:R2Bucket":
      return (await client.find(`${account}/r2/buckets/${name}`, bucket))?.name;
    case "cloudflare:index/notificationPolicy:NotificationPolicy":
      return idOf(await client.list(`${account}/alerting/v3/policies`, named), name);
    default:
      // Settings, configurations and rules of a bucket are put where they are: once is as twice.
      return undefined;
  }
}

function idOf(found: readonly z.infer<typeof named>[], name: string): string | undefined {
  return found.find((one) => one.name === name)?.id;
}
