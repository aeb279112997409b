import * as pulumi from "@pulumi/pulumi";
import { NotificationPolicy } from "@pulumi/cloudflare/notificationPolicy.js";
import type { CloudflareSettings } from "./settings.ts";

/** Who hears of a dead tunnel, of a token that ends, and of an attack. */
export class Notifications extends pulumi.ComponentResource {
  constructor(
    name: string,
    settings: CloudflareSettings,
    options: pulumi.ComponentResourceOptions = {},
  ) {
    super("ctm:cloudflare:Notifications", name, {}, options);
    const { accountId, hostname, notify, plan, zoneId } = settings;
    const policy = (
      resource: string,
      args: Pick<
        ConstructorParameters<typeof NotificationPolicy>[1],
        "alertType" | "description" | "filters"
      >,
    ): NotificationPolicy =>
      new NotificationPolicy(
        resource,
        {
          accountId,
          name: `${hostname}: ${resource}`,
          enabled: true,
          mechanisms: { emails: notify.map((id) => ({ id })) },
          ...args,
        },
        { parent: this },
      );
    policy("tunnel-down", {
      alertType: "tunnel_health_event",
      description: "The API's tunnel is down: nobody reaches the API",
      filters: { newStatuses: ["TUNNEL_STATUS_TYPE_DOWN"] },
    });
    policy("service-token-ends", {
      alertType: "expiring_service_token_alert",
      description: "A service token ends within a week: add its next generation",
    });
    // The source's thresholds (100 blocked, 50 limited, 25 of the firewall) cannot be said here:
    // Cloudflare compares with the hours before. Other plans have no such alert.
    if (plan === "business" || plan === "enterprise") {
      policy("attack", {
        alertType:
          plan === "enterprise" ? "clickhouse_alert_fw_ent_anomaly" : "clickhouse_alert_fw_anomaly",
        description: "Far more requests are blocked than in the hours before",
        filters: { zones: [zoneId] },
      });
    }
    this.registerOutputs({});
  }
}
