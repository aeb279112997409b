import { describe, expect, it } from "vitest";
import { CtmError } from "#system";
import { parseConfiguration } from "../config.ts";
import { exampleSettings, leastSettings } from "./testing/example-settings.ts";

const token = "t".repeat(40);

function refusalOf(configuration: Readonly<Record<string, unknown>>): string {
  try {
    parseConfiguration(
      Object.fromEntries(
        Object.entries(configuration).map(([key, value]) => [
          `ctm:${key}`,
          typeof value === "string" ? value : JSON.stringify(value),
        ]),
      ),
    );
  } catch (error) {
    if (error instanceof CtmError) return error.message;
    throw error;
  }
  return "accepted";
}

it("fills in the document's limits, and the source's mitigations", () => {
  expect(exampleSettings().rateLimits).toEqual({
    database: { requests: 50, periodSeconds: 60, mitigationSeconds: 600 },
    api: { requests: 100, periodSeconds: 60, mitigationSeconds: 300 },
    burst: { requests: 20, periodSeconds: 10, mitigationSeconds: 60 },
  });
});

it("keeps the other numbers of a limit of which one is changed", () => {
  expect(exampleSettings({ rateLimits: { api: { requests: 1000 } } }).rateLimits).toMatchObject({
    database: { requests: 50 },
    api: { requests: 1000, periodSeconds: 60, mitigationSeconds: 300 },
  });
});

it("degrades nothing unasked", () => {
  expect(exampleSettings().mayDegrade).toEqual({
    customRules: false,
    rateLimits: false,
    managedRules: false,
  });
});

it("is read from the configuration with its token", () => {
  const configuration = parseConfiguration({
    "ctm:cloudflare": JSON.stringify(leastSettings),
    "ctm:cloudflareToken": token,
  });
  expect(configuration.cloudflare).toEqual(exampleSettings());
  expect(configuration.cloudflareToken).toBe(token);
});

describe("is refused, naming the key:", () => {
  it.each<[changes: Record<string, unknown>, message: string]>([
    [{ accountId: "A1" }, "accountId: must be 32 hexadecimal digits"],
    [{ zoneId: "" }, "zoneId: must be 32 hexadecimal digits"],
    [
      { admins: { emailDomains: ["Example.com"] } },
      "admins.emailDomains[0]: must be a domain in lower case",
    ],
    [
      { plan: "gold" },
      'plan: Invalid option: expected one of "free"|"pro"|"business"|"enterprise"',
    ],
    [{ hostname: "api.example.org" }, "hostname: must be one label below example.com"],
    [{ hostname: "v1.api.example.com" }, "hostname: must be one label below example.com"],
    [{ hostname: "example.com" }, "hostname: must be one label below example.com"],
    [{ team: "example.cloudflareaccess.com" }, "team: must be the team's name alone"],
    [
      { admins: { emailDomains: [] } },
      "admins.emailDomains: Too small: expected array to have >=1 items",
    ],
    [
      { admins: { emailDomains: ["example.com"], sessionDuration: "1 day" } },
      'admins.sessionDuration: must be a duration such as "30m" or "24h"',
    ],
    [
      { serviceTokens: [{ name: "ci" }, { name: "ci" }] },
      'serviceTokens[1].name: two service tokens are named "ci"',
    ],
    [
      { serviceTokens: [{ name: "ci", generations: [1, 2, 3] }] },
      "serviceTokens[0].generations: Too big: expected array to have <=2 items",
    ],
    [
      { serviceTokens: [{ name: "ci", generations: [2, 2] }] },
      "serviceTokens[0].generations: must be two different numbers",
    ],
    [{ countries: ["de"] }, "countries[0]: must be two capital letters"],
    [{ blockedNetworks: [0] }, "blockedNetworks[0]: Too small: expected number to be >=1"],
    [
      { rateLimits: { api: { requests: 0 } } },
      "rateLimits.api.requests: Too small: expected number to be >=1",
    ],
    [{ rateLimits: { login: {} } }, "rateLimits.login is no key of ctm"],
    [
      { bucket: { name: "far-copy", location: "weur", lockDays: 90, deleteAfterDays: 90 } },
      "bucket: deleteAfterDays must be more than lockDays",
    ],
    [{ bucket: { name: "Far", location: "weur" } }, "bucket.name: must be a bucket's name"],
    [{ notify: ["ops"] }, "notify[0]: must be an email address"],
    [{ lockdown: { until: "tomorrow" } }, "lockdown.until: Invalid ISO datetime"],
    [{ baseUrl: "ftp://127.0.0.1" }, "baseUrl: Invalid URL"],
    [
      { baseUrl: "http://127.0.0.1.example.com" },
      "baseUrl: must be https, or on this host: the API token goes there",
    ],
    [{ tunnel: true }, "tunnel is no key of ctm"],
  ])("%j", (changes, message) => {
    expect(
      refusalOf({ cloudflare: { ...leastSettings, ...changes }, cloudflareToken: token }),
    ).toBe(`ctm:cloudflare.${message}`);
  });

  it("a token that is none, without showing it", () => {
    expect(refusalOf({ cloudflare: leastSettings, cloudflareToken: "Bearer secret" })).toBe(
      "ctm:cloudflareToken: is no API token of Cloudflare",
    );
  });

  it.each<[configuration: Record<string, unknown>, message: string]>([
    [{ cloudflare: leastSettings }, "ctm:cloudflareToken: must be set where ctm:cloudflare is"],
    [{ cloudflareToken: token }, "ctm:cloudflare: must be set where ctm:cloudflareToken is"],
    [
      { cloudflare: leastSettings, cloudflareToken: token, cloudflareStack: "edge", apiPort: 8480 },
      "ctm:cloudflareStack: is for a stack without ctm:cloudflare of its own",
    ],
    [
      { cloudflareStack: "edge" },
      "ctm:apiPort: must be set where ctm:cloudflareStack is: the tunnel leads to it",
    ],
  ])("half a configuration: %j", (configuration, message) => {
    expect(refusalOf(configuration)).toBe(message);
  });
});
