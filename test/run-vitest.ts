import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { CtmError } from "#system";

const root = fileURLToPath(new URL("..", import.meta.url));

/** What became of the tests of one file, or of many together. */
export interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

export interface FileResult extends Counts {
  /** Relative to the checkout. */
  file: string;
  duration_ms: number;
}

/** The parts of vitest's JSON report that are read. */
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

/**
 * Runs vitest in the checkout, its own report on our streams.
 *
 * @param args of `vitest run`
 * @throws CtmError `no-tests` when nothing ran, `tests-broken` when vitest failed outside of tests
 */
export async function runVitest(
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<FileResult[]> {
  const folder = await mkdtemp(join(tmpdir(), "ctm-report-"));
  const report = join(folder, "report.json");
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  try {
    const { status } = spawnSync("npx", ["--no-install", "vitest", "run", ...reporters, ...args], {
      cwd: root,
      env,
      stdio: ["ignore", "inherit", "inherit"],
    });
    const text = await readFile(report, "utf8").catch(() => undefined);
    if (text === undefined) {
      throw new CtmError("tests-broken", "vitest ended without a report; see above");
    }
    const files = reportSchema.parse(JSON.parse(text)).testResults.map(resultOf);
    if (files.length === 0) throw new CtmError("no-tests", `no test ran: vitest ${args.join(" ")}`);
    // Such as a promise that nobody awaited.
    if (status !== 0 && files.every(({ failed }) => failed === 0)) {
      throw new CtmError("tests-broken", "vitest failed outside of any test; see above");
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

export function totalsOf(results: readonly Counts[]): Counts {
  const sum = (name: keyof Counts): number =>
    results.reduce((total, result) => total + result[name], 0);
  return { passed: sum("passed"), failed: sum("failed"), skipped: sum("skipped") };
}

/** The last line of everything that runs tests. */
export function lastLine({ passed, failed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed${skipped === 0 ? "" : `, ${skipped} skipped`}`;
}
