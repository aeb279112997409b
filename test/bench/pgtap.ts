// pgtap-runner beside pg_prove: the same files on the same server, one after the other in turns.
import { execFile, execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startServer, type TestServer } from "../../database/pgtap-runner/test/server.ts";

const fileCount = 60;
const assertionsPerFile = 40;
const rounds = 7;
const memoryFolder = "/dev/shm";
const root = fileURLToPath(new URL("../..", import.meta.url));
const packageFolder = join(root, "database", "pgtap-runner");

interface Measured {
  wallMs: number;
  /**
   * Processor time of the program, of all that it started, and of the server: on a machine that has
   * other work to do, it says more than the time that passed. Linux only.
   */
  cpuMs: number;
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

/** Of processes that have ended and were waited for; Linux counts in hundredths of a second. */
async function endedChildrenMs(processId: number | "self"): Promise<number> {
  const stat = await readFile(`/proc/${processId}/stat`, "utf8").catch(() => undefined);
  if (stat === undefined) return Number.NaN;
  // The name of the program, in parentheses, may hold anything.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[13]) + Number(fields[14])) * 10;
}

async function measure(
  server: TestServer,
  program: string,
  args: readonly string[],
  readRed: (stdout: string) => string[],
): Promise<Measured> {
  const postmaster = Number(
    (await readFile(join(server.dataFolder, "postmaster.pid"), "utf8")).split("\n")[0],
  );
  const cpuMs = async (): Promise<number> =>
    (await endedChildrenMs("self")) + (await endedChildrenMs(postmaster));
  const cpuBefore = await cpuMs();
  const begun = performance.now();
  const stdout = await new Promise<string>((resolve, reject) => {
    const options = { env: server.environment, maxBuffer: 64 * 1024 * 1024 };
    execFile(program, args, options, (error, output) => {
      // Red tests are expected; a program that cannot be started is not.
      if (error !== null && typeof error.code !== "number") reject(error);
      else resolve(output);
    });
  });
  const wallMs = performance.now() - begun;
  return { wallMs, cpuMs: (await cpuMs()) - cpuBefore, red: readRed(stdout).toSorted() };
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
  try {
    const tests = join(directory, "tests");
    await mkdir(tests);
    for (let number = 1; number <= fileCount; number++) {
      const name = `${String(number).padStart(3, "0")}.sql`;
      await writeFile(join(tests, name), testFile(number));
    }
    const published = await publish(directory);
    // As people have them: servers that write to the disk when they say so.
    await compare("a server that trusts everybody", { durable: true }, tests, published);
    await compare(
      "TLS and passwords, as Debian has it",
      { durable: true, guarded: true },
      tests,
      published,
    );
    // As CI often has them, and where the file system has no part in it: see decision 0100.
    if (existsSync(memoryFolder)) {
      await compare("data in memory", { durable: true, folder: memoryFolder }, tests, published);
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function compare(
  title: string,
  options: NonNullable<Parameters<typeof startServer>[0]>,
  tests: string,
  published: string,
): Promise<void> {
  const server = await startServer(options);
  try {
    const prove = (jobs: number): Contestant => ({
      name: `pg_prove -j${jobs}`,
      run: () =>
        measure(server, "pg_prove", ["--ext", ".sql", `-j${jobs}`, tests], (stdout) =>
          [...stdout.matchAll(/(\d+\.sql) +\(Wstat/g)].map((match) => match[1] ?? ""),
        ),
    });
    const ours = (name: string, program: string, jobs: number, ...args: string[]): Contestant => ({
      name: `${name} -j${jobs}`,
      run: () =>
        measure(server, process.execPath, [program, `-j${jobs}`, ...args, tests], (stdout) =>
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
      ours("with --stock-pgtap", published, 2, "--stock-pgtap"),
      ours("from its sources", join(packageFolder, "bin", "pgtap-runner.js"), 2),
    ];
    const times = new Map<string, Measured[]>();
    for (let round = 0; round <= rounds; round++) {
      for (const { name, run } of contestants) {
        const measured = await run();
        // The first round warms caches.
        if (round > 0) times.set(name, [...(times.get(name) ?? []), measured]);
      }
    }
    const rows = [...times].map(([name, measured]) => ({
      name,
      median: median(measured.map(({ wallMs }) => wallMs)),
      best: Math.min(...measured.map(({ wallMs }) => wallMs)),
      cpu: median(measured.map(({ cpuMs }) => cpuMs)),
      red: measured[0]?.red.join(" "),
    }));
    const reference = rows.find(({ name }) => name === "pg_prove -j2");
    console.log(
      `\n${title}: ${fileCount} files, ${fileCount * assertionsPerFile} assertions, ${rounds} rounds; the start of the program and the copies of the database are part of it`,
    );
    console.log(
      "                          milliseconds                 as fast as pg_prove -j2, times",
    );
    console.log("program                   median     best      cpu     median     best      cpu");
    for (const row of rows) {
      const numbers = [row.median, row.best, row.cpu].map((number) => number.toFixed(0));
      const ratios = (["median", "best", "cpu"] as const).map((column) =>
        ((reference?.[column] ?? Number.NaN) / row[column]).toFixed(2),
      );
      const cells = [
        ...numbers.map((text) => text.padStart(8)),
        ...ratios.map((text) => text.padStart(8)),
      ];
      console.log(`${row.name.padEnd(23)} ${cells.join(" ")}`);
    }
    const verdicts = new Map(rows.map(({ name, red }) => [name, red]));
    const agreed = new Set(verdicts.values()).size === 1;
    console.log(
      agreed
        ? `same verdict for every file; red: ${[...verdicts.values()][0]}`
        : `verdicts differ: ${JSON.stringify(Object.fromEntries(verdicts))}`,
    );
    if (!agreed) process.exitCode = 3;
  } finally {
    await server.stop();
  }
}

if (import.meta.main) await benchPgtap();
