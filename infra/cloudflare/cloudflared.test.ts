import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { isRoot } from "#system";
import { findCloudflared } from "./cloudflared.ts";

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ctm-cloudflared-"));
  await chmod(folder, 0o755);
});

afterEach(async () => {
  await rm(folder, { recursive: true });
});

async function program(name: string, script: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, `#!/bin/sh\n${script}\n`);
  await chmod(path, 0o755);
  return path;
}

const says = (version: string): string =>
  `echo "cloudflared version ${version} (built 2026-01-01-0000 UTC)"`;

test("the first of the usual places is taken", async () => {
  const second = await program("second", says("2025.4.0"));
  expect(await findCloudflared(undefined, [join(folder, "first"), second])).toBe(second);
  const first = await program("first", says("2026.10.7"));
  expect(await findCloudflared(undefined, [first, second])).toBe(first);
});

test("one that somebody built is taken at their word", async () => {
  const path = await program("own", says("DEV"));
  expect(await findCloudflared(path)).toBe(path);
});

test("one that is nowhere is told with the places, and what to do", async () => {
  await expect(findCloudflared(undefined, ["/nowhere/a", "/nowhere/b"])).rejects.toMatchObject({
    code: "cloudflared-missing",
    message:
      "cloudflared, which holds the tunnel to Cloudflare open, is not at /nowhere/a nor at /nowhere/b",
    next: expect.stringContaining("ctm:cloudflare.cloudflared"),
  });
  // A configured path is not replaced by another program that happens to be there.
  await expect(findCloudflared("/nowhere/c")).rejects.toMatchObject({
    code: "cloudflared-missing",
  });
});

test.each(["2025.3.9", "2024.12.2"])("%s would need its token as an argument", async (version) => {
  const path = await program("old", says(version));
  await expect(findCloudflared(path)).rejects.toMatchObject({
    code: "cloudflared-too-old",
    message: `${path} is ${version}; tokens are read from a file since 2025.4.0`,
  });
});

test("one of another machine does not run", async () => {
  const path = await program("broken", "exit 126");
  await expect(findCloudflared(path)).rejects.toMatchObject({ code: "cloudflared-unusable" });
});

test.runIf(isRoot())("one in a closed folder cannot run as the service's user", async () => {
  await mkdir(join(folder, "closed"), { mode: 0o700 });
  const path = await program("closed/cloudflared", says("2026.1.0"));
  await expect(findCloudflared(path)).rejects.toMatchObject({ code: "cloudflared-not-shared" });
});
