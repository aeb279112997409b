// pgtap-runner beside pg_prove: the same files on the same server, one after the other in turns.
import { execFile, execFileSync } from "node:child_process";
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startServer } from "../../database/pgtap-runner/test/server.ts";

const fileCount = 60;
const assertionsPerFile = 40;
const rounds = 7;
const root = fileURLToPath(new URL("../..", import.meta.url));
const packageFolder = join(root, "database", "pgtap-runner");

interface Measured {
  milliseconds: number;
  /** Names of the files that were red. */
  red: string[];
}

interface Contestant {
  name: string;
  run: () => Promise<Measured>;
}

/** Ten times four assertions: comparisons, a look into the catalog, a query against a query. */
function testFile(number: number): string {
  const blocks = Array.from({ length: assertionsPerFile / 4 }, (_, index) => {
    const value = number * 100 + index;
    return [
      `SELECT is(${value} + 1, ${value + 1}, 'sum ${index}');`,
      `SELECT ok(${value} > 0, 'positive ${index}');`,
      `SELECT has_table('pg_catalog'::name, 'pg_class'::name, 'table ${index}');`,
      `SELECT results_eq('SELECT ${value}', 'SELECT ${value}', 'rows ${index}');`,
    ].join("\n");
  });
  // Every twentieth file is red, so that there is a verdict to compare.
  const plan = number % 20 === 0 ? assertionsPerFile + 1 : assertionsPerFile;
  return `BEGIN;\nSELECT plan(${plan});\n${blocks.join("\n")}\nSELECT * FROM finish();\nROLLBACK;\n`;
}

async function measure(
  program: string,
  args: readonly string[],
  environment: NodeJS.ProcessEnv,
  readRed: (stdout: string) => string[],
): Promise<Measured> {
  const begun = performance.now();
  const stdout = await new Promise<string>((resolve, reject) => {
    const options = { env: environment, maxBuffer: 64 * 1024 * 1024 };
    execFile(program, args, options, (error, output) => {
      // Red tests are expected; a program that cannot be started is not.
      if (error !== null && typeof error.code !== "number") reject(error);
      else resolve(output);
    });
  });
  return { milliseconds: performance.now() - begun, red: readRed(stdout).toSorted() };
}

/** The package as its users have it: compiled, away from its sources. */
async function publish(directory: string): Promise<string> {
  execFileSync("npx", ["--no-install", "tsc", "-p", "tsconfig.build.json"], { cwd: packageFolder });
  const target = join(directory, "package");
  await mkdir(target);
  for (const part of ["bin", "dist", "sql", "package.json"]) {
    await cp(join(packageFolder, part), join(target, part), { recursive: true });
  }
  await symlink(join(root, "node_modules"), join(directory, "node_modules"));
  return join(target, "bin", "pgtap-runner.js");
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

/** Prints the times and their ratios; they depend on the machine, so nothing is asserted but that
 * both programs agree on every file. */
export async function benchPgtap(): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "pgtap-bench-"));
  // As people have it: a server that writes to the disk when it says so.
  const server = await startServer({ durable: true });
  try {
    const tests = join(directory, "tests");
    await mkdir(tests);
    for (let number = 1; number <= fileCount; number++) {
      const name = `${String(number).padStart(3, "0")}.sql`;
      await writeFile(join(tests, name), testFile(number));
    }
    const published = await publish(directory);
    const { environment } = server;
    const prove = (jobs: number): Contestant => ({
      name: `pg_prove -j${jobs}`,
      run: () =>
        measure("pg_prove", ["--ext", ".sql", `-j${jobs}`, tests], environment, (stdout) =>
          [...stdout.matchAll(/(\d+\.sql) +\(Wstat/g)].map((match) => match[1] ?? ""),
        ),
    });
    const ours = (name: string, program: string, jobs: number): Contestant => ({
      name: `${name} -j${jobs}`,
      run: () =>
        measure(process.execPath, [program, `-j${jobs}`, tests], environment, (stdout) =>
          [...stdout.matchAll(/^✗ \S*?(\d+\.sql) /gm)].map((match) => match[1] ?? ""),
        ),
    });
    const contestants = [
      prove(1),
      prove(2),
      prove(8),
      ours("pgtap-runner", published, 1),
      ours("pgtap-runner", published, 2),
      ours("pgtap-runner", published, 4),
      ours("from its sources", join(packageFolder, "bin", "pgtap-runner.js"), 2),
    ];
    const times = new Map<string, number[]>();
    const verdicts = new Map<string, string>();
    for (let round = 0; round <= rounds; round++) {
      for (const { name, run } of contestants) {
        const { milliseconds, red } = await run();
        verdicts.set(name, red.join(" "));
        // The first round warms caches.
        if (round > 0) times.set(name, [...(times.get(name) ?? []), milliseconds]);
      }
    }
    const reference = median(times.get("pg_prove -j2") ?? []);
    const fastest = Math.min(...(times.get("pg_prove -j2") ?? []));
    console.log(
      `${fileCount} files, ${fileCount * assertionsPerFile} assertions, ${rounds} rounds, start of the program and copies of the database included`,
    );
    console.log("program                  median ms   best ms   times pg_prove -j2 (median, best)");
    for (const { name } of contestants) {
      const measured = times.get(name) ?? [];
      const middle = median(measured);
      const best = Math.min(...measured);
      const ratios = `${(reference / middle).toFixed(2)}   ${(fastest / best).toFixed(2)}`;
      console.log(
        `${name.padEnd(24)} ${middle.toFixed(0).padStart(9)} ${best.toFixed(0).padStart(9)}   ${ratios}`,
      );
    }
    const agreed = new Set(verdicts.values()).size === 1;
    console.log(
      agreed
        ? `same verdict for every file; red: ${[...verdicts.values()][0]}`
        : `verdicts differ: ${JSON.stringify(Object.fromEntries(verdicts))}`,
    );
    if (!agreed) process.exitCode = 3;
  } finally {
    await server.stop();
    await rm(directory, { recursive: true, force: true });
  }
}

if (import.meta.main) await benchPgtap();
