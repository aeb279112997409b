// `npm run soak`: the tests that take longer than `npm test` may. A whole run writes its result to
// test/soak/last-result.json, to be committed; `npm run soak -- PATH` runs a part and writes none.
import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { cpus, release, tmpdir, totalmem } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { CtmError, messageOf, run, writeFileAtomic } from "#system";

const root = fileURLToPath(new URL("..", import.meta.url));
const resultPath = join(root, "test/soak/last-result.json");

/** The parts of vitest's JSON report that are kept. */
const reportSchema = z.object({
  testResults: z.array(
    z.object({
      name: z.string(),
      status: z.string(),
      startTime: z.number(),
      endTime: z.number(),
      assertionResults: z.array(z.object({ status: z.string(), fullName: z.string() })),
    }),
  ),
});

interface FileResult {
  file: string;
  passed: number;
  failed: number;
  skipped: number;
  duration_ms: number;
}

async function runVitest(filters: readonly string[]): Promise<FileResult[]> {
  const folder = await mkdtemp(join(tmpdir(), "ctm-soak-"));
  const report = join(folder, "report.json");
  const config = join(root, "test/soak/vitest.config.ts");
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  try {
    const { status } = spawnSync(
      "npx",
      ["--no-install", "vitest", "run", "--config", config, ...reporters, ...filters],
      { cwd: root, stdio: ["ignore", "inherit", "inherit"] },
    );
    const text = await readFile(report, "utf8").catch(() => undefined);
    if (text === undefined) {
      throw new CtmError("soak-failed", "vitest ended without a report; see above");
    }
    const files = reportSchema.parse(JSON.parse(text)).testResults.map(resultOf);
    if (files.length === 0) {
      const wanted = filters.length === 0 ? "" : ` that matches ${filters.join(" ")}`;
      throw new CtmError("no-tests", `test/soak holds no test${wanted}`, { exitCode: 2 });
    }
    // An error outside of any test, such as a promise that nobody awaited.
    if (status !== 0 && files.every(({ failed }) => failed === 0)) {
      throw new CtmError("soak-failed", "vitest failed outside of its tests; see above");
    }
    return files;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function resultOf(file: z.infer<typeof reportSchema>["testResults"][number]): FileResult {
  const counted = (...states: string[]): number =>
    file.assertionResults.filter(({ status }) => states.includes(status)).length;
  const failed = counted("failed");
  return {
    file: relative(root, file.name),
    passed: counted("passed"),
    // A file that cannot be loaded has no tests that could fail.
    failed: file.status === "failed" && failed === 0 ? 1 : failed,
    skipped: counted("skipped", "pending", "todo"),
    duration_ms: Math.round(file.endTime - file.startTime),
  };
}

function totalsOf(files: readonly FileResult[]): Omit<FileResult, "file" | "duration_ms"> {
  const sum = (value: (file: FileResult) => number): number =>
    files.reduce((total, file) => total + value(file), 0);
  return {
    passed: sum(({ passed }) => passed),
    failed: sum(({ failed }) => failed),
    skipped: sum(({ skipped }) => skipped),
  };
}

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
}

const filters = process.argv.slice(2);
const begun = new Date();
let totals = { passed: 0, failed: 1, skipped: 0 };
try {
  const files = await runVitest(filters);
  totals = totalsOf(files);
  if (filters.length === 0) {
    await writeResult(files, begun);
    console.log(`written to ${relative(root, resultPath)}: commit it with what it ran on`);
  }
} catch (error) {
  console.error(messageOf(error));
}
const skipped = totals.skipped === 0 ? "" : `, ${totals.skipped} skipped`;
console.log(`${totals.passed} passed, ${totals.failed} failed${skipped}`);
process.exitCode = totals.failed === 0 && totals.passed > 0 ? 0 : 1;
