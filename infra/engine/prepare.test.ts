import { type ChildProcess, spawn } from "node:child_process";
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { run, waitFor } from "#system";
import { type Engine, prepareEngine } from "./prepare.ts";
import { checkout } from "./versions.ts";

// The real engine runs a small project: a TypeScript program, a provider in TypeScript, and the
// postgresql plugin, in a path with a space. Where the cache is empty, this fills it.

const firstPreparationMs = 20 * 60_000;

let folder: string;
let project: string;
let engine: Engine;
let env: NodeJS.ProcessEnv;

const files = {
  "package.json": '{ "type": "module" }',
  "Pulumi.yaml": `name: probe
runtime: { name: nodejs, options: { typescript: false } }
main: infra/index.ts
plugins: { providers: [{ name: probe, path: provider }] }
`,
  "infra/index.ts": `import * as pulumi from "@pulumi/pulumi";
import * as postgresql from "@pulumi/postgresql";

class Note extends pulumi.CustomResource {
  declare readonly text: pulumi.Output<string>;
  constructor(name: string, args: { text: pulumi.Input<string> }) {
    super("probe:index:Note", name, args, { version: "0.1.0" });
  }
}

const config = new pulumi.Config();
const behaviour = config.get("behaviour");
if (behaviour === "throw") throw new pulumi.RunError("the program says no");
console.log("runs under", process.version);
new postgresql.Provider("server", { host: "127.0.0.1", port: 1 });
export const text = new Note("hello", { text: config.get("text") ?? "nothing" }).text;
if (behaviour === "hang") {
  text.apply(() => console.log("hanging"));
  await new Promise(() => setInterval(() => undefined, 1000));
}
export const token = config.requireSecret("token");
`,
  "provider/pulumi-resource-probe": `#!/bin/sh
exec node --disable-warning=ExperimentalWarning "$(dirname "$0")/provider.ts" "$@"
`,
  "provider/provider.ts": `import { main } from "@pulumi/pulumi/provider/index.js";
process.stdin.on("end", () => process.exit()).resume();
type Properties = { text?: string };
await main({
  version: "0.1.0",
  check: async (_urn: string, _olds: Properties, news: Properties) => ({ inputs: news, failures: [] }),
  diff: async (_id: string, _urn: string, olds: Properties, news: Properties) => ({ changes: olds.text !== news.text }),
  create: async (_urn: string, inputs: Properties) => ({ id: "note", outs: inputs }),
  update: async (_id: string, _urn: string, _olds: Properties, news: Properties) => ({ outs: news }),
  delete: async () => undefined,
}, process.argv.slice(2));
`,
};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ctm engine "));
  project = join(folder, "a project");
  for (const [name, content] of Object.entries(files)) {
    await mkdir(join(project, name, ".."), { recursive: true });
    await writeFile(join(project, name), content);
  }
  await chmod(join(project, "provider/pulumi-resource-probe"), 0o755);
  await symlink(join(checkout, "node_modules"), join(project, "node_modules"));
  await mkdir(join(folder, "backend"));
  engine = await prepareEngine({
    plugins: ["postgresql"],
    env: { ...process.env, CTM_HOME: join(folder, "home") },
  });
  env = {
    ...process.env,
    ...engine.environment,
    PATH: [...engine.path, process.env["PATH"]].join(":"),
    PULUMI_BACKEND_URL: `file://${join(folder, "backend")}`,
    PULUMI_CONFIG_PASSPHRASE: "passphrase",
  };
  await pulumi("stack", "init", "local");
  await pulumi("config", "set", "text", "hi");
  await pulumi("config", "set", "--secret", "token", "s3cret");
}, firstPreparationMs);

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function pulumi(...args: string[]): Promise<string> {
  const { stdout, stderr } = await run("pulumi", [...args, "--non-interactive"], {
    cwd: project,
    env,
    accept: [0, 1],
    timeoutMs: 120_000,
  });
  return stdout + stderr;
}

/** Everything that runs in the project or was told of it. */
async function projectProcesses(): Promise<string[]> {
  const found: string[] = [];
  for (const pid of await readdir("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    const directory = await readlink(`/proc/${pid}/cwd`).catch(() => "");
    const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (directory.startsWith(folder) || command.includes(folder)) {
      found.push(`${pid} ${command.replaceAll("\0", " ")}`);
    }
  }
  return found;
}

async function startHanging(): Promise<ChildProcess> {
  await pulumi("config", "set", "behaviour", "hang");
  const up = spawn("pulumi", ["up", "--yes", "--skip-preview", "--non-interactive"], {
    cwd: project,
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  up.stdout.on("data", (text: Buffer) => (output += text.toString()));
  await waitFor("the program to hang", 60_000, () => output.includes("hanging") || undefined, {
    lastState: () => output,
  });
  return up;
}

describe("the engine", () => {
  test("has the versions of package-lock.json", async () => {
    expect((await pulumi("version")).trim()).toBe(`v${engine.versions.pulumi}`);
    const { stdout } = await run("pulumi", ["plugin", "ls", "--json"], { cwd: project, env });
    expect(JSON.parse(stdout)).toContainEqual(
      expect.objectContaining({ name: "postgresql", version: engine.versions.plugins.postgresql }),
    );
  });

  test("keeps its home to its user", async () => {
    expect((await stat(engine.home)).mode & 0o777).toBe(0o700);
  });

  test("is found again, with nothing downloaded and nothing built", async () => {
    const lines: string[] = [];
    const again = await prepareEngine({
      plugins: ["postgresql"],
      report: (line) => lines.push(line),
      env: { ...process.env, CTM_HOME: join(folder, "home"), CTM_PULUMI_DOWNLOADS: "off" },
    });
    expect(again).toEqual(engine);
    expect(lines).toEqual([]);
  });

  test("says which home it cannot write", async () => {
    const file = join(folder, "a file");
    await writeFile(file, "");
    await expect(
      prepareEngine({ plugins: [], env: { ...process.env, CTM_HOME: file } }),
    ).rejects.toMatchObject({
      code: "home-not-writable",
      message: `preparing Pulumi's home: ENOTDIR: not a directory, mkdir '${file}/pulumi/home'`,
    });
  });

  test("creates, then changes nothing, then destroys, and never warns", async () => {
    const first = await pulumi("up", "--yes");
    expect(first).toContain(`runs under ${process.version}`);
    expect(first).toContain("+ 3 created");
    const second = await pulumi("up", "--yes");
    expect(second).toContain("3 unchanged");
    expect(await pulumi("refresh", "--yes")).toContain("3 unchanged");
    expect(await pulumi("stack", "output", "token", "--show-secrets")).toBe("s3cret\n");
    const last = await pulumi("destroy", "--yes");
    expect(last).toContain("3 deleted");
    expect(first + second + last).not.toMatch(/warning|s3cret/i);
  }, 120_000);

  test("shows the error of a program once", async () => {
    await pulumi("config", "set", "behaviour", "throw");
    const output = await pulumi("preview");
    expect(output).toMatch(/error: the program says no/);
    expect(output).not.toMatch(/exit code|terminated|non-zero/);
  }, 60_000);

  test("leaves no process when it is killed", async () => {
    const up = await startHanging();
    expect((await projectProcesses()).length).toBeGreaterThan(1);
    up.kill("SIGKILL");
    await waitFor("every process to end", 20_000, async () => {
      const left = await projectProcesses();
      if (left.length > 0) throw new Error(left.join("\n"));
      return true;
    });
    await pulumi("cancel", "--yes");
    expect(await projectProcesses()).toEqual([]);
  }, 120_000);

  test("stops the program on an interrupt", async () => {
    const up = await startHanging();
    up.kill("SIGINT");
    await waitFor("pulumi to end", 30_000, () => up.exitCode ?? undefined);
    expect(up.exitCode).toBe(1);
    await waitFor("every process to end", 5_000, async () =>
      (await projectProcesses()).length === 0 ? true : undefined,
    );
  }, 120_000);
});
