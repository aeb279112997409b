// The stand-in plugin sends what the official one was recorded to send.
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { ProviderClient } from "../../../infra/provider/testing/provider-client.ts";
import type { Properties } from "../../../infra/provider/resource-type.ts";
import { recordedAccount, recordedCalls, recordedZone, type RecordedCall } from "../recording.ts";
import { cloudflarePackage } from "./package.ts";

interface Case {
  type: string;
  /** Of which recorded example this is the program. */
  create: string;
  inputs: Properties;
  /** The recorded example of an update, and the inputs that change for it. */
  update: string;
  changed: Properties;
}

const account = { accountId: recordedAccount };
const zone = { zoneId: recordedZone };
const day = 86_400;

const rateLimitRule = (
  ref: string,
  pattern: string,
  requestsPerPeriod: number,
  mitigationTimeout: number,
): Properties => ({
  ref,
  description: `limit ${pattern}`,
  enabled: true,
  action: "block",
  expression: `(http.request.uri.path wildcard "${pattern}")`,
  ratelimit: {
    characteristics: ["ip.src", "cf.colo.id"],
    period: 60,
    requestsPerPeriod,
    mitigationTimeout,
  },
});
const rateLimits = (perMinute: number): Properties => ({
  rules: [
    rateLimitRule("all", "/api/*", perMinute, 600),
    rateLimitRule("login", "/api/auth/*", 10, 600),
    rateLimitRule("query", "/api/query", 20, 60),
  ],
});
const customRules = (length: string): Properties => ({
  rules: [
    {
      ref: "no-key",
      description: "requests without a key",
      action: "block",
      expression: `(http.host eq "api.example.com" and len(http.request.headers["x-api-key"]) ${length})`,
    },
    {
      ref: "bots",
      description: "known bots",
      action: "managed_challenge",
      expression: '(http.host eq "api.example.com" and cf.client.bot)',
    },
    {
      ref: "health",
      description: "health checks",
      action: "skip",
      actionParameters: { ruleset: "current" },
      logging: { enabled: true },
      expression: '(http.request.uri.path eq "/healthz")',
    },
  ],
});
const ingress = (service: string, audience: string): Properties => ({
  config: {
    ingresses: [
      {
        hostname: "api.example.com",
        service,
        originRequest: { access: { required: true, teamName: "example", audTags: [audience] } },
      },
      { service: "http_status:404" },
    ],
  },
});
const hsts = (maxAge: number): Properties => ({
  value: {
    strict_transport_security: {
      enabled: true,
      include_subdomains: true,
      max_age: maxAge,
      nosniff: true,
      preload: false,
    },
  },
});

/** An id that a recorded body names. */
function recordedId(type: string, example: string): string {
  const { answer } = recorded(type, "create", example);
  return String(Reflect.get(answer as object, "id"));
}

function recorded(type: string, operation: string, example: string): RecordedCall {
  const found = recordedCalls().find(
    (call) => call.type === type && call.operation === operation && call.for === example,
  );
  if (found === undefined) throw new Error(`no ${operation} of ${type} for "${example}"`);
  return found;
}

const audience = String(
  Reflect.get(recorded("ZeroTrustAccessApplication", "create", "task-api").answer as object, "aud"),
);
const tunnelId = recordedId("ZeroTrustTunnelCloudflared", "task-tunnel");
const ruleset = (phase: string, name: string): Properties => ({
  ...zone,
  kind: "zone",
  phase,
  name,
  description: "task api",
});
const notification = {
  ...account,
  alertType: "tunnel_health_event",
  description: "the tunnel changed its health",
  filters: { newStatuses: ["TUNNEL_STATUS_TYPE_DOWN"] },
  mechanisms: {
    emails: [{ id: "ops@example.com" }],
    webhooks: [{ id: "c8782694e30d9f3756a80a58e9ac197d" }],
  },
  name: "tunnel down",
};

const cases: readonly Case[] = [
  {
    type: "ZeroTrustAccessPolicy",
    create: "people",
    inputs: {
      ...account,
      name: "people",
      decision: "allow",
      includes: [{ emailDomain: { domain: "example.com" } }],
    },
    update: "people-renamed",
    changed: { name: "people-renamed", sessionDuration: "12h" },
  },
  {
    type: "ZeroTrustAccessServiceToken",
    create: "ci-runner",
    inputs: { ...account, name: "ci-runner" },
    update: "ci-runner-renamed",
    changed: { name: "ci-runner-renamed", duration: "4380h" },
  },
  {
    type: "ZeroTrustAccessApplication",
    create: "task-api",
    inputs: {
      ...account,
      name: "task-api",
      domain: "api.example.com",
      type: "self_hosted",
      policies: [
        { id: recordedId("ZeroTrustAccessPolicy", "people"), precedence: 1 },
        { id: recordedId("ZeroTrustAccessPolicy", "machines") },
      ],
    },
    update: "task-api",
    changed: { sessionDuration: "8h" },
  },
  {
    type: "ZeroTrustTunnelCloudflared",
    create: "task-tunnel",
    inputs: { ...account, name: "task-tunnel", configSrc: "cloudflare" },
    update: "task-tunnel-renamed",
    changed: { name: "task-tunnel-renamed" },
  },
  {
    type: "ZeroTrustTunnelCloudflaredConfig",
    create: "",
    inputs: { ...account, tunnelId, ...ingress("http://localhost:8080", audience) },
    update: "",
    changed: ingress("http://localhost:9090", audience),
  },
  {
    type: "DnsRecord",
    create: "api.example.com",
    inputs: {
      ...zone,
      name: "api.example.com",
      type: "CNAME",
      content: `${tunnelId}.cfargotunnel.com`,
      proxied: true,
      ttl: 1,
      comment: "task api",
    },
    update: "api.example.com",
    changed: { comment: "task api, changed" },
  },
  {
    type: "Ruleset",
    create: "http_ratelimit",
    inputs: { ...ruleset("http_ratelimit", "rate limits"), ...rateLimits(300) },
    update: "http_ratelimit",
    changed: rateLimits(200),
  },
  {
    type: "Ruleset",
    create: "http_request_firewall_custom",
    inputs: {
      ...ruleset("http_request_firewall_custom", "waf custom rules"),
      ...customRules("eq 0"),
    },
    update: "http_request_firewall_custom",
    changed: customRules("lt 20"),
  },
  {
    type: "ZoneSetting",
    create: "min_tls_version",
    inputs: { ...zone, settingId: "min_tls_version", value: "1.2" },
    update: "min_tls_version",
    changed: { value: "1.3" },
  },
  {
    type: "ZoneSetting",
    create: "security_header",
    inputs: { ...zone, settingId: "security_header", ...hsts(365 * day) },
    update: "security_header",
    changed: hsts(180 * day),
  },
  {
    type: "R2Bucket",
    create: "task-backups",
    inputs: { ...account, name: "task-backups", location: "weur" },
    update: "task-backups",
    changed: { storageClass: "InfrequentAccess" },
  },
  {
    type: "R2BucketLifecycle",
    create: "",
    inputs: { ...account, bucketName: "task-backups", rules: [expire(30)] },
    update: "",
    changed: { rules: [expire(60)] },
  },
  {
    type: "R2BucketLock",
    create: "",
    inputs: { ...account, bucketName: "task-backups", rules: [keep(7)] },
    update: "",
    changed: { rules: [keep(14)] },
  },
  {
    type: "NotificationPolicy",
    create: "tunnel down",
    inputs: notification,
    update: "tunnel down",
    changed: { description: "the tunnel's health changed" },
  },
];

function expire(days: number): Properties {
  return {
    id: "expire",
    enabled: true,
    conditions: { prefix: "wal/" },
    deleteObjectsTransition: { condition: { type: "Age", maxAge: days * day } },
  };
}

function keep(days: number): Properties {
  return {
    id: "keep",
    enabled: true,
    prefix: "full/",
    condition: { type: "Age", maxAgeSeconds: days * day },
  };
}

/** What arrived, without the headers of HTTP itself. */
interface Seen {
  method: string;
  path: string;
  body: unknown;
  headers: Record<string, string>;
}

let server: Server;
let client: ProviderClient;
let seen: Seen[] = [];
/** What the next calls are answered, in turn. */
let answers: { status: number; result: unknown }[] = [];

beforeAll(async () => {
  server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const text = Buffer.concat(chunks).toString("utf8");
      seen.push({
        method: request.method ?? "",
        path: (request.url ?? "").replace("/client/v4", ""),
        body: text === "" ? null : JSON.parse(text),
        headers: Object.fromEntries(
          Object.entries(request.headers)
            .filter(([name]) => name.startsWith("cf-"))
            .map(([name, value]) => [name, String(value)]),
        ),
      });
      const answer = answers.shift() ?? { status: 500, result: null };
      response.writeHead(answer.status, { "content-type": "application/json" });
      if (answer.status === 204) response.end();
      else response.end(JSON.stringify({ success: answer.status < 400, result: answer.result }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  client = await ProviderClient.of(cloudflarePackage());
  await client.configure({
    apiToken: "t".repeat(40),
    baseUrl: `http://127.0.0.1:${port}/client/v4`,
  });
});

afterAll(() => {
  client.close();
  server.close();
});

beforeEach(() => {
  seen = [];
  answers = [];
});

const answerOf = ({ status, answer }: RecordedCall) => ({ status, result: answer });
const asSeen = (call: RecordedCall, id: string): Seen => ({
  method: call.method,
  path: call.path
    .replace(/(?<=\/)\w+_id$/, id)
    .replaceAll("bucket_name", "task-backups")
    .replace("tunnel_id", tunnelId),
  body: call.body,
  headers: call.headers,
});

describe.each(cases)("$type, $create", ({ type, create, inputs, update, changed }) => {
  const made = recorded(type, "create", create);
  const { token } = made;

  const creating = async (): Promise<{ id: string; state: Properties }> => {
    answers = [answerOf(made)];
    return await client.create(token, inputs);
  };

  it("is created", async () => {
    const { id } = await creating();
    expect(seen).toEqual([asSeen(made, id)]);
  });

  it("is read, and then has nothing to change", async () => {
    const { id, state } = await creating();
    seen = [];
    const all = recordedCalls().filter((call) => call.type === type && call.operation === "read");
    const own = all.find((call) => call.for === create);
    const read = own ?? { ...made, ...all[0], answer: made.answer };
    const path =
      made.method === "POST" ? read.path.replace(/\/\w+_(id|name)$/, `/${id}`) : made.path;
    answers = [answerOf(read)];
    const found = await client.read(token, id, state, inputs);
    expect(seen).toEqual([asSeen({ ...read, path }, id)]);
    const diff = await client.diff(token, id, found?.state ?? {}, inputs);
    expect(diff.paths).toEqual({});
  });

  it("is updated", async () => {
    const { id, state } = await creating();
    seen = [];
    const updated = recorded(type, "update", update);
    answers = [answerOf(updated)];
    await client.update(token, id, state, { ...inputs, ...changed });
    expect(seen).toEqual([asSeen(updated, id)]);
  });

  it("is deleted, where there is a call for that", async () => {
    const { id, state } = await creating();
    seen = [];
    const deleted = recordedCalls().find(
      (call) => call.type === type && call.operation === "delete",
    );
    if (deleted !== undefined) answers = [answerOf(deleted)];
    await client.delete(token, id, state);
    expect(seen).toEqual(deleted === undefined ? [] : [asSeen(deleted, id)]);
  });

  it("is gone where it is not found", async () => {
    const { id, state } = await creating();
    answers = [{ status: 404, result: null }];
    expect(await client.read(token, id, state, inputs)).toBeUndefined();
  });
});

it("reads a tunnel's token", async () => {
  answers = [{ status: 200, result: "made-up-tunnel-token" }];
  const found = await client.invoke(
    "cloudflare:index/getZeroTrustTunnelCloudflaredToken:getZeroTrustTunnelCloudflaredToken",
    { ...account, tunnelId },
  );
  expect(found["token"]).toBe("made-up-tunnel-token");
  expect(seen).toMatchObject([
    {
      method: "GET",
      path: `/accounts/${recordedAccount}/cfd_tunnel/${tunnelId}/token`,
      body: null,
    },
  ]);
});

it("keeps a service token's secret as one", async () => {
  answers = [answerOf(recorded("ZeroTrustAccessServiceToken", "create", "ci-runner"))];
  const { state } = await client.create(
    "cloudflare:index/zeroTrustAccessServiceToken:ZeroTrustAccessServiceToken",
    { ...account, name: "ci-runner" },
  );
  expect(JSON.stringify(state["clientSecret"])).toContain("1b47061264138c4ac30d75fd1eb44270");
});
