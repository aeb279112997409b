import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RunResult } from "../src/results.ts";
import type { TestServer } from "./server.ts";

const program = join(import.meta.dirname, "..", "bin", "pgtap-runner.js");

/** JavaScript may use this much memory. A runner that gathers what it sees ends up above it. */
const heapMegabytes = 24;

export interface ScaleOutcome {
  passed: boolean;
  tests: number;
  failed: number;
  files: number;
  seconds: number;
}

/** Runs files that `write` has made, in a process whose memory is bounded. */
async function inSmallMemory(
  server: TestServer,
  write: (directory: string) => Promise<void>,
): Promise<ScaleOutcome> {
  const directory = await mkdtemp(join(tmpdir(), "pgtap-scale-"));
  try {
    await write(directory);
    const begun = performance.now();
    const { stdout, stderr } = await new Promise<{ stdout: string; stderr: string }>((resolve) => {
      const args = [`--max-old-space-size=${heapMegabytes}`, program, "--json", "."];
      const options = { cwd: directory, env: server.environment, maxBuffer: 256 * 1024 * 1024 };
      execFile(process.execPath, args, options, (_, out, err) =>
        resolve({ stdout: out, stderr: err }),
      );
    });
    if (stdout === "") throw new Error(`no result: ${stderr.slice(-2000)}`);
    // Our own reporter wrote it.
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion
    const result = JSON.parse(stdout) as RunResult;
    return {
      passed: result.passed,
      tests: result.counts.passed + result.counts.failed,
      failed: result.counts.failed,
      files: result.files.length,
      seconds: (performance.now() - begun) / 1000,
    };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function file(tests: number, body: string): string {
  return `BEGIN;\nSELECT plan(${tests});\n${body}\nSELECT * FROM finish();\nROLLBACK;\n`;
}

export function manySmallFiles(server: TestServer, files: number): Promise<ScaleOutcome> {
  return inSmallMemory(server, async (directory) => {
    const text = file(2, "SELECT pass('one');\nSELECT is(1, 1, 'two');");
    for (let number = 0; number < files; number++) {
      await writeFile(join(directory, `${number}.sql`), text);
    }
  });
}

export function oneLongFile(
  server: TestServer,
  tests: number,
  assertion: "pass" | "fail",
): Promise<ScaleOutcome> {
  return inSmallMemory(server, async (directory) => {
    const lines = Array.from(
      { length: tests },
      (_, index) => `SELECT ${assertion}('test ${index}');`,
    );
    await writeFile(join(directory, "long.sql"), file(tests, lines.join("\n")));
  });
}

/** A file whose one query gives many rows that are no tests. */
export function muchOutput(server: TestServer, rows: number): Promise<ScaleOutcome> {
  return inSmallMemory(server, async (directory) => {
    const body = `SELECT repeat('x', 100) FROM generate_series(1, ${rows});\nSELECT pass('done');`;
    await writeFile(join(directory, "output.sql"), file(1, body));
  });
}
