import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { waitFor } from "#system";
import { call, startTestApi, type TestApi } from "../../api/testing/api.ts";
import {
  compileRules,
  simulateRateLimits,
  zoneRules,
  type EdgeRequest,
} from "../../infra/cloudflare/rules/index.ts";
import { exampleSettings } from "../../infra/cloudflare/testing/example-settings.ts";
import { freePort } from "../../infra/runtime/testing/free-port.ts";
import { AccessTeam } from "../cloudflare/access-team.ts";
import { callEdge, type EdgeAnswer, type EdgeCall } from "../cloudflare/client.ts";
import {
  installConnector,
  runConnector,
  type ConnectorProgram,
  type RunningConnector,
} from "../cloudflare/connector.ts";
import { Edge, type EdgeSettings } from "../cloudflare/edge.ts";
import { Home } from "./home.ts";

/*
 * The whole way of a request, on this machine: client, edge (rules, then Access), tunnel, API, and a
 * scratch database. Only the edge is a stand-in, and the rules in it are those of the program.
 */

const hostname = "api.example.com";
const audience = "f".repeat(64);
const tunnelToken = Buffer.from(
  JSON.stringify({ a: "account", t: "tunnel", s: "secret" }),
).toString("base64");
const service = { id: "8559f856-bd1a-46df-b03b-07883cf8f95a", secret: "s".repeat(64) };
const clientId = "66c4d728fb28e09b8972593b421181c7.access";
const asProgram = { "cf-access-client-id": clientId, "cf-access-client-secret": service.secret };

let team: AccessTeam;
let api: TestApi;
let edge: Edge;
let program: ConnectorProgram;
let connector: RunningConnector;
let folder: string;
let key: string;

beforeAll(async () => {
  team = await AccessTeam.start("example");
  api = await startTestApi((configuration) => ({
    ...configuration,
    trustedProxies: ["127.0.0.1"],
    access: { issuer: team.issuer, audience, certificatesUrl: team.certificatesUrl },
  }));
  ({ key } = await api.createKey({ permissions: ["admin"] }));
  edge = await Edge.start(edgeSettings());
  folder = await mkdtemp(join(tmpdir(), "ctm-edge-"));
  await writeFile(join(folder, "token"), `${tunnelToken}\n`, { mode: 0o600 });
  program = await installConnector(process.execPath, edge.tunnelAddress);
  connector = await connect();
});

afterAll(async () => {
  await connector.stop();
  await edge.stop();
  await program.remove();
  await api.stop();
  await team.stop();
  await rm(folder, { recursive: true });
});

/** No test is in the way of another one's rate limit. */
let client = 1;
beforeEach(() => {
  client += 1;
});

const settings = exampleSettings({ serviceTokens: [{ name: "ci" }] });

/** The program's rules, custom ones first, as Cloudflare asks them. */
function inspection(): EdgeSettings["inspect"] {
  const { custom, rateLimits } = zoneRules(settings);
  const inspect = compileRules(custom);
  const passed: EdgeRequest[] = [];
  return (request) => {
    const verdict = inspect(request);
    if (verdict.action !== "allow") return verdict;
    passed.push(request);
    const limit = simulateRateLimits(rateLimits, passed).stoppedBy.at(-1) ?? null;
    return limit === null ? verdict : { ...verdict, action: "block", ref: limit };
  };
}

function edgeSettings(): EdgeSettings {
  return {
    hostname,
    team,
    application: {
      audience,
      policies: [
        { decision: "allow", include: [{ email_domain: { domain: "example.com" } }] },
        { decision: "non_identity", include: [{ service_token: { token_id: service.id } }] },
      ],
    },
    serviceTokens: { [clientId]: service },
    inspect: inspection(),
    ingressOf: (token) =>
      token === tunnelToken
        ? [{ hostname, service: api.url }, { service: "http_status:404" }]
        : undefined,
  };
}

async function connect(): Promise<RunningConnector> {
  const port = await freePort();
  const running = runConnector(program.path, [
    ...["tunnel", "--config", join(folder, "none.yml"), "--metrics", `127.0.0.1:${port}`],
    ...["--grace-period", "1s", "run", "--token-file", join(folder, "token")],
  ]);
  await waitFor("the tunnel to be connected", 10_000, async () => {
    const ready = await fetch(`http://127.0.0.1:${port}/ready`).catch(() => undefined);
    return ready?.status === 200 ? true : undefined;
  });
  return running;
}

async function ask(options: EdgeCall): Promise<EdgeAnswer> {
  return await callEdge(edge.port, { from: `127.0.1.${client}`, ...options });
}

const tasks = "/api/database/tasks";

describe("past the edge, straight to the API", () => {
  /** A request with everything right but, perhaps, its token. */
  const direct = async (token: string | undefined): Promise<unknown> => {
    const headers = token === undefined ? {} : { "cf-access-jwt-assertion": token };
    const answer = await call(`${api.url}${tasks}`, { key, headers });
    return answer.status === 200 ? 200 : (answer.body as { code: string }).code;
  };

  it("a token of the team for this application is let through", async () => {
    expect(await direct(team.sign(audience))).toBe(200);
  });

  it.each<[string, () => string | undefined]>([
    ["nothing", () => undefined],
    ["an empty one", () => ""],
    ["one that has ended", () => team.sign(audience, { exp: Date.now() / 1000 - 60 })],
    ["one without an end", () => team.sign(audience, { exp: undefined })],
    ["one of tomorrow", () => team.sign(audience, { nbf: Date.now() / 1000 + 3600 })],
    ["one for another application", () => team.sign("e".repeat(64))],
    ["one of another issuer", () => team.sign(audience, { iss: "https://evil.example.com" })],
    ["one of a key that nobody knows", () => team.sign(audience, {}, { kid: "unknown" })],
    ["one with alg none", () => team.sign(audience, {}, { alg: "none" }).replace(/[^.]*$/, "")],
    ["one with alg HS256", () => team.sign(audience, {}, { alg: "HS256" })],
    ["one without its signature", () => team.sign(audience).replace(/[^.]*$/, "")],
  ])("%s is refused", async (_what, token) => {
    expect(await direct(token())).toBe("ACCESS_TOKEN_REQUIRED");
  });

  it("one that another team signed is refused, whatever it says of itself", async () => {
    const other = await AccessTeam.start("other");
    const kid = JSON.parse(
      Buffer.from(team.sign(audience).split(".")[0] ?? "", "base64url").toString(),
    ).kid as string;
    expect(await direct(other.sign(audience))).toBe("ACCESS_TOKEN_REQUIRED");
    expect(await direct(other.sign(audience, { iss: team.issuer }, { kid }))).toBe(
      "ACCESS_TOKEN_REQUIRED",
    );
    await other.stop();
  });
});

describe("through the edge", () => {
  it("nobody without identity gets past Access, with or without a key", async () => {
    for (const headers of [
      { "x-api-key": key },
      { "x-api-key": key, "cf-access-jwt-assertion": team.sign("e".repeat(64)) },
      { "x-api-key": key, "cf-access-client-id": clientId },
      { ...asProgram, "x-api-key": key, "cf-access-client-secret": "wrong" },
      { "x-api-key": key, "cf-access-client-id": "__proto__" },
    ]) {
      const { status, headers: answered } = await ask({ path: tasks, headers });
      expect([302, 403]).toContain(status);
      expect(answered["x-edge-rule"]).toBe("access");
    }
  });

  it("a program with a service token and a key reads and writes", async () => {
    const headers = { ...asProgram, "x-api-key": key, "content-type": "application/json" };
    const body = JSON.stringify({ title: "European Union report; select a reviewer" });
    expect(await ask({ path: tasks, headers, body })).toMatchObject({ status: 201 });
    const listed = await ask({ path: `${tasks}?status=pending`, headers });
    expect(listed.status).toBe(200);
    expect(JSON.parse(listed.text)).toMatchObject({ pagination: { total: 1 } });
  });

  it("a service token alone is no key: the edge refuses it already", async () => {
    const { status, headers } = await ask({ path: tasks, headers: asProgram });
    expect({ status, rule: headers["x-edge-rule"] }).toEqual({
      status: 403,
      rule: "ctm-unauthorized",
    });
  });

  it("the query page needs an email of the domain, and an administrator's key", async () => {
    const query = {
      path: "/api/database/query",
      body: JSON.stringify({ sql: "SELECT 1 AS one" }),
    };
    const headers = { "content-type": "application/json", "x-api-key": key };
    expect(await ask({ ...query, headers })).toMatchObject({ status: 302 });
    const stranger = { ...headers, cookie: edge.login("someone@example.org") };
    expect(await ask({ ...query, headers: stranger })).toMatchObject({ status: 302 });
    const lookalike = { ...headers, cookie: edge.login("someone@notexample.com") };
    expect(await ask({ ...query, headers: lookalike })).toMatchObject({ status: 302 });
    const admin = { ...headers, cookie: edge.login("admin@example.com") };
    const { status, text } = await ask({ ...query, headers: admin });
    expect(status).toBe(200);
    expect(JSON.parse(text)).toMatchObject({ rows: [{ one: 1 }] });
  });

  it("an attack is blocked before Access is asked, an ordinary search is not", async () => {
    const headers = { ...asProgram, "x-api-key": key };
    const attack = `${tasks}?search=%27%20UNION%20SELECT%20key_hash%20FROM%20api_keys--`;
    for (const sent of [headers, { "x-api-key": key }]) {
      const { status, headers: answered } = await ask({ path: attack, headers: sent });
      expect({ status, rule: answered["x-edge-rule"] }).toEqual({
        status: 403,
        rule: "ctm-sql-injection",
      });
    }
    const search = `${tasks}?search=${encodeURIComponent("European Union report")}`;
    expect(await ask({ path: search, headers })).toMatchObject({ status: 200 });
  });

  it("the admin port's paths are not there, and its port is no host of the tunnel", async () => {
    const headers = { ...asProgram, "x-api-key": key };
    for (const path of ["/metrics", "/live", "/ready", "//metrics", "/api/../metrics"]) {
      const { status, text } = await ask({ path, headers });
      expect([403, 404]).toContain(status);
      expect(text).not.toContain("ctm_api_");
    }
    const host = new URL(api.adminUrl).host;
    expect(await ask({ path: "/metrics", headers, host })).toMatchObject({ status: 409 });
  });

  it("the API sees the client's own address, not what the client says", async () => {
    const { key: bound } = await api.createKey({ allowedIps: ["127.0.2.9"] });
    const headers = { ...asProgram, "x-api-key": bound };
    expect(await ask({ path: tasks, headers, from: "127.0.2.9" })).toMatchObject({ status: 200 });
    const forged = { ...headers, "x-forwarded-for": "127.0.2.9", "cf-connecting-ip": "127.0.2.9" };
    const { status, text } = await ask({ path: tasks, headers: forged, from: "127.0.2.10" });
    expect({ status, code: JSON.parse(text).code }).toEqual({
      status: 403,
      code: "IP_NOT_ALLOWED",
    });
  });
});

describe("the rate limits", () => {
  it("stop a client that sends too fast, and nobody else", async () => {
    const headers = { ...asProgram, "x-api-key": key };
    const statuses: number[] = [];
    for (let count = 0; count < 25; count++) {
      statuses.push((await ask({ path: tasks, headers })).status);
    }
    expect(statuses).toEqual([...Array<number>(20).fill(200), ...Array<number>(5).fill(429)]);
    expect(await ask({ path: tasks, headers, from: "127.0.3.1" })).toMatchObject({ status: 200 });
  });
});

describe("ctm edge test", () => {
  interface Document {
    ok: boolean;
    results: { probe: string; ok: boolean; answer: string }[];
    skipped: string[];
  }

  let home: Home;

  beforeAll(async () => {
    home = await Home.create();
    await mkdir(home.paths.credentials, { recursive: true });
    await writeFile(home.paths.edge, JSON.stringify(settings));
    const tokens = { "ci-1": { clientId, clientSecret: service.secret } };
    await writeFile(join(home.paths.credentials, "access-tokens"), JSON.stringify(tokens));
  });
  afterAll(async () => home.end());

  const wrong = async (): Promise<string[]> => {
    const ended = await home.ctm("edge", "test", `http://127.0.0.1:${edge.port}`, "--json");
    const { ok, results, skipped } = JSON.parse(ended.stdout) as Document;
    expect(ended.stdout + ended.stderr).not.toContain(service.secret);
    expect(skipped).toEqual(["TLS: the URL is not https"]);
    expect(results.length).toBe(10);
    expect([ok, ended.code]).toEqual(results.every((one) => one.ok) ? [true, 0] : [false, 3]);
    return results.filter((one) => !one.ok).map(({ probe }) => probe);
  };

  it("finds every answer of a sound edge right", async () => {
    expect(await wrong()).toEqual([]);
  });

  it("finds an edge without Access, without rules, or without the API", async () => {
    const before = edge.settings;
    const bypass = [{ decision: "bypass", include: [{ everyone: {} }] }];
    edge.settings = {
      ...before,
      inspect: () => ({ action: "allow", ref: null, logged: [] }),
    };
    expect(await wrong()).toEqual(["an attack in the query", "a program that attacks"]);
    edge.settings = {
      ...before,
      inspect: inspection(),
      application: { audience, policies: bypass },
    };
    expect(await wrong()).toEqual([
      "no identity",
      "a service token that is none",
      "a forged token of Access",
    ]);
    edge.settings = { ...before, inspect: inspection(), application: { audience, policies: [] } };
    expect(await wrong()).toEqual(["a program with an unknown key"]);
    edge.settings = { ...before, inspect: inspection() };
  });
});

describe("keys and tokens that change", () => {
  it("a new certificate of the team is found without a restart", async () => {
    const headers = { ...asProgram, "x-api-key": key };
    team.rotateKeys();
    // The API asks for certificates that it does not know at most every ten seconds.
    await waitFor(
      "the API to know the new certificate",
      20_000,
      async () => ((await ask({ path: tasks, headers })).status === 200 ? true : undefined),
      { intervalMs: 1000 },
    );
  });

  it("a connector with a revoked token is let go, and one with the new token takes over", async () => {
    const renewed = Buffer.from(JSON.stringify({ a: "account", t: "tunnel", s: "other" })).toString(
      "base64",
    );
    const before = edge.settings;
    edge.settings = {
      ...before,
      ingressOf: (token) => (token === renewed ? before.ingressOf(tunnelToken) : undefined),
    };
    edge.disconnect(tunnelToken);
    await waitFor("the refusal in the log", 10_000, () =>
      connector.output().includes("Invalid tunnel secret") ? true : undefined,
    );
    const headers = { ...asProgram, "x-api-key": key };
    expect(await ask({ path: tasks, headers })).toMatchObject({ status: 530 });
    await connector.stop();
    await writeFile(join(folder, "token"), `${renewed}\n`, { mode: 0o600 });
    connector = await connect();
    expect(await ask({ path: tasks, headers })).toMatchObject({ status: 200 });
    expect(connector.output()).not.toContain(renewed);
  });

  it("no secret is on the connector's command line, in its environment, or logged by the API", async () => {
    const { pid } = connector.child;
    const told = [
      await readFile(`/proc/${pid}/cmdline`, "utf8"),
      await readFile(`/proc/${pid}/environ`, "utf8"),
    ].join();
    const [row] = await api.database.sql<{ text: string }>(
      "SELECT string_agg(api_access_logs::text, ' ') AS text FROM api_access_logs",
    );
    expect(told).not.toContain(Buffer.from("secret").toString("base64"));
    expect(row?.text).toContain(tasks);
    for (const secret of [service.secret, key, team.sign(audience).split(".")[0] ?? ""]) {
      expect(told).not.toContain(secret);
      expect(row?.text).not.toContain(secret);
    }
  });
});
