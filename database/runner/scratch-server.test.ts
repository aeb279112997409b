import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, readdir, rmdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, vi } from "vitest";
import { exists, waitFor } from "#system";
import { connect, disconnect } from "./connect.ts";
import { findBinaries, startScratchServer } from "./scratch-server.ts";

vi.setConfig({ testTimeout: 30_000 });

it("serves, and leaves nothing when stopped", async () => {
  const server = await startScratchServer();
  const client = await connect(server.connection, "test");
  const { rows } = await client.query<{ encoding: string }>(
    "SELECT current_setting('server_encoding') AS encoding",
  );
  await disconnect(client);
  expect(rows).toEqual([{ encoding: "UTF8" }]);
  expect(await server.log()).toContain("ready to accept connections");
  await server.stop();
  expect(await exists(String(server.connection.host))).toBe(false);
});

it("goes when the process that started it is killed", async () => {
  const module = JSON.stringify(new URL("scratch-server.ts", import.meta.url).href);
  const script = `import { startScratchServer } from ${module};
    console.log((await startScratchServer()).connection.host);
    setInterval(() => undefined, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = await once(child.stdout, "data");
  const folder = String(line).trim();
  expect(await exists(folder)).toBe(true);
  child.kill("SIGKILL");
  await waitFor("the server's folder to go", 10_000, async () =>
    (await exists(folder)) ? undefined : true,
  );
});

it("goes when that process is killed before there is a server", async () => {
  const folder = await mkdtemp(join(tmpdir(), "ctm-killed-"));
  await chmod(folder, 0o755);
  const module = JSON.stringify(new URL("scratch-server.ts", import.meta.url).href);
  const child = spawn(
    process.execPath,
    [
      "--input-type=module",
      "--eval",
      `import { startScratchServer } from ${module}; await startScratchServer();`,
    ],
    { stdio: "inherit", env: { ...process.env, TMPDIR: folder } },
  );
  const isEmpty = async (): Promise<boolean> => (await readdir(folder)).length === 0;
  await waitFor("initdb to begin", 10_000, async () => ((await isEmpty()) ? undefined : true), {
    intervalMs: 10,
  });
  child.kill("SIGKILL");
  await waitFor("its folder to go", 10_000, async () => ((await isEmpty()) ? true : undefined));
  await rmdir(folder);
});

it("says why a server does not start", async () => {
  await expect(
    startScratchServer({ settings: { shared_buffers: "nonsense" } }),
  ).rejects.toMatchObject({
    code: "scratch-server-failed",
    message: expect.stringContaining("shared_buffers"),
  });
});

it("says that a version is not installed", async () => {
  await expect(findBinaries({ version: 9, env: {} })).rejects.toMatchObject({
    text: `postgres-not-installed: no PostgreSQL 9 server is installed here
next: apt-get install postgresql-9, or set CTM_POSTGRES_BIN to the folder of its initdb`,
  });
});
