import * as pulumi from "@pulumi/pulumi";
import { DnsRecord } from "@pulumi/cloudflare/dnsRecord.js";
import { getZeroTrustTunnelCloudflaredTokenOutput } from "@pulumi/cloudflare/getZeroTrustTunnelCloudflaredToken.js";
import { ZeroTrustTunnelCloudflared } from "@pulumi/cloudflare/zeroTrustTunnelCloudflared.js";
import { ZeroTrustTunnelCloudflaredConfig } from "@pulumi/cloudflare/zeroTrustTunnelCloudflaredConfig.js";
import type { CloudflareSettings } from "./settings.ts";

export interface TunnelArguments {
  settings: CloudflareSettings;
  /** What the tunnel leads to, and nothing else: the API's own address. */
  origin: pulumi.Input<string>;
  /** The audience that cloudflared demands of every request's token. */
  audience: pulumi.Input<string>;
  /** What must guard the hostname before it can be reached. */
  guards: pulumi.Resource[];
}

/** The only way to the API from outside: cloudflared dials out, and Cloudflare sends requests in. */
export class Tunnel extends pulumi.ComponentResource {
  /** Secret: whoever holds it can stand in for this machine. */
  readonly token: pulumi.Output<string>;

  constructor(name: string, args: TunnelArguments, options: pulumi.ComponentResourceOptions = {}) {
    super("ctm:cloudflare:Tunnel", name, {}, options);
    const { accountId, zoneId, hostname, team } = args.settings;
    const tunnel = new ZeroTrustTunnelCloudflared(
      "tunnel",
      { accountId, name: hostname, configSrc: "cloudflare" },
      { parent: this },
    );
    const configuration = new ZeroTrustTunnelCloudflaredConfig(
      "configuration",
      {
        accountId,
        tunnelId: tunnel.id,
        config: {
          ingresses: [
            {
              hostname,
              service: args.origin,
              // cloudflared refuses what lacks a token of Access, and then the API does once more.
              originRequest: {
                access: { required: true, teamName: team, audTags: [args.audience] },
              },
            },
            { service: "http_status:404" },
          ],
        },
      },
      { parent: this },
    );
    new DnsRecord(
      "name",
      {
        zoneId,
        name: hostname,
        type: "CNAME",
        content: pulumi.interpolate`${tunnel.id}.cfargotunnel.com`,
        proxied: true,
        // The only one that a proxied record can have: automatic.
        ttl: 1,
        comment: "ctm: the task manager's API",
      },
      { parent: this, dependsOn: [configuration, ...args.guards] },
    );
    this.token = pulumi.secret(
      getZeroTrustTunnelCloudflaredTokenOutput({ accountId, tunnelId: tunnel.id }, { parent: this })
        .token,
    );
    this.registerOutputs({});
  }
}
