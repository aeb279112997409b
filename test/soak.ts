// `npm run soak`: the tests that take longer than `npm test` may. A whole run writes its result to
// test/soak/last-result.json, to be committed; `npm run soak -- PATH` runs a part and writes none.
import { cpus, release, totalmem } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { messageOf, run, writeFileAtomic } from "#system";
import { lastLine, runVitest, totalsOf, type FileResult } from "./run-vitest.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const configuration = join(root, "test/soak/vitest.config.ts");
const resultPath = join(root, "test/soak/last-result.json");

/** What ran where: a result says nothing without its revision and its machine. */
async function writeResult(files: readonly FileResult[], begun: Date): Promise<void> {
  const git = async (...args: string[]): Promise<string> =>
    (await run("git", args, { cwd: root })).stdout.trim();
  const [cpu] = cpus();
  const result = {
    revision: await git("rev-parse", "HEAD"),
    /** Whether the checkout had changes that no revision holds. */
    changed: (await git("status", "--porcelain", "--untracked-files=no")) !== "",
    at: begun.toISOString(),
    duration_ms: Date.now() - begun.getTime(),
    machine: {
      cores: cpus().length,
      processor: cpu?.model ?? null,
      memory_bytes: totalmem(),
      kernel: release(),
      node: process.versions.node,
    },
    ...totalsOf(files),
    files,
  };
  await writeFileAtomic(resultPath, `${JSON.stringify(result, null, 2)}\n`, { mode: 0o644 });
  console.log(`written to ${relative(root, resultPath)}: commit it with what it ran on`);
}

const filters = process.argv.slice(2);
const begun = new Date();
let totals = { passed: 0, failed: 1, skipped: 0 };
try {
  const files = await runVitest(["--config", configuration, ...filters]);
  totals = totalsOf(files);
  if (filters.length === 0) await writeResult(files, begun);
} catch (error) {
  console.error(messageOf(error));
}
console.log(lastLine(totals));
process.exitCode = totals.failed === 0 && totals.passed > 0 ? 0 : 1;
