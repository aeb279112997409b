import { afterAll, beforeAll, expect, it } from "vitest";
import { CloudflareEmulator } from "../../test/cloudflare/emulator.ts";
import { recordedAccount, recordedCalls, recordedZone } from "../../test/cloudflare/recording.ts";
import { CloudflareClient } from "./cloudflare-client.ts";
import { findExisting } from "./find-existing.ts";

let emulator: CloudflareEmulator;
let client: CloudflareClient;
let token: string;

beforeAll(async () => {
  emulator = await CloudflareEmulator.start();
  token = emulator.token();
  client = new CloudflareClient({
    token,
    baseUrl: emulator.baseUrl,
    signal: new AbortController().signal,
  });
});

afterAll(async () => {
  await emulator.close();
});

/** Makes what the official provider was recorded to make, as a run does that is killed then. */
async function make(type: string, changes: Record<string, unknown> = {}): Promise<string> {
  const call = recordedCalls().find((one) => one.type === type && one.operation === "create");
  if (call === undefined) throw new Error(`no creation of ${type} was recorded`);
  const body = { ...(call.body as Record<string, unknown>), ...changes };
  const response = await fetch(`${emulator.baseUrl}${call.path}`, {
    method: call.method,
    headers: { authorization: `Bearer ${token}`, ...call.headers },
    body: JSON.stringify(body),
  });
  expect(response.ok, `${type}: ${response.status}`).toBe(true);
  const { result } = (await response.json()) as { result: { id?: string; name?: string } };
  return result.id ?? result.name ?? "";
}

const account = { accountId: recordedAccount };
const zone = { zoneId: recordedZone };

// One row for each type that has an id of its own.
it.each<[type: string, token: string, inputs: Record<string, unknown>, body?: object]>([
  ["ZeroTrustAccessPolicy", "zeroTrustAccessPolicy", { ...account, name: "machines" }],
  [
    "ZeroTrustAccessApplication",
    "zeroTrustAccessApplication",
    { ...account, name: "task-api", domain: "api.example.com" },
    { policies: [] },
  ],
  ["ZeroTrustTunnelCloudflared", "zeroTrustTunnelCloudflared", { ...account, name: "task-tunnel" }],
  ["DnsRecord", "dnsRecord", { ...zone, name: "api.example.com", type: "CNAME" }],
  ["Ruleset", "ruleset", { ...zone, name: "rate limits", phase: "http_ratelimit" }],
  ["R2Bucket", "r2Bucket", { ...account, name: "task-backups" }],
  ["NotificationPolicy", "notificationPolicy", { ...account, name: "tunnel down" }],
])("finds a %s that a killed run made, and none before", async (type, name, inputs, body = {}) => {
  const unfinished = { type: `cloudflare:index/${name}:${type}`, inputs };
  expect(await findExisting(unfinished, client)).toBeUndefined();
  const id = await make(type, body as Record<string, unknown>);
  expect(id).not.toBe("");
  expect(await findExisting(unfinished, client)).toBe(id);
});

it("deletes a half-made service token, whose secret nobody has", async () => {
  await make("ZeroTrustAccessServiceToken");
  await make("ZeroTrustAccessServiceToken", { name: "other" });
  const unfinished = {
    type: "cloudflare:index/zeroTrustAccessServiceToken:ZeroTrustAccessServiceToken",
    inputs: { ...account, name: "ci-runner" },
  };
  expect(await findExisting(unfinished, client)).toBeUndefined();
  expect(emulator.items("service token")).toMatchObject([{ name: "other" }]);
});

it("leaves alone what is put where it is", async () => {
  const before = emulator.calls.length;
  const unfinished = {
    type: "cloudflare:index/zoneSetting:ZoneSetting",
    inputs: { ...zone, settingId: "ssl", value: "strict" },
  };
  expect(await findExisting(unfinished, client)).toBeUndefined();
  expect(emulator.calls.length).toBe(before);
});
