import { chmod, copyFile, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { run } from "#system";
import { everybodyCanRun, serviceNode } from "./service-node.ts";

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ctm-node-"));
  await chmod(folder, 0o755);
});

afterEach(async () => {
  await rm(folder, { recursive: true });
});

test("a program below a closed folder is not for everybody", async () => {
  await mkdir(join(folder, "closed"));
  const program = join(folder, "closed/node");
  await copyFile("/bin/true", program);
  expect(await everybodyCanRun(program)).toBe(true);
  await chmod(join(folder, "closed"), 0o700);
  expect(await everybodyCanRun(program)).toBe(false);
  await chmod(join(folder, "closed"), 0o755);
  await chmod(program, 0o744);
  expect(await everybodyCanRun(program)).toBe(false);
});

test.runIf(process.getuid?.() === 0)("the service's Node starts as nobody", async () => {
  const node = await serviceNode();
  const { stdout } = await run(node, ["--version"], { identity: { uid: 65534, gid: 65534 } });
  expect(stdout).toMatch(/^v\d+\./);
});
