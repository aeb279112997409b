import * as pulumi from "@pulumi/pulumi";
import { beforeEach, describe, expect, it } from "vitest";
import { Edge } from "./edge.ts";
import { exampleSettings } from "./testing/example-settings.ts";

interface Made {
  type: string;
  name: string;
  inputs: Record<string, unknown>;
}

const token = "t".repeat(40);
let made: Made[] = [];

beforeEach(async () => {
  made = [];
  await pulumi.runtime.setMocks({
    newResource: ({ type, name, inputs }) => {
      const resource = { type, name, inputs: inputs as Record<string, unknown> };
      made.push(resource);
      const outputs = { aud: "f".repeat(64), clientId: `${name}.access`, clientSecret: "hidden" };
      return { id: `${name}-id`, state: { ...resource.inputs, ...outputs } };
    },
    call: () => ({ token: "the-token-of-the-tunnel" }),
  });
});

async function edge(changes: Readonly<Record<string, unknown>> = {}): Promise<Edge> {
  const settings = exampleSettings(changes);
  const opened = new Edge("edge", { settings, token, origin: "http://127.0.0.1:8480" });
  await pulumi.runtime.disconnect();
  return opened;
}

const inputsOf = (type: string, name?: string): Record<string, unknown> | undefined =>
  made.find((one) => one.type.endsWith(`:${type}`) && (name === undefined || one.name === name))
    ?.inputs;

describe("Access", () => {
  const services = { serviceTokens: [{ name: "ci", generations: [3, 4] }, { name: "bot" }] };

  it("lets people of the domain in, and programs without a login", async () => {
    await edge(services);
    expect(inputsOf("ZeroTrustAccessPolicy", "admins")).toMatchObject({
      name: "Database Admin Access: api.example.com",
      decision: "allow",
      includes: [{ emailDomain: { domain: "example.com" } }],
    });
    expect(inputsOf("ZeroTrustAccessPolicy", "services")).toMatchObject({
      name: "Database API Access: api.example.com",
      decision: "non_identity",
      includes: [
        { serviceToken: { tokenId: "ci-3-id" } },
        { serviceToken: { tokenId: "ci-4-id" } },
        { serviceToken: { tokenId: "bot-1-id" } },
      ],
    });
    expect(inputsOf("ZeroTrustAccessApplication")).toMatchObject({
      domain: "api.example.com",
      policies: [
        { id: "admins-id", precedence: 1 },
        { id: "services-id", precedence: 2 },
      ],
    });
  });

  it("refuses other countries before it asks who somebody is", async () => {
    await edge({ countries: ["DE", "US"] });
    expect(inputsOf("ZeroTrustAccessPolicy", "countries")).toMatchObject({
      decision: "deny",
      includes: [{ everyone: {} }],
      excludes: [{ geo: { countryCode: "DE" } }, { geo: { countryCode: "US" } }],
    });
    expect(inputsOf("ZeroTrustAccessApplication")).toMatchObject({
      policies: [{ id: "countries-id" }, { id: "admins-id" }],
    });
  });

  it("has no policy for programs where there are none", async () => {
    await edge();
    expect(inputsOf("ZeroTrustAccessPolicy", "services")).toBeUndefined();
  });
});

it("leads the tunnel to the API alone, for who carries the application's token", async () => {
  await edge();
  expect(inputsOf("ZeroTrustTunnelCloudflaredConfig")).toMatchObject({
    config: {
      ingresses: [
        {
          hostname: "api.example.com",
          service: "http://127.0.0.1:8480",
          originRequest: {
            access: { required: true, teamName: "example", audTags: ["f".repeat(64)] },
          },
        },
        { service: "http_status:404" },
      ],
    },
  });
});

it("names the host last, when what guards it is there", async () => {
  await edge({ bucket: { name: "far-copy", location: "weur" }, notify: ["ops@example.com"] });
  const order = made.map(({ type }) => type.split(":").at(-1));
  const last = Math.max(
    ...["ZeroTrustAccessApplication", "Ruleset", "ZoneSetting"].map((type) =>
      order.lastIndexOf(type),
    ),
  );
  expect(order.indexOf("DnsRecord")).toBeGreaterThan(last);
});

it("keeps tokens as secrets", async () => {
  const { tunnelToken, serviceTokens, audience } = await edge({ serviceTokens: [{ name: "ci" }] });
  expect(await pulumi.isSecret(tunnelToken)).toBe(true);
  expect(await pulumi.isSecret(serviceTokens)).toBe(true);
  expect(await pulumi.isSecret(audience)).toBe(false);
});

it("has no bucket and no notifications unless they are asked for", async () => {
  await edge();
  expect(inputsOf("R2Bucket")).toBeUndefined();
  expect(inputsOf("NotificationPolicy")).toBeUndefined();
});

const everythingMayDegrade = { customRules: true, rateLimits: true, managedRules: true };

describe("a plan", () => {
  const rulesOf = (phase: string): unknown[] => {
    const found = made.find(({ inputs }) => inputs["phase"] === phase);
    return Array.isArray(found?.inputs["rules"]) ? found.inputs["rules"] : [];
  };

  it.each<[plan: string, changes: Record<string, unknown>, limits: number]>([
    ["free", { mayDegrade: everythingMayDegrade }, 1],
    ["pro", { mayDegrade: everythingMayDegrade }, 2],
    ["business", {}, 3],
    ["enterprise", {}, 3],
  ])("%s holds the stack %j, with %i rate limits", async (plan, changes, limits) => {
    await edge({ plan, ...changes });
    expect(rulesOf("http_ratelimit")).toHaveLength(limits);
    expect(rulesOf("http_request_firewall_custom").length).toBeGreaterThan(0);
    for (const rule of [
      ...rulesOf("http_ratelimit"),
      ...rulesOf("http_request_firewall_custom"),
      ...rulesOf("http_request_firewall_managed"),
    ]) {
      expect(rule).toMatchObject({
        ref: expect.any(String),
        description: expect.any(String),
        enabled: true,
        expression: expect.any(String),
      });
    }
  });

  // One row a plan: what is wrong, and the nearest that the plan has.
  it.each<[plan: string, changes: Record<string, unknown>, message: string]>([
    [
      "free",
      {},
      "ctm-limit-database: the plan free counts over 10 s, not 60 s; nearest: 9 requests in 10 s",
    ],
    [
      "pro",
      {},
      "ctm-limit-burst: the plan pro holds 2 rate limits, not 3; nearest: some of them merged",
    ],
    [
      "business",
      { rateLimits: { api: { periodSeconds: 900 } } },
      "ctm-limit-api: the plan business counts over",
    ],
    [
      "enterprise",
      { rateLimits: { api: { mitigationSeconds: 90_000 } } },
      "ctm-limit-api: the plan enterprise mitigates for",
    ],
  ])("%s refuses the stack %j before anything is made", async (plan, changes, message) => {
    await expect(edge({ plan, ...changes })).rejects.toMatchObject({
      code: "plan-too-small",
      message: expect.stringContaining(message),
    });
    expect(made).toEqual([]);
  });
});

it.each([
  ["free", undefined],
  ["pro", undefined],
  ["business", "clickhouse_alert_fw_anomaly"],
  ["enterprise", "clickhouse_alert_fw_ent_anomaly"],
])("tells of an attack on %s by %s", async (plan, alertType) => {
  await edge({ plan, mayDegrade: everythingMayDegrade, notify: ["ops@example.com"] });
  expect(inputsOf("NotificationPolicy", "attack")?.["alertType"]).toBe(alertType);
  expect(inputsOf("NotificationPolicy", "tunnel-down")).toMatchObject({
    alertType: "tunnel_health_event",
    mechanisms: { emails: [{ id: "ops@example.com" }] },
  });
});
