import { chmod, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { stackProcesses } from "#runtime";
import { identityOf, isRoot, run } from "#system";
import { checkout, execute, Home, shown, type Ended } from "./home.ts";

let home: Home;
const configuration = join(checkout, "Pulumi.local.yaml");

beforeEach(async () => {
  home = await Home.create();
});

afterEach(async () => {
  await rm(configuration, { force: true });
  await home.end();
});

async function configure(keys: Record<string, unknown>): Promise<void> {
  await writeFile(configuration, JSON.stringify({ config: keys }));
}

/** No process and no cluster was made; the user's own words are all that is left. */
async function expectNothingMade(ended: Ended): Promise<void> {
  expect(ended.stdout, shown(ended)).toBe("");
  expect(ended.stderr).not.toMatch(/\n\s+at .*\.[tj]s:\d+/);
  expect(await stackProcesses(home.paths.state)).toEqual([]);
  expect(await readdir(home.paths.state).catch(() => [])).not.toContain("repository");
}

describe("configuration that is wrong", () => {
  it.each<[string, Record<string, unknown>, string]>([
    ["an unknown key", { "ctm:membres": "x" }, "ctm:membres is no key of ctm"],
    [
      "a wrong type",
      { "ctm:readWritePort": "many" },
      "ctm:readWritePort: Invalid input: expected number, received string",
    ],
    [
      "two members of one name",
      { "ctm:members": [{ name: "a" }, { name: "a" }] },
      'ctm:members[1].name: two members are named "a"',
    ],
  ])("%s is one clear error", async (_, keys, message) => {
    await configure(keys);
    const ended = await home.ctm("up");
    expect(ended.code).toBe(2);
    expect(ended.stderr).toContain(`bad-configuration: ${message}\n`);
    expect(ended.stderr).toContain("next: ");
    await expectNothingMade(ended);
  });

  it("a configured port of somebody else's is named, with its owner", async () => {
    const server = await listen();
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    try {
      await configure({ "ctm:readWritePort": port });
      const ended = await home.ctm("up");
      expect(ended.code).toBe(1);
      expect(ended.stderr).toContain(
        `port-taken: ctm:readWritePort asks for port ${port}, which node (pid ${process.pid})`,
      );
      await expectNothingMade(ended);
    } finally {
      server.close();
    }
  });
});

async function listen(): Promise<Server> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

describe("a home that cannot hold a stack", () => {
  it.runIf(isRoot())("a full disk", async () => {
    await onTmpfs("size=1m", async (folder) => {
      const ended = await execute("node", [join(checkout, "bin/ctm"), "up"], {
        env: { ...home.env, CTM_HOME: folder },
      });
      expect(ended.code).toBe(1);
      expect(ended.stderr).toMatch(
        /disk-full: .* has \d+ MB free; a new stack needs 2048 MB\nnext: /,
      );
    });
  });

  it.runIf(isRoot())("a read-only disk", async () => {
    await onTmpfs("ro", async (folder) => {
      const ended = await execute("node", [join(checkout, "bin/ctm"), "up"], {
        env: { ...home.env, CTM_HOME: folder },
      });
      expect(ended.code).toBe(1);
      expect(ended.stderr).toContain(`read-only: ${folder} is on a read-only disk\nnext: `);
    });
  });

  it.runIf(isRoot())("no permission", async () => {
    await chmod(home.directory, 0o700);
    const ended = await execute("node", [join(checkout, "bin/ctm"), "up"], {
      cwd: "/",
      env: home.env,
      ...(await identityOf("nobody")),
    });
    expect(ended.code, shown(ended)).toBe(1);
    expect(ended.stderr).toMatch(/no-permission: .*\nnext: /);
  });

  async function onTmpfs(options: string, work: (folder: string) => Promise<void>): Promise<void> {
    const folder = join(home.directory, "disk");
    await mkdir(folder);
    await run("mount", ["-t", "tmpfs", "-o", options, "ctm-test", folder]);
    try {
      await work(folder);
    } finally {
      await run("umount", [folder]);
    }
  }
});

describe("somebody else's data", () => {
  it("in the data directory is refused and left untouched", async () => {
    const data = join(home.paths.state, "members", "m1", "data");
    await mkdir(data, { recursive: true });
    await writeFile(join(data, "PG_VERSION"), "15\n");
    const ended = await home.ctm("up");
    expect(ended.code).toBe(1);
    expect(ended.stderr).toContain(
      `foreign-data: ${data} holds a PostgreSQL data directory of something that ctm did not make; it is left untouched`,
    );
    expect(await readdir(data)).toEqual(["PG_VERSION"]);
    expect(await readFile(join(data, "PG_VERSION"), "utf8")).toBe("15\n");
    await rm(data, { recursive: true });
  });
});
