import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { endRemoval, keptPath, type Keep } from "./kept.ts";

let folder: string;
const keep = (name: string, stack = "mine"): Keep => ({
  stateDirectory: join(folder, stack),
  kept: join(folder, "kept"),
  stack,
  name,
});

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ctm-kept-"));
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

it("keeps everything of one removal in one folder, however many go at once", async () => {
  const paths = await Promise.all(
    ["repository", "ca.crt", "ca.key"].map((name) => keptPath(keep(name))),
  );
  expect(paths.map((path) => basename(path))).toEqual(["repository", "ca.crt", "ca.key"]);
  expect(new Set(paths.map((path) => dirname(path))).size).toBe(1);
  expect(basename(dirname(paths[0] ?? ""))).toMatch(/^mine-\d{8}T\d{6}Z$/);
});

it("goes on in the same folder after a kill", async () => {
  const before = await keptPath(keep("ca.crt"));
  await rm(join(folder, "kept"), { recursive: true });
  expect(await keptPath(keep("ca.crt"))).toBe(before);
  expect(await readdir(join(folder, "kept"))).toEqual([basename(dirname(before))]);
});

it("never puts a later removal over an earlier one", async () => {
  const first = await keptPath(keep("settings-key"));
  await writeFile(first, "the first key");
  // It was replaced, or the stack was removed and made again, all in one second.
  await endRemoval(keep("settings-key"));
  const second = await keptPath(keep("settings-key"));
  expect(dirname(second)).not.toBe(dirname(first));
  expect(await readFile(first, "utf8")).toBe("the first key");
});

it("keeps stacks apart", async () => {
  expect(dirname(await keptPath(keep("ca.crt")))).not.toBe(
    dirname(await keptPath(keep("ca.crt", "other"))),
  );
});
