import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { stackPaths } from "#stack";
import { compileRules, type Rule } from "../../infra/cloudflare/rules/index.ts";
import { leastSettings } from "../../infra/cloudflare/testing/example-settings.ts";
import { CloudflareEmulator } from "../cloudflare/emulator.ts";
import { standInCache } from "../cloudflare/stand-in-cache.ts";
import { checkout, execute, Home, mustSucceed, type Ended } from "./home.ts";

/*
 * The commands that change the edge, on the real engine: a stack that is an edge alone, before
 * Cloudflare's API as the emulator plays it.
 */

const stack = "commands";

let emulator: CloudflareEmulator;
let folder: string;
let home: Home;
let token: string;
/** Everything that any command printed, but what it is asked to show. */
let printed = "";

beforeAll(async () => {
  emulator = await CloudflareEmulator.start();
  token = emulator.token();
  folder = await mkdtemp(join(tmpdir(), "ctm-edge-commands-"));
  home = await Home.create({ CTM_CACHE: await standInCache(folder) });
  const variables = JSON.parse(await home.must("env", "--stack", stack, "--json")) as object;
  const set = async (...args: string[]): Promise<void> => {
    const env = { ...home.env, ...variables };
    const ended = await execute("pulumi", ["config", "set", "--stack", stack, ...args], {
      cwd: checkout,
      env,
    });
    mustSucceed("pulumi config set", ended);
  };
  const settings = {
    ...leastSettings,
    serviceTokens: [{ name: "ci" }, { name: "other" }],
    standalone: { apiPort: 8480 },
    baseUrl: emulator.baseUrl,
  };
  await set("ctm:cloudflare", JSON.stringify(settings));
  await set("--secret", "ctm:cloudflareToken", token);
  mustSucceed("ctm up", await ctm("up", "--yes"));
  healthy();
});

afterAll(async () => {
  await home.ctm("down", "--stack", stack, "--yes", "--purge");
  await home.end();
  await emulator.close();
  await rm(folder, { recursive: true });
  await rm(join(checkout, `Pulumi.${stack}.yaml`), { force: true });
});

/** What only the real Cloudflare sees: a connected cloudflared. */
function healthy(): void {
  emulator.change("tunnel", (tunnel) => ({ ...tunnel, status: "healthy" }));
}

async function ctm(...args: string[]): Promise<Ended> {
  const ended = await home.ctm(...args, "--stack", stack);
  printed += ended.stdout + ended.stderr;
  return ended;
}

async function document<T>(...args: string[]): Promise<T> {
  const ended = await home.ctm(...args, "--stack", stack, "--json");
  printed += ended.stderr;
  return JSON.parse(mustSucceed(`ctm ${args.join(" ")}`, ended)) as T;
}

async function expectNoDrift(): Promise<void> {
  expect(await document("up", "--yes")).toMatchObject({ changes: 0 });
}

function customRules(): Rule[] {
  const found = emulator
    .items("ruleset")
    .find(({ phase }) => phase === "http_request_firewall_custom");
  return found?.["rules"] as Rule[];
}

/** What the rules that Cloudflare holds now do with an ordinary request at a moment. */
function verdict(ip: string, time: number): string | null {
  const headers = { "x-api-key": `ctm_${"0".repeat(64)}`, host: leastSettings.hostname };
  return compileRules(customRules())({
    method: "GET",
    host: leastSettings.hostname,
    path: "/api/database/health",
    query: "",
    headers,
    body: "",
    ip,
    country: "DE",
    asn: 64_496,
    scheme: "https",
    time,
  }).ref;
}

describe("edge lockdown", () => {
  it("lets only the allowed addresses through, until its time has come", async () => {
    const before = emulator.calls.length;
    const { lockdown } = await document<{ lockdown: { until: string } }>(
      ...["edge", "lockdown", "--until", "2h", "--allow", "203.0.113.0/24", "--yes"],
    );
    const until = Date.parse(lockdown.until);
    expect(Math.abs(until - Date.now() - 7_200_000)).toBeLessThan(120_000);
    expect(verdict("198.51.100.1", Date.now())).toBe("ctm-lockdown");
    expect(verdict("203.0.113.9", Date.now())).toBeNull();
    // Nobody has to do anything for it to end.
    expect(verdict("198.51.100.1", until + 1000)).toBeNull();
    const changing = emulator.calls.slice(before).filter(({ method }) => method !== "GET");
    expect(changing.map(({ method, path }) => `${method} ${path.split("/")[3]}`)).toEqual([
      "PUT rulesets",
    ]);
  });

  it("is configuration, and no drift", async () => {
    await expectNoDrift();
    expect(await document("edge", "status")).toMatchObject({
      ok: true,
      lockdown: { over: false, allowed_addresses: ["203.0.113.0/24"] },
    });
  });

  it("is switched off, and everybody is let in again", async () => {
    expect(await document("edge", "lockdown", "--off", "--yes")).toMatchObject({ lockdown: null });
    expect(verdict("198.51.100.1", Date.now())).toBeNull();
  });
});

describe("edge rotate-token", () => {
  interface Rotated {
    step: string;
    client_id: string | null;
    client_secret: string | null;
    generations: number[];
  }
  const names = (): string[] =>
    emulator
      .items("service token")
      .map(({ name }) => String(name))
      .toSorted();
  const letIn = (): string[] => {
    const policy = emulator.items("policy").find(({ decision }) => decision === "non_identity");
    const include = (policy?.["include"] ?? []) as { service_token: { token_id: string } }[];
    const ids = include.map(({ service_token: { token_id: id } }) => id);
    return emulator
      .items("service token")
      .filter(({ id }) => ids.includes(String(id)))
      .map(({ name }) => String(name))
      .toSorted();
  };
  const host = leastSettings.hostname;

  it("makes a second generation, shown once, and lets both in", async () => {
    const rotated = await document<Rotated>("edge", "rotate-token", "ci", "--yes");
    const made = emulator.items("service token").find(({ name }) => name === `${host} ci-2`);
    expect(rotated).toMatchObject({
      step: "begun",
      client_id: made?.["client_id"],
      client_secret: made?.["client_secret"],
      generations: [1, 2],
    });
    expect(letIn()).toEqual([`${host} ci-1`, `${host} ci-2`, `${host} other-1`]);
  });

  it("ends the first one, and leaves the other tokens alone", async () => {
    expect(await document("edge", "rotate-token", "ci", "--finish", "--yes")).toMatchObject({
      step: "finished",
      client_secret: null,
      generations: [2],
    });
    expect(names()).toEqual([`${host} ci-2`, `${host} other-1`]);
    expect(letIn()).toEqual(names());
  });

  it("replaces the tunnel's secret and ends what was opened with the old one", async () => {
    const secretOf = (): unknown => emulator.items("tunnel")[0]?.["tunnel_secret"];
    const old = secretOf();
    const ended = await ctm("edge", "rotate-token", "tunnel", "--yes");
    // This stack is the edge alone: cloudflared is in another one, which has to be told.
    expect(ended.stderr).toContain("connector-elsewhere: ");
    expect(secretOf()).not.toBe(old);
    const paths = emulator.calls.map(({ method, path }) => `${method} ${path}`);
    expect(paths.filter((path) => /^DELETE .*\/connections$/.test(path))).toHaveLength(1);
    healthy();
    await expectNoDrift();
  });
});

it("no secret was printed, and the files that hold them are for their owner alone", async () => {
  const secrets = [
    token,
    ...emulator.items("service token").map(({ client_secret: secret }) => String(secret)),
    ...emulator.items("tunnel").map(({ tunnel_secret: secret }) => String(secret)),
  ];
  for (const secret of secrets) {
    expect(secret.length).toBeGreaterThan(30);
    expect(printed).not.toContain(secret);
  }
  const { credentials } = stackPaths(stack, home.env);
  for (const name of ["cloudflare-token", "access-tokens"]) {
    expect((await stat(join(credentials, name))).mode & 0o077, name).toBe(0);
  }
  expect(emulator.invalid).toEqual([]);
});
