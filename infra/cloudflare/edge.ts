import * as pulumi from "@pulumi/pulumi";
import { Provider } from "@pulumi/cloudflare/provider.js";
import { Access, type ServiceTokenSecret } from "./access.ts";
import { Bucket } from "./bucket.ts";
import { Firewall } from "./firewall.ts";
import { Notifications } from "./notifications.ts";
import { zoneRules } from "./rules/index.ts";
import type { CloudflareSettings } from "./settings.ts";
import { Tunnel } from "./tunnel.ts";
import { ZoneSettings } from "./zone-settings.ts";

export interface EdgeArguments {
  settings: CloudflareSettings;
  /** Cloudflare's API token. */
  token: string;
  /** The API's own address, to which the tunnel leads. */
  origin: pulumi.Input<string>;
}

/** Everything that Cloudflare holds for a stack. */
export class Edge extends pulumi.ComponentResource {
  /** The audience tag that the API demands of every request. */
  readonly audience: pulumi.Output<string>;
  /** Secret: what cloudflared opens the tunnel with. */
  readonly tunnelToken: pulumi.Output<string>;
  /** Secret, by NAME-GENERATION. */
  readonly serviceTokens: pulumi.Output<Record<string, ServiceTokenSecret>>;

  /** @throws CtmError for what the zone's plan cannot do, before anything is called */
  constructor(
    name: string,
    { settings, token, origin }: EdgeArguments,
    options: pulumi.ComponentResourceOptions = {},
  ) {
    const rules = zoneRules(settings);
    super("ctm:cloudflare:Edge", name, {}, options);
    const provider = new Provider(
      "cloudflare",
      {
        apiToken: pulumi.secret(token),
        ...(settings.baseUrl === undefined ? {} : { baseUrl: settings.baseUrl }),
      },
      { parent: this },
    );
    const child = { parent: this, providers: [provider] };
    const zone = new ZoneSettings("zone", settings, child);
    const firewall = new Firewall("firewall", { settings, rules }, child);
    const access = new Access("access", settings, child);
    const tunnel = new Tunnel(
      "tunnel",
      {
        settings,
        origin,
        audience: access.audience,
        guards: [access.application, ...firewall.rulesets, ...zone.settings],
      },
      child,
    );
    const { accountId, bucket, notify } = settings;
    if (bucket !== undefined) new Bucket("far-copy", { accountId, settings: bucket }, child);
    if (notify.length > 0) new Notifications("notifications", settings, child);
    this.audience = access.audience;
    this.tunnelToken = tunnel.token;
    this.serviceTokens = access.serviceTokens;
    this.registerOutputs({});
  }
}
