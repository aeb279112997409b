import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { serviceNode } from "#engine";
import { credentialPath } from "#stack";
import { identityOf, run, waitFor } from "#system";
import { leastSettings } from "../../infra/cloudflare/testing/example-settings.ts";
import { AccessTeam } from "../cloudflare/access-team.ts";
import { callEdge } from "../cloudflare/client.ts";
import { installConnector, type ConnectorProgram } from "../cloudflare/connector.ts";
import { Edge } from "../cloudflare/edge.ts";
import { CloudflareEmulator } from "../cloudflare/emulator.ts";
import { standInCache } from "../cloudflare/stand-in-cache.ts";
import { checkout, Home } from "../e2e/home.ts";

/*
 * A whole stack with Cloudflare on: what cloudflared is as a service of it. The API cannot have the
 * certificates of a team that is made up, so a request that gets as far as the API is told so.
 */

interface Status {
  healthy: boolean;
  problems: { code: string }[];
  edge: { url: string; connections: number | null } | null;
}

let emulator: CloudflareEmulator;
let team: AccessTeam;
let edge: Edge;
let program: ConnectorProgram;
let folder: string;
let home: Home;
let token: string;

beforeAll(async () => {
  emulator = await CloudflareEmulator.start();
  token = emulator.token();
  team = await AccessTeam.start(leastSettings.team);
  edge = await Edge.start({
    hostname: leastSettings.hostname,
    team,
    application: {
      audience: "a",
      policies: [{ decision: "bypass", include: [{ everyone: {} }] }],
    },
    serviceTokens: {},
    inspect: () => ({ action: "allow", ref: null, logged: [] }),
    ingressOf,
  });
  program = await installConnector(await serviceNode(), edge.tunnelAddress);
  folder = await mkdtemp(join(tmpdir(), "ctm-edge-stack-"));
  home = await Home.create({ CTM_CACHE: await standInCache(folder) });
  const settings = {
    ...leastSettings,
    serviceTokens: [{ name: "ci" }],
    cloudflared: program.path,
    baseUrl: emulator.baseUrl,
  };
  const variables = JSON.parse(await home.must("env", "--json")) as NodeJS.ProcessEnv;
  const set = async (key: string, value: string, ...flags: string[]): Promise<void> => {
    await run("pulumi", ["config", "set", ...flags, key], {
      cwd: checkout,
      env: { ...home.env, ...variables },
      input: value,
    });
  };
  await set("ctm:memory", "1GB");
  await set("ctm:cloudflare", JSON.stringify(settings));
  await set("ctm:cloudflareToken", token, "--secret");
  await home.must("up", "--yes");
});

afterAll(async () => {
  await home.end();
  await edge.stop();
  await program.remove();
  await team.stop();
  await emulator.close();
  await rm(folder, { recursive: true });
});

/** As the edge looks a tunnel up: by the token that Cloudflare gave out last. */
function ingressOf(given: string): { hostname?: string; service: string }[] | undefined {
  const [tunnel] = emulator.items("tunnel");
  const parts = JSON.parse(Buffer.from(given, "base64").toString()) as { s: string };
  if (parts.s !== tunnel?.["tunnel_secret"]) return undefined;
  const configuration = emulator.document(`/cfd_tunnel/${String(tunnel["id"])}/configurations`);
  return (configuration as { config: { ingress: { service: string }[] } }).config.ingress;
}

async function connector(): Promise<number> {
  const { stdout } = await run("pgrep", ["-f", `${program.path}.ts tunnel`]);
  return Number(stdout.trim().split("\n")[0]);
}

async function secrets(): Promise<string[]> {
  const tokenFile = join(home.paths.state, "cloudflared", "token");
  const tokens = await readFile(credentialPath(home.paths, "access-tokens"), "utf8");
  const [, clientSecret = ""] = /"clientSecret": "(\w+)"/.exec(tokens) ?? [];
  return [token, (await readFile(tokenFile, "utf8")).trim(), clientSecret];
}

it("is healthy, with four connections to Cloudflare, and up again changes nothing", async () => {
  const status = await home.json<Status>("status");
  expect(status.problems).toEqual([]);
  expect(status.edge).toEqual({ url: "https://api.example.com", connections: 4 });
  expect(await home.json("up", "--yes")).toMatchObject({ changes: 0 });
  emulator.change("tunnel", (tunnel) => ({ ...tunnel, status: "healthy" }));
  expect(await home.json("edge", "status")).toMatchObject({ ok: true });
});

it("runs cloudflared as the service's user, its token in a file of its own", async () => {
  const { users } = await home.descriptor();
  const { uid } = await identityOf(users.service);
  const process = `/proc/${await connector()}`;
  expect((await stat(process)).uid).toBe(uid);
  const file = await stat(join(home.paths.state, "cloudflared", "token"));
  expect([file.uid, file.mode & 0o777]).toEqual([uid, 0o600]);
  const shown = await Promise.all(
    ["cmdline", "environ"].map((name) => readFile(join(process, name), "utf8")),
  );
  const logs = await run("grep", ["-rhs", ".", home.paths.log]);
  const status = await home.must("status");
  for (const secret of await secrets()) {
    expect(secret.length).toBeGreaterThan(30);
    expect(shown.join() + logs.stdout + status).not.toContain(secret);
  }
});

it("lets a request as far as the API, which demands a token of the team", async () => {
  const { api } = await home.descriptor();
  const path = "/api/database/health";
  const through = await callEdge(edge.port, { path });
  expect([through.status, through.text]).toEqual([503, expect.stringContaining("certificates")]);
  const direct = await fetch(`${api.url}${path}`);
  expect(await direct.json()).toMatchObject({ code: "ACCESS_TOKEN_REQUIRED" });
  expect((await callEdge(edge.port, { path: "/metrics" })).text).not.toContain("ctm_api_");
});

it("has the tunnel's secret replaced, and is connected with the new one", async () => {
  const [, before] = await secrets();
  expect(await home.json("edge", "rotate-token", "tunnel", "--yes")).toMatchObject({
    step: "replaced",
  });
  const [, after] = await secrets();
  expect(after).not.toBe(before);
  expect(edge.connections).toBe(4);
  expect(await home.json("up", "--yes")).toMatchObject({ changes: 0 });
});

it("tells when Cloudflare cannot be reached, and connects again by itself", async () => {
  const { settings } = edge;
  edge.settings = { ...settings, ingressOf: () => undefined };
  edge.disconnect((await secrets())[1] ?? "");
  await waitFor("status to say so", 30_000, async () => {
    const { problems } = await home.json<Status>("status");
    return problems.some(({ code }) => code === "tunnel-not-connected") ? true : undefined;
  });
  edge.settings = settings;
  await waitFor("the tunnel to be back", 30_000, () => (edge.connections === 4 ? true : undefined));
});

it("is gone with the stack", async () => {
  await home.must("down", "--yes");
  expect(emulator.items("tunnel")).toEqual([]);
  expect(edge.connections).toBe(0);
});
