import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startServer, type TestServer } from "../test/server.ts";

let server: TestServer;
let directory: string;

beforeAll(async () => {
  server = await startServer();
  // Beside the package, so that vitest resolves from there.
  const parent = join(import.meta.dirname, "..", ".tmp");
  await mkdir(parent, { recursive: true });
  directory = await mkdtemp(join(parent, "adapter-"));
});

afterAll(async () => {
  await server.stop();
  await rm(directory, { recursive: true, force: true });
});

test("SQL files are tests of vitest, failures with their reasons", async () => {
  const file = (body: string): string =>
    `BEGIN;\nSELECT plan(1);\n${body}\nSELECT * FROM finish();\nROLLBACK;\n`;
  await writeFile(join(directory, "good.sql"), file("SELECT pass('fine');"));
  await writeFile(join(directory, "bad.sql"), file("SELECT is(1, 2, 'equal');"));
  await writeFile(join(directory, "skipped.sql"), "\\echo 1..0 # SKIP not here\n");
  await writeFile(
    join(directory, "suite.test.ts"),
    `import { describePgtap } from ${JSON.stringify(join(import.meta.dirname, "vitest.ts"))};
     describePgtap("database", { files: ["bad.sql", "good.sql", "skipped.sql"], workingDirectory: import.meta.dirname });`,
  );
  await writeFile(join(directory, "vitest.config.ts"), "export default {};");
  const output = join(directory, "report.json");
  const args = [
    "--no-install",
    "vitest",
    "run",
    "--root",
    directory,
    "--reporter=json",
    `--outputFile=${output}`,
  ];
  const code = await new Promise<number>((resolve) => {
    const options = { cwd: directory, env: { ...server.environment, VITEST: undefined } };
    execFile("npx", args, options, (error) => resolve(Number(error?.code ?? 0)));
  });
  expect(code).toBe(1);
  const report: unknown = JSON.parse(await readFile(output, "utf8"));
  expect(report).toMatchObject({
    testResults: [
      {
        assertionResults: [
          {
            fullName: "database bad.sql",
            status: "failed",
            failureMessages: [
              expect.stringMatching(
                /bad\.sql failed\n {2}not ok 1 - equal\n {4}at bad\.sql:3[\s\S]*- 2\n {4}\+ 1/,
              ),
            ],
          },
          { fullName: "database good.sql", status: "passed" },
          { fullName: "database skipped.sql", status: "skipped" },
        ],
      },
    ],
  });
}, 60_000);
