import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { leastSettings } from "../../infra/cloudflare/testing/example-settings.ts";
import { CloudflareEmulator } from "../cloudflare/emulator.ts";
import { recordedCalls } from "../cloudflare/recording.ts";
import { namesOf } from "../cloudflare/shape.ts";
import { standInCache } from "../cloudflare/stand-in-cache.ts";
import { checkout, execute, Home, mustSucceed } from "./home.ts";

/*
 * A stack that is an edge alone, by the real program on the real engine: against Cloudflare's API
 * as the emulator plays it, with the stand-in in place of the official plugin.
 */

const stack = "edge";

/** What a deploy token is given, and nothing else (docs/first-deploy.md). */
const deployScopes = [
  "Access: Apps and Policies Write",
  "Access: Service Tokens Write",
  "Cloudflare Tunnel Write",
  "Workers R2 Storage Write",
  "Notifications Write",
  "DNS Write",
  "Zone WAF Write",
  "Zone Settings Write",
];

const settings = {
  ...leastSettings,
  serviceTokens: [{ name: "ci", generations: [1, 2] }],
  countries: ["DE", "US"],
  bucket: { name: "far-copy", location: "weur" },
  notify: ["ops@example.com"],
  standalone: { apiPort: 8480 },
};

let emulator: CloudflareEmulator;
let folder: string;
let home: Home;
let token: string;
let pulumiEnvironment: NodeJS.ProcessEnv;
/** Everything that any run printed. */
let printed = "";

beforeAll(async () => {
  emulator = await CloudflareEmulator.start();
  token = emulator.token(deployScopes);
  folder = await mkdtemp(join(tmpdir(), "ctm-cloudflare-"));
  home = await Home.create({ CTM_CACHE: await standInCache(folder) });
  const variables = JSON.parse(await home.must("env", "--stack", stack, "--json")) as object;
  pulumiEnvironment = { ...home.env, ...variables };
  await configure({ ...settings, baseUrl: emulator.baseUrl });
  await pulumi("config", "set", "--secret", "ctm:cloudflareToken", token);
});

afterAll(async () => {
  await home.ctm("down", "--stack", stack, "--yes", "--purge");
  await home.end();
  await emulator.close();
  await rm(folder, { recursive: true });
  await rm(join(checkout, `Pulumi.${stack}.yaml`), { force: true });
});

async function configure(value: unknown): Promise<void> {
  await pulumi("config", "set", "ctm:cloudflare", JSON.stringify(value));
}

async function pulumi(...args: string[]): Promise<string> {
  const ended = await execute("pulumi", [...args, "--stack", stack, "--non-interactive"], {
    cwd: checkout,
    env: pulumiEnvironment,
  });
  printed += ended.stdout + ended.stderr;
  return mustSucceed(`pulumi ${args.join(" ")}`, ended);
}

interface UpDocument {
  changes: number;
  changed: { operation: string; name: string; properties: string[] }[];
  recovered: { pending: number; adopted: string[] };
  cloudflare: { url: string } | null;
  postgres: unknown;
}

async function up(): Promise<UpDocument> {
  const ended = await home.ctm("up", "--stack", stack, "--yes", "--json");
  printed += ended.stdout + ended.stderr;
  return JSON.parse(mustSucceed("ctm up", ended)) as UpDocument;
}

const kinds = [
  "policy",
  "application",
  "service token",
  "tunnel",
  "record",
  "ruleset",
  "bucket",
  "notification",
];

const counts = (): Record<string, number> =>
  Object.fromEntries(kinds.map((kind) => [kind, emulator.items(kind).length]));

/** What one stack has of each. */
const whole = (): Record<string, number> => ({
  policy: 3,
  application: 1,
  "service token": 2,
  tunnel: 1,
  record: 1,
  ruleset: emulator.items("ruleset").length,
  bucket: 1,
  notification: 3,
});

describe("up", () => {
  it("refuses what the plan cannot hold before it calls anything", async () => {
    await configure({ ...settings, plan: "pro", baseUrl: emulator.baseUrl });
    const { code, stderr } = await home.ctm("up", "--stack", stack, "--yes");
    printed += stderr;
    expect(code).toBe(1);
    expect(stderr).toContain(
      "ctm-limit-burst: the plan pro holds 2 rate limits, not 3; nearest: some of them merged",
    );
    expect(stderr).toContain("next: allow the nearest forms with ctm:cloudflare.mayDegrade");
    expect(emulator.calls).toEqual([]);
    await configure({ ...settings, baseUrl: emulator.baseUrl });
  });

  it("makes the edge, and says where it is", async () => {
    const document = await up();
    expect(document).toMatchObject({
      cloudflare: { url: "https://api.example.com" },
      postgres: null,
      recovered: { pending: 0 },
    });
    expect(counts()).toEqual(whole());
    expect(emulator.document("/settings/ssl")).toMatchObject({ value: "strict" });
  });

  it("sends nothing that Cloudflare does not describe", () => {
    expect(emulator.invalid).toEqual([]);
    expect(emulator.calls.filter(({ status }) => status >= 400)).toEqual([]);
  });

  it("sends what the official provider was recorded to send, and three names more", () => {
    const recorded = recordedCalls();
    const placeOf = (path: string): string =>
      path
        .replaceAll(/[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32}/g, "ID")
        .replaceAll(/\b\w+_id\b|far-copy|bucket_name/g, "ID");
    const unrecorded = emulator.calls
      .filter(({ method }) => method !== "GET")
      .flatMap(({ method, path, body }) => {
        const same = recorded.filter(
          (call) => call.method === method && placeOf(call.path) === placeOf(path),
        );
        const known = new Set(same.flatMap((call) => namesOf(call.body)));
        expect(known.size, `${method} ${path}`).toBeGreaterThan(0);
        return namesOf(body).filter((name) => !known.has(name));
      });
    // Of the same types: other selectors of a policy, another filter of a notification.
    expect([...new Set(unrecorded)].toSorted()).toEqual([
      "exclude[].geo.country_code",
      "filters.zones[]",
      "include[].everyone",
    ]);
  });

  it("changes nothing a second time", async () => {
    expect(await up()).toMatchObject({ changes: 0, changed: [] });
    await pulumi("preview", "--refresh", "--expect-no-changes");
  });
});

describe("drift", () => {
  it("in each resource type is found by name, and repaired", async () => {
    const before = new Map(kinds.map((kind) => [kind, emulator.items(kind)]));
    emulator.change("policy", (item) =>
      item["decision"] === "allow"
        ? { ...item, include: [{ email_domain: { domain: "example.org" } }] }
        : item,
    );
    emulator.change("application", (item) => ({ ...item, session_duration: "720h" }));
    emulator.change("service token", (item) =>
      String(item["name"]).endsWith("ci-1") ? { ...item, name: "renamed" } : item,
    );
    emulator.change("tunnel", (item) => ({ ...item, name: "renamed" }));
    emulator.change("record", (item) => ({ ...item, proxied: false }));
    emulator.change("ruleset", (item) => ({ ...item, rules: [] }));
    emulator.change("notification", (item) => ({ ...item, enabled: false }));
    emulator.change("bucket", (item) => ({ ...item, storage_class: "InfrequentAccess" }));
    const tunnel = String(emulator.items("tunnel")[0]?.["id"]);
    emulator.changeDocument(`/cfd_tunnel/${tunnel}/configurations`, () => ({
      tunnel_id: tunnel,
      version: 9,
      config: { ingress: [{ service: "http://127.0.0.1:22" }] },
    }));
    emulator.changeDocument("/settings/ssl", (value) => ({ ...(value as object), value: "off" }));
    for (const rules of ["lock", "lifecycle"]) {
      emulator.changeDocument(`/r2/buckets/far-copy/${rules}`, () => ({ rules: [] }));
    }

    const { changed } = await up();
    const rulesets = emulator.items("ruleset").map(({ name }) => String(name).slice(4));
    expect(changed.map(({ operation, name }) => `${operation} ${name}`).toSorted()).toEqual(
      [
        "admins",
        "application",
        "ci-1",
        "tunnel",
        "configuration",
        "name",
        "attack",
        "service-token-ends",
        "tunnel-down",
        "bucket",
        "lock",
        "lifecycle",
        "ssl",
        ...rulesets,
      ]
        .map((name) => `update ${name}`)
        .toSorted(),
    );
    for (const kind of kinds) {
      // But for times, versions, and settings of a record that the provider spells out later.
      const timeless = (items: object[] | undefined): unknown =>
        JSON.parse(
          JSON.stringify(items, (key, value: unknown) =>
            /_at$|_on$|^(modified|last_updated|version|id|settings)$/.test(key) ? undefined : value,
          ),
        );
      expect(timeless(emulator.items(kind)), kind).toEqual(timeless(before.get(kind)));
    }
  });

  it("is what somebody deleted, too, and nothing else is left to change", async () => {
    for (const kind of ["record", "notification", "ruleset"]) emulator.remove(kind);
    const { changed } = await up();
    expect(new Set(changed.map(({ operation }) => operation))).toEqual(new Set(["create"]));
    expect(counts()).toEqual(whole());
    expect(emulator.items("ruleset")).not.toEqual([]);
  });
});

describe("a killed up", () => {
  it("is finished by the next one, and nothing is there twice", async () => {
    for (const kind of kinds) emulator.remove(kind);
    const reached = emulator.silence(
      /^POST \S+\/access\/policies .*Database Admin Access/,
      /^POST \S+\/access\/service_tokens .*ci-1/,
      /^POST \S+\/cfd_tunnel /,
      /^POST \S+\/r2\/buckets /,
      /^POST \S+\/alerting\/v3\/policies .*tunnel-down/,
      /^POST \S+\/rulesets .*http_ratelimit/,
    );
    const killed = startUp();
    await reached;
    await kill(killed);

    const { recovered } = await up();
    expect(recovered.pending).toBeGreaterThanOrEqual(6);
    const adopted = recovered.adopted.map((urn) => urn.split("::").at(-1));
    // What was answered just before the kill may be among them too.
    expect(adopted).toEqual(
      expect.arrayContaining(["admins", "bucket", "rate-limits", "tunnel", "tunnel-down"]),
    );
    // The service token's secret went to the killed run alone: it is made again.
    expect(adopted).not.toContain("ci-1");
    expect(counts()).toEqual(whole());
    expect(await up()).toMatchObject({ changes: 0 });
  });
});

/** A run in a process group of its own. */
function startUp(): ChildProcess {
  return spawn("node", [join(checkout, "bin/ctm"), "up", "--stack", stack, "--yes", "--json"], {
    cwd: "/",
    env: home.env,
    stdio: "ignore",
    detached: true,
  });
}

async function kill(child: ChildProcess): Promise<void> {
  const ended = new Promise((resolve) => child.once("close", resolve));
  process.kill(-(child.pid ?? 0), "SIGKILL");
  await ended;
}

describe("secrets", () => {
  const secrets = (): string[] => {
    const texts = (kind: string, name: string): string[] =>
      emulator.items(kind).map((item) => String(item[name]));
    return [token, ...texts("service token", "client_secret"), ...texts("tunnel", "tunnel_secret")];
  };

  it("are in no log, diff, preview, or clear state", async () => {
    await configure({
      ...settings,
      baseUrl: emulator.baseUrl,
      admins: { emailDomains: ["a.org"] },
    });
    await pulumi("up", "--yes", "--diff", "--refresh");
    await pulumi("stack", "output", "--json");
    const texts = [printed, ...(await filesBelow(join(home.paths.pulumi, "backend")))];
    texts.push(await readFile(join(checkout, `Pulumi.${stack}.yaml`), "utf8"));
    const all = texts.join("\n");
    expect(all).toContain("api.example.com");
    for (const secret of secrets()) {
      expect(secret.length).toBeGreaterThan(30);
      expect(all.includes(secret)).toBe(false);
      // A tunnel's token is its secret in other letters.
      expect(all.includes(Buffer.from(secret).toString("base64"))).toBe(false);
    }
    for (const { id } of emulator.items("tunnel")) {
      const [, middle = ""] =
        /(\w{24})/.exec(Buffer.from(`"t":"${String(id)}"`).toString("base64")) ?? [];
      expect(all.includes(middle)).toBe(false);
    }
  });

  it("are handed to who asks for them", async () => {
    const outputs = JSON.parse(await pulumi("stack", "output", "--json", "--show-secrets")) as {
      edge: { serviceTokens: Record<string, { clientSecret: string }> };
    };
    expect(Object.keys(outputs.edge.serviceTokens).toSorted()).toEqual(["ci-1", "ci-2"]);
  });
});

async function filesBelow(path: string): Promise<string[]> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  return await Promise.all(files.map((file) => readFile(join(file.parentPath, file.name), "utf8")));
}

describe("down", () => {
  it("leaves nothing that can be deleted, also where somebody deleted before", async () => {
    emulator.remove("record");
    mustSucceed("ctm down", await home.ctm("down", "--stack", stack, "--yes"));
    expect(counts()).toEqual(Object.fromEntries(kinds.map((kind) => [kind, 0])));
    expect(emulator.invalid).toEqual([]);
  });
});
