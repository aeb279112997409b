import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { CloudflareEmulator } from "./emulator.ts";
import { recordedAccount, recordedCalls, recordedZone } from "./recording.ts";

let emulator: CloudflareEmulator;
let token: string;

beforeEach(async () => {
  emulator = await CloudflareEmulator.start();
  token = emulator.token();
});

afterEach(async () => {
  await emulator.close();
});

interface Answer {
  status: number;
  result: Record<string, unknown>;
  errors: { code: number; message: string }[];
  result_info?: Record<string, number>;
}

async function call(
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const response = await fetch(`${emulator.baseUrl}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, ...headers },
    ...(body === undefined || body === null ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, ...(text === "" ? {} : JSON.parse(text)) } as Answer;
}

const account = `/accounts/${recordedAccount}`;
const zone = `/zones/${recordedZone}`;
const record = {
  type: "CNAME",
  name: "api.example.com",
  content: "x.cfargotunnel.com",
  proxied: true,
  ttl: 1,
};
const ruleset = (name: string) => ({ kind: "zone", phase: "http_ratelimit", name, rules: [] });

describe("answers a creation as the recording says:", () => {
  const creations = recordedCalls().filter(
    ({ operation, path, body }) =>
      operation === "create" && body !== null && !/tunnel_id|bucket_name/.test(path),
  );

  it.each(creations)(
    "$type $for",
    async ({ type, method, path, body, status, answer, headers }) => {
      const sent = structuredClone(body) as Record<string, unknown>;
      if (type === "ZeroTrustAccessApplication") {
        const policies = await Promise.all(
          ["people", "machines"].map((name) =>
            call("POST", `${account}/access/policies`, { name, decision: "allow", include: [] }),
          ),
        );
        sent["policies"] = policies.map(({ result }, index) => ({
          id: result["id"],
          precedence: index + 1,
        }));
      }
      const found = await call(method, path, sent, headers);
      expect(found).toMatchObject({ status, errors: [] });
      expect(Object.keys(found.result).toSorted()).toEqual(
        Object.keys(answer as object).toSorted(),
      );
      expect(emulator.invalid).toEqual([]);
    },
  );
});

it("refuses a body that the description does not allow, and remembers it", async () => {
  const { status, errors } = await call("POST", `${zone}/dns_records`, { ...record, ttl: "auto" });
  expect(status).toBe(400);
  expect(errors[0]?.message).toContain("body/ttl");
  expect(emulator.invalid).not.toEqual([]);
});

it("refuses a second ruleset of a phase", async () => {
  await call("POST", `${zone}/rulesets`, ruleset("first"));
  expect(await call("POST", `${zone}/rulesets`, ruleset("second"))).toMatchObject({
    status: 400,
    errors: [{ code: 20217 }],
  });
});

it("keeps a rule's id where its ref stays", async () => {
  const rule = (expression: string) => ({ ref: "one", action: "block", expression });
  const made = await call("POST", `${zone}/rulesets`, { ...ruleset("a"), rules: [rule("true")] });
  const ruleOf = ({ result }: Answer): unknown => (result["rules"] as { id: string }[])[0]?.id;
  const changed = await call("PUT", `${zone}/rulesets/${String(made.result["id"])}`, {
    ...ruleset("a"),
    rules: [rule("false")],
  });
  expect(ruleOf(changed)).toBe(ruleOf(made));
  expect(changed.result["version"]).toBe("2");
});

it.each([
  ["a tunnel's name", `${account}/cfd_tunnel`, { name: "t", config_src: "cloudflare" }, 409, 1013],
  ["a record's name", `${zone}/dns_records`, record, 400, 81053],
  ["a bucket's name", `${account}/r2/buckets`, { name: "far-copy" }, 400, 10004],
])("refuses %s twice", async (_, path, body, status, code) => {
  expect((await call("POST", path, body)).errors).toEqual([]);
  expect(await call("POST", path, body)).toMatchObject({ status, errors: [{ code }] });
});

it("merges HSTS leaf by leaf", async () => {
  const path = `${zone}/settings/security_header`;
  await call("PATCH", path, { value: { strict_transport_security: { enabled: true } } });
  await call("PATCH", path, { value: { strict_transport_security: { max_age: 60 } } });
  expect((await call("GET", path)).result["value"]).toEqual({
    strict_transport_security: {
      enabled: true,
      max_age: 60,
      include_subdomains: false,
      preload: false,
      nosniff: false,
    },
  });
});

it("shows a service token's secret once", async () => {
  const path = `${account}/access/service_tokens`;
  const made = await call("POST", path, { name: "ci", duration: "8760h" });
  expect(made.result["client_secret"]).toMatch(/^\w{64}$/);
  const read = await call("GET", `${path}/${String(made.result["id"])}`);
  expect(read.result).not.toHaveProperty("client_secret");
});

it("gives another tunnel token for another secret", async () => {
  const { result } = await call("POST", `${account}/cfd_tunnel`, { name: "t" });
  const path = `${account}/cfd_tunnel/${String(result["id"])}`;
  const first = await call("GET", `${path}/token`);
  await call("PATCH", path, { tunnel_secret: Buffer.alloc(32, 7).toString("base64") });
  const second = await call("GET", `${path}/token`);
  expect(typeof first.result).toBe("string");
  expect(second.result).not.toBe(first.result);
});

it("refuses to delete a tunnel with connections", async () => {
  const { result } = await call("POST", `${account}/cfd_tunnel`, { name: "t" });
  const path = `${account}/cfd_tunnel/${String(result["id"])}`;
  emulator.change("tunnel", (tunnel) => ({ ...tunnel, connections: [{ id: "1" }] }));
  expect(await call("DELETE", path)).toMatchObject({ status: 400, errors: [{ code: 1022 }] });
  await call("DELETE", `${path}/connections`);
  expect((await call("DELETE", path)).status).toBe(200);
});

it("answers lists in pages", async () => {
  for (const name of ["a", "b", "c"]) {
    await call("POST", `${account}/access/service_tokens`, { name });
  }
  const page = await call("GET", `${account}/access/service_tokens?per_page=2&page=2`);
  expect((page.result as unknown as unknown[]).length).toBe(1);
  expect(page.result_info).toEqual({
    page: 2,
    per_page: 2,
    count: 1,
    total_count: 3,
    total_pages: 2,
  });
});

describe("of a token", () => {
  it.each([
    ["nobody", "x".repeat(40), 403, 9109],
    ["without the permission", undefined, 403, 10000],
  ])("of %s it refuses the call", async (_, given, status, code) => {
    token = given ?? emulator.token(["DNS Read"]);
    expect(await call("POST", `${zone}/dns_records`, record)).toMatchObject({
      status,
      errors: [{ code }],
    });
  });

  it("allows what its permissions name", async () => {
    token = emulator.token(["DNS Write"]);
    expect((await call("POST", `${zone}/dns_records`, record)).status).toBe(200);
    expect((await call("GET", `${account}/cfd_tunnel`)).status).toBe(403);
  });

  it("knows no other zone", async () => {
    expect((await call("GET", `/zones/${"c".repeat(32)}/dns_records`)).status).toBe(403);
  });
});

it("does what it is asked and never answers, when told to", async () => {
  const reached = emulator.silence(/^POST .*dns_records .*"api\.example\.com"/);
  const answer = call("POST", `${zone}/dns_records`, record).catch(() => "cut off");
  await reached;
  expect(emulator.items("record")).toMatchObject([{ name: "api.example.com" }]);
  await emulator.close();
  expect(await answer).toBe("cut off");
});

it("keeps what belongs to an account, a list and a webhook, as recorded", async () => {
  const read = async (path: string, body: object): Promise<Answer> => {
    const made = await call("POST", `${account}${path}`, body);
    return call("GET", `${account}${path}/${String(made.result["id"])}`);
  };
  const tunnel = await read("/cfd_tunnel", { name: "t", config_src: "cloudflare" });
  expect(tunnel.result).toMatchObject({ account_tag: recordedAccount });

  const hook = await read("/alerting/v3/destinations/webhooks", { name: "w", url: "https://x.y" });
  expect(hook.result).toMatchObject({ type: "generic", last_success: null, last_failure: null });
  const hookPath = `${account}/alerting/v3/destinations/webhooks/${String(hook.result["id"])}`;
  expect((await call("DELETE", hookPath)).result).toEqual([]);

  const list = await call("POST", `${account}/rules/lists`, { kind: "ip", name: "offices" });
  const listPath = `${account}/rules/lists/${String(list.result["id"])}`;
  await call("PUT", `${listPath}/items`, [{ ip: "192.0.2.0/24" }, { ip: "198.51.100.7" }]);
  expect((await call("GET", listPath)).result).toMatchObject({ num_items: 2 });
});
