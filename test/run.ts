// `npm test`: everything that CI checks. `npm test -- unit`, `-- e2e` or `-- PATH` runs a part.
import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { isRoot, messageOf } from "#system";
import { installPackages, missingPackages } from "../infra/runtime/local/packages.ts";
import { runChecks } from "./check.ts";
import { testPackages } from "./packages.ts";

interface Totals {
  passed: number;
  failed: number;
  skipped: string[];
}

const root = fileURLToPath(new URL("..", import.meta.url));

/** The parts of vitest's JSON report that are counted. */
const reportSchema = z.object({
  numPassedTests: z.number(),
  numFailedTests: z.number(),
  numFailedTestSuites: z.number(),
  testResults: z.array(
    z.object({
      name: z.string(),
      status: z.string(),
      assertionResults: z.array(z.object({ status: z.string(), fullName: z.string() })),
    }),
  ),
});

async function runProject(project: "unit" | "e2e", filters: readonly string[]): Promise<Totals> {
  const folder = await mkdtemp(join(tmpdir(), "ctm-report-"));
  const report = join(folder, "report.json");
  try {
    const { status } = spawnSync(
      "npx",
      [
        "--no-install",
        "vitest",
        "run",
        "--project",
        project,
        // A path that was named belongs to one project only.
        ...(filters.length === 0 ? [] : ["--passWithNoTests"]),
        "--reporter=default",
        "--reporter=json",
        `--outputFile.json=${report}`,
        ...filters,
      ],
      { cwd: root, stdio: ["ignore", "inherit", "inherit"] },
    );
    const text = await readFile(report, "utf8").catch(() => undefined);
    if (text === undefined) return { passed: 0, failed: 1, skipped: [] };
    const counted = count(reportSchema.parse(JSON.parse(text)));
    // An error outside of any test fails the run, though no test is counted as failed.
    return status !== 0 && counted.failed === 0 ? { ...counted, failed: 1 } : counted;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function count(report: z.infer<typeof reportSchema>): Totals {
  const suites = report.testResults.filter(
    ({ status, assertionResults }) =>
      status === "failed" && assertionResults.every((one) => one.status !== "failed"),
  );
  return {
    passed: report.numPassedTests,
    failed: report.numFailedTests + suites.length,
    skipped: report.testResults.flatMap(({ assertionResults }) =>
      assertionResults
        .filter(({ status }) => status === "skipped" || status === "pending" || status === "todo")
        .map(({ fullName }) => fullName),
    ),
  };
}

/** Installs what tests need beyond the product's own packages; says what cannot run without. */
async function prepare(): Promise<void> {
  const missing = await missingPackages(testPackages);
  if (missing.length === 0) return;
  if (!isRoot()) {
    console.log(`without root, tests that need ${missing.join(", ")} are skipped`);
    return;
  }
  await installPackages(testPackages, (line) => console.log(line));
}

const [part, ...rest] = process.argv.slice(2);
const total: Totals = { passed: 0, failed: 0, skipped: [] };
const add = ({
  passed,
  failed,
  skipped,
}: Omit<Totals, "skipped"> & { skipped?: string[] }): void => {
  total.passed += passed;
  total.failed += failed;
  total.skipped.push(...(skipped ?? []));
};

try {
  await prepare();
  const projects =
    part === "unit" || part === "e2e" ? ([part] as const) : (["unit", "e2e"] as const);
  const filters = part === undefined || part === "unit" || part === "e2e" ? rest : [part, ...rest];
  if (part === undefined) add(runChecks());
  for (const project of projects) add(await runProject(project, filters));
} catch (error) {
  console.error(messageOf(error));
  total.failed += 1;
}
for (const name of total.skipped) console.log(`skipped: ${name}`);
const skipped = total.skipped.length === 0 ? "" : `, ${total.skipped.length} skipped`;
console.log(`${total.passed} passed, ${total.failed} failed${skipped}`);
process.exit(total.failed === 0 && total.passed > 0 ? 0 : 1);
