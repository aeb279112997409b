import * as pulumi from "@pulumi/pulumi";
import { ZoneSetting } from "@pulumi/cloudflare/zoneSetting.js";
import { declaredZoneSettings } from "./declared.ts";
import type { CloudflareSettings } from "./settings.ts";

/** TLS of the whole zone: strict to the origin, 1.2 at least, HTTPS only. */
export class ZoneSettings extends pulumi.ComponentResource {
  readonly settings: pulumi.Resource[];

  constructor(
    name: string,
    settings: CloudflareSettings,
    options: pulumi.ComponentResourceOptions = {},
  ) {
    super("ctm:cloudflare:ZoneSettings", name, {}, options);
    const { zoneId } = settings;
    this.settings = Object.entries(declaredZoneSettings(settings)).map(
      ([settingId, value]) =>
        new ZoneSetting(settingId, { zoneId, settingId, value }, { parent: this }),
    );
    this.registerOutputs({});
  }
}
