import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { lastLines } from "./index.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp("/tmp/ctm-logs-");
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

const many = Array.from({ length: 30_000 }, (_, index) => `line ${index} ü`);

test.each([
  ["empty", "", 5, []],
  ["one line", "a\n", 5, ["a"]],
  ["no line end", "a\nb", 5, ["a", "b"]],
  ["blank lines", "a\n\n\n", 2, ["", ""]],
  ["none wanted", "a\nb\n", 0, []],
  ["larger than a chunk", `${many.join("\n")}\n`, 3, many.slice(-3)],
  ["all of a large one", many.join("\n"), 50_000, many],
])("the end of a log: %s", async (name, content, count, expected) => {
  const path = join(folder, name);
  await writeFile(path, content);
  expect(await lastLines(path, count)).toEqual(expected);
});

test("a missing log is an error that names it", async () => {
  const path = join(folder, "missing");
  await expect(lastLines(path, 1)).rejects.toMatchObject({
    code: "no-log",
    message: `${path} does not exist`,
  });
});
