import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findBinaries } from "#database";
import { identityOf, isRoot, makeDirectory, run } from "#system";
import { deriveSettings, withParameters, type Resources } from "./settings.ts";

const megabyte = 1024 ** 2;
const gigabyte = 1024 ** 3;

const machines: [name: string, resources: Resources][] = [
  ["the smallest that can be configured", { memoryBytes: megabyte, cores: 1, members: 9 }],
  ["a small one", { memoryBytes: gigabyte, cores: 1, members: 2 }],
  ["a laptop", { memoryBytes: 8 * gigabyte, cores: 8, members: 2 }],
  ["an odd one", { memoryBytes: 6_000_000_001, cores: 3, members: 2 }],
  ["more members than cores", { memoryBytes: 4 * gigabyte, cores: 2, members: 5 }],
  ["a server", { memoryBytes: 128 * gigabyte, cores: 32, members: 1 }],
  [
    "the largest that can be configured",
    { memoryBytes: 24_000 * gigabyte, cores: 1024, members: 1 },
  ],
];

const bytes = (setting: string | undefined): number =>
  Number.parseInt(setting ?? "", 10) * megabyte;

describe.each(machines)("%s", (_name, resources) => {
  const { member, shared } = deriveSettings(resources);
  const memory = resources.memoryBytes / resources.members;

  it("gives PostgreSQL no more than its share, above the least that it needs", () => {
    const buffers = bytes(member["shared_buffers"]);
    expect(buffers).toBeGreaterThanOrEqual(64 * megabyte);
    expect(buffers).toBeLessThanOrEqual(Math.max(memory / 4, 64 * megabyte));
    expect(buffers).toBeLessThanOrEqual(16 * gigabyte);
    // Each connection may sort once, and all of them fit beside the buffers.
    const sorts = bytes(member["work_mem"]) * Number(shared["max_connections"]);
    expect(sorts).toBeLessThanOrEqual(
      Math.max(memory - buffers, 4 * megabyte * Number(shared["max_connections"])),
    );
    expect(bytes(member["work_mem"])).toBeGreaterThanOrEqual(4 * megabyte);
    expect(bytes(member["maintenance_work_mem"])).toBeLessThanOrEqual(2 * gigabyte);
    expect(bytes(member["max_wal_size"])).toBeLessThanOrEqual(8 * gigabyte);
    expect(bytes(member["min_wal_size"])).toBeLessThan(bytes(member["max_wal_size"]));
  });

  it("has a worker process for each that may run in parallel", () => {
    expect(Number(member["max_parallel_workers"])).toBeLessThanOrEqual(
      Number(shared["max_worker_processes"]),
    );
    expect(Number(member["max_parallel_workers_per_gather"])).toBeLessThanOrEqual(
      Number(member["max_parallel_workers"]),
    );
    expect(Number(shared["max_connections"])).toBeGreaterThanOrEqual(100);
    expect(Number(shared["max_connections"])).toBeLessThanOrEqual(400);
  });
});

it("says what was derived from what", () => {
  const { explanation } = deriveSettings({ memoryBytes: 8 * gigabyte, cores: 8, members: 2 });
  expect(explanation).toBe(
    "shared_buffers 1024MB, work_mem 4MB, max_connections 400 for each of 2 member(s), from 8192MB and 8 core(s)",
  );
});

describe("configured parameters", () => {
  const derived = deriveSettings({ memoryBytes: 8 * gigabyte, cores: 8, members: 2 });

  it("change nothing when there are none", () => {
    expect(withParameters(derived, {})).toEqual(derived);
  });

  it("win over derived ones, each where Patroni reads it", () => {
    const settings = withParameters(derived, { work_mem: "64MB", max_connections: "50" });
    expect(settings.member).toEqual({ ...derived.member, work_mem: "64MB" });
    expect(settings.shared).toEqual({ ...derived.shared, max_connections: "50" });
    expect(settings.explanation).toBe(
      `${derived.explanation}; configured: work_mem 64MB, max_connections 50`,
    );
  });
});

describe("PostgreSQL itself", () => {
  let folder: string;
  let postgres: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "ctm-settings-"));
    await makeDirectory(folder, { mode: 0o755 });
    await writeFile(join(folder, "postgresql.conf"), "");
    postgres = join(await findBinaries(), "postgres");
  });

  afterAll(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  /** What the server would run with; it checks every value, and starts nothing. */
  async function accepted(settings: Record<string, string>, name: string): Promise<string> {
    const options = Object.entries(settings).map(([key, value]) => `--${key}=${value}`);
    const { stdout } = await run(postgres, ["-D", folder, "-C", name, ...options], {
      cwd: "/",
      ...(isRoot() ? { identity: await identityOf("postgres") } : {}),
    });
    return stdout.trim();
  }

  it.each(machines)("accepts the settings of %s", async (_name, resources) => {
    const { member, shared } = deriveSettings(resources);
    const found = await accepted({ ...member, ...shared }, "shared_buffers");
    expect(Number(found) * 8192).toBe(bytes(member["shared_buffers"]));
  });

  it("refuses one that is out of bounds, so that these tests would see it", async () => {
    await expect(accepted({ work_mem: "1kB" }, "work_mem")).rejects.toThrow(
      'is outside the valid range for parameter "work_mem"',
    );
  });
});
