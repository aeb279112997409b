// The whole platform with Cloudflare before it, on this machine: by one `up`, then as two stacks.
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { leastSettings } from "../../infra/cloudflare/testing/example-settings.ts";
import { CloudflareEmulator } from "../cloudflare/emulator.ts";
import { standInCache } from "../cloudflare/stand-in-cache.ts";
import { checkout, execute, Home, mustSucceed } from "../e2e/home.ts";

const edgeStack = "edge";

let emulator: CloudflareEmulator;
let folder: string;
let home: Home;
let token: string;
let pulumiEnvironment: NodeJS.ProcessEnv;
let settings: Record<string, unknown>;

beforeAll(async () => {
  emulator = await CloudflareEmulator.start();
  token = emulator.token();
  folder = await mkdtemp(join(tmpdir(), "ctm-edge-"));
  await chmod(folder, 0o755);
  settings = {
    ...leastSettings,
    serviceTokens: [{ name: "ci" }],
    baseUrl: emulator.baseUrl,
    cloudflared: await installConnected(folder),
  };
  home = await Home.create({ CTM_CACHE: await standInCache(join(folder, "cache")) });
  const variables = JSON.parse(await home.must("env", "--json")) as object;
  pulumiEnvironment = { ...home.env, ...variables };
  await pulumi("local", "config", "set", "ctm:memory", "512MB");
});

afterAll(async () => {
  await home.end();
  await home.ctm("down", "--stack", edgeStack, "--yes", "--purge");
  await emulator.close();
  await rm(folder, { recursive: true });
  await rm(join(checkout, `Pulumi.${edgeStack}.yaml`), { force: true });
});

/** A program that says it is connected: what goes through a tunnel is test/e2e/edge.test.ts's. */
async function installConnected(place: string): Promise<string> {
  const program = join(place, "connected.mjs");
  await writeFile(
    program,
    `import { createServer } from "node:http";
const words = process.argv.slice(2);
if (words.includes("--version")) console.log("cloudflared version 2026.10.7 (built for a test)");
else {
  const [host, port] = words[words.indexOf("--metrics") + 1].split(":");
  const answer = JSON.stringify({ status: 200, readyConnections: 4 });
  createServer((_, response) => response.end(answer)).listen(Number(port), host);
  process.on("SIGTERM", () => process.exit());
}
`,
  );
  const path = join(place, "cloudflared");
  await writeFile(path, `#!/bin/sh\nexec ${process.execPath} ${program} "$@"\n`);
  await chmod(program, 0o644);
  await chmod(path, 0o755);
  return path;
}

async function pulumi(stack: string, ...args: string[]): Promise<string> {
  const ended = await execute("pulumi", [...args, "--stack", stack, "--non-interactive"], {
    cwd: checkout,
    env: pulumiEnvironment,
  });
  return mustSucceed(`pulumi ${args.join(" ")}`, ended);
}

async function refusalOfApi(): Promise<unknown> {
  const { api } = await home.descriptor();
  const response = await fetch(`${api.url}/api/database/health`);
  return Reflect.get((await response.json()) as object, "code");
}

async function apiConfiguration(): Promise<string> {
  return await readFile(join(home.paths.state, "api", "api.json"), "utf8");
}

const edgeNow = (): number =>
  ["policy", "application", "service token", "tunnel", "record", "ruleset"]
    .map((kind) => emulator.items(kind).length)
    .reduce((sum, count) => sum + count, 0);

it("comes up with its edge, whose tokens the API then demands", async () => {
  await pulumi("local", "config", "set", "ctm:cloudflare", JSON.stringify(settings));
  await pulumi("local", "config", "set", "--secret", "ctm:cloudflareToken", token);
  expect(await home.must("up")).toContain("Cloudflare  https://api.example.com");
  expect(emulator.invalid).toEqual([]);
  expect(await refusalOfApi()).toBe("ACCESS_TOKEN_REQUIRED");
  expect(await apiConfiguration()).toContain(String(emulator.items("application")[0]?.["aud"]));
  expect(await home.json("status")).toMatchObject({
    healthy: true,
    edge: { url: "https://api.example.com", connections: 4 },
  });
});

it("changes nothing a second time", async () => {
  expect(await home.json("up")).toMatchObject({ changes: 0 });
});

it("shows the tunnel's token to the service alone", async () => {
  const { users } = await home.descriptor();
  const path = join(home.paths.state, "cloudflared", "token");
  const { stdout } = await execute("stat", ["-c", "%a %U", path]);
  expect(stdout.trim()).toBe(`600 ${users.service}`);
  const held = (await readFile(path, "utf8")).trim();
  const commands = await execute("ps", ["axww", "-o", "args"]);
  expect(commands.stdout).toContain("--token-file");
  expect(commands.stdout).not.toContain(held);
});

it("gives its edge up when it is configured away", async () => {
  await pulumi("local", "config", "rm", "ctm:cloudflareToken");
  await pulumi("local", "config", "rm", "ctm:cloudflare");
  expect(await home.must("up")).toContain("Cloudflare  off: no token is configured");
  expect(edgeNow()).toBe(0);
  expect(await refusalOfApi()).toBe("MISSING_API_KEY");
});

it("takes the edge of another stack, and asks Cloudflare nothing then", async () => {
  const { api } = await home.descriptor();
  const apiPort = Number(new URL(api.url).port);
  await home.must("env", "--stack", edgeStack);
  const own = { ...settings, standalone: { apiPort } };
  await pulumi(edgeStack, "config", "set", "ctm:cloudflare", JSON.stringify(own));
  await pulumi(edgeStack, "config", "set", "--secret", "ctm:cloudflareToken", token);
  await home.must("up", "--stack", edgeStack);

  await pulumi("local", "config", "set", "ctm:cloudflareStack", edgeStack);
  await pulumi("local", "config", "set", "ctm:apiPort", String(apiPort));
  const calls = emulator.calls.length;
  await home.must("up");
  expect(emulator.calls.length).toBe(calls);
  expect(await refusalOfApi()).toBe("ACCESS_TOKEN_REQUIRED");
  expect(await apiConfiguration()).toContain(String(emulator.items("application")[0]?.["aud"]));
  expect(await home.json("up")).toMatchObject({ changes: 0 });
});
