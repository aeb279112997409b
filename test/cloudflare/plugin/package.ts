import { z } from "zod";
import manifest from "../../../package.json" with { type: "json" };
import type { ServedPackage } from "../../../infra/provider/server.ts";
import { CloudflareClient } from "./client.ts";
import { resourceTypes } from "./resource-types.ts";

const configuration = z.looseObject({
  apiToken: z.string().regex(/^[0-9A-Za-z_-]{40,80}$/),
  baseUrl: z.url().default("https://api.cloudflare.com/client/v4"),
});

const tunnelToken =
  "cloudflare:index/getZeroTrustTunnelCloudflaredToken:getZeroTrustTunnelCloudflaredToken";

/**
 * Stands in for the official Cloudflare plugin, which no package registry serves: for the resource
 * types in use it sends the calls that were recorded of the official one.
 *
 * What it leaves out: the official one's retries, and its nulls for strings that a program drops.
 */
export function cloudflarePackage(): ServedPackage {
  let client: CloudflareClient | undefined;
  const connected = (): CloudflareClient => {
    if (client === undefined) throw new Error("the provider was not configured");
    return client;
  };
  return {
    name: "cloudflare",
    version: manifest.dependencies["@pulumi/cloudflare"],
    types: resourceTypes(connected),
    deleteBeforeReplace: false,
    configure(inputs) {
      const { apiToken, baseUrl } = configuration.parse(inputs);
      client = new CloudflareClient(baseUrl, apiToken);
    },
    functions: {
      async [tunnelToken]({ accountId, tunnelId }) {
        const path = `/accounts/${String(accountId)}/cfd_tunnel/${String(tunnelId)}/token`;
        return { accountId, tunnelId, id: tunnelId, token: await connected().call("GET", path) };
      },
    },
  };
}
