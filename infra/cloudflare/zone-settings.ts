import * as pulumi from "@pulumi/pulumi";
import { ZoneSetting } from "@pulumi/cloudflare/zoneSetting.js";
import type { CloudflareSettings } from "./settings.ts";

/** TLS of the whole zone: strict to the origin, 1.2 at least, HTTPS only. */
export class ZoneSettings extends pulumi.ComponentResource {
  readonly settings: pulumi.Resource[];

  constructor(
    name: string,
    { zoneId, hsts }: CloudflareSettings,
    options: pulumi.ComponentResourceOptions = {},
  ) {
    super("ctm:cloudflare:ZoneSettings", name, {}, options);
    const values = {
      ssl: "strict",
      min_tls_version: "1.2",
      always_use_https: "on",
      // Every leaf: one that an answer lacked would end the provider (facts of its version).
      security_header: {
        strict_transport_security: {
          enabled: hsts.maxAgeSeconds > 0,
          max_age: hsts.maxAgeSeconds,
          include_subdomains: hsts.includeSubdomains,
          preload: hsts.preload,
          nosniff: true,
        },
      },
    };
    this.settings = Object.entries(values).map(
      ([settingId, value]) =>
        new ZoneSetting(settingId, { zoneId, settingId, value }, { parent: this }),
    );
    this.registerOutputs({});
  }
}
