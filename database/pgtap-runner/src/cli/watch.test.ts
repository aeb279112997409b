import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi, type MockInstance } from "vitest";
import { watch } from "./watch.ts";

let folder: string;
/** Standard output, which is told of each wait. */
let output: MockInstance;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "pgtap-watch-"));
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  output = vi.spyOn(process.stdout, "write").mockReturnValue(true);
});
afterEach(async () => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  await rm(folder, { recursive: true });
});

/** Lets happen what needs no timer, until the condition holds. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve));
}

test("what changes during a run is run once, when it has settled", async () => {
  const path = join(folder, "a.sql");
  await writeFile(path, "");
  const runs: (readonly string[])[] = [];
  const end = new AbortController();
  const ended = watch(
    { files: [folder] },
    async (files) => {
      runs.push(files);
      if (runs.length > 1) return 0;
      // In one step, which is seen as one.
      await writeFile(`${path}.new`, "SELECT 1;");
      await rename(`${path}.new`, path);
      await until(() => vi.getTimerCount() > 0);
      return 0;
    },
    end.signal,
  );
  const waits = (): number => output.mock.calls.length;
  await until(() => waits() === 1);
  expect(runs).toEqual([[folder]]);
  vi.runAllTimers();
  await until(() => waits() === 2);
  expect(runs).toEqual([[folder], [path]]);
  vi.runAllTimers();
  end.abort();
  expect(await ended).toBe(0);
  expect(runs).toHaveLength(2);
});
