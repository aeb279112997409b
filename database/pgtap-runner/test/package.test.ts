import { execFile } from "node:child_process";
import { access, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startServer, type TestServer } from "./server.ts";

const execute = promisify(execFile);
const packageFolder = join(import.meta.dirname, "..");
let server: TestServer;
/** A project of somebody who has installed the package. */
let project: string;

beforeAll(async () => {
  server = await startServer();
  project = await mkdtemp(join(tmpdir(), "pgtap-package-"));
  const { stdout } = await execute("npm", ["pack", "--json", "--pack-destination", project], {
    cwd: packageFolder,
  });
  const name = /"filename": "([^"]+)"/.exec(stdout)?.[1] ?? "";
  const modules = join(project, "node_modules");
  await mkdir(join(modules, "pgtap-runner"), { recursive: true });
  await execute("tar", [
    "-xzf",
    join(project, name),
    "--strip-components=1",
    "-C",
    join(modules, "pgtap-runner"),
  ]);
  // What the package needs, from where it is installed here.
  const installed = await installedModules();
  for (const dependency of await readdir(installed)) {
    if (dependency.startsWith(".") || dependency === "pgtap-runner") continue;
    await symlink(join(installed, dependency), join(modules, dependency));
  }
  await writeFile(join(project, "package.json"), '{ "type": "module" }');
  await writeFile(
    join(project, "good.sql"),
    "BEGIN;\nSELECT plan(1);\nSELECT pass('fine');\nSELECT * FROM finish();\nROLLBACK;\n",
  );
}, 120_000);

afterAll(async () => {
  await server.stop();
  await rm(project, { recursive: true, force: true });
});

async function installedModules(): Promise<string> {
  for (let folder = packageFolder; ; folder = join(folder, "..")) {
    const modules = join(folder, "node_modules");
    try {
      await access(join(modules, "pg"));
      return modules;
    } catch (error) {
      if (folder === "/") throw error;
    }
  }
}

describe("the package as others install it", () => {
  test("holds what it says and nothing else", async () => {
    const files = await readdir(join(project, "node_modules", "pgtap-runner"), { recursive: true });
    expect(files).toContain("README.md");
    expect(files).toContain("CHANGELOG.md");
    expect(files).toContain("sql/assertions.sql");
    expect(files).toContain("sql/pgtap-shortcuts.sql");
    expect(files).toContain("dist/index.d.ts");
    expect(files.filter((file) => /^(src|test)|\.test\.|(?<!\.d)\.ts$/.test(file))).toEqual([]);
  });

  test("its program runs", async () => {
    const program = join(project, "node_modules", "pgtap-runner", "bin", "pgtap-runner.js");
    const { stdout } = await execute(process.execPath, [program, "--assertions", "good.sql"], {
      cwd: project,
      env: server.environment,
    });
    expect(stdout).toContain("passed: 1 file; tests: 1 passed");
  });

  test("its library runs in plain JavaScript", async () => {
    await writeFile(
      join(project, "use.js"),
      `import { runTests, specReporter } from "pgtap-runner";
       const result = await runTests({ files: ["good.sql"], connection: { url: ${JSON.stringify(server.url)} } });
       console.log(result.passed, result.counts.passed, typeof specReporter);`,
    );
    const { stdout } = await execute(process.execPath, ["use.js"], { cwd: project });
    expect(stdout).toBe("true 1 function\n");
  });

  test("its types are complete by themselves", async () => {
    await writeFile(
      join(project, "use.ts"),
      `import { type RunResult, checkAccess, defineAccess, runTests } from "pgtap-runner";
       import { describePgtap } from "pgtap-runner/vitest";
       const result: RunResult = await runTests({ files: ["good.sql"], workers: 2 });
       const exitCode: 0 | 1 | 3 = result.exitCode;
       const declaration = defineAccess({ actors: { a: { role: "r" } }, objects: { t: { expect: { a: { select: "all" } } } } });
       export const access = await checkAccess({ declaration });
       // @ts-expect-error there is no such option
       await runTests({ file: [] });
       describePgtap("sql", { files: ["good.sql"] });
       console.log(exitCode);`,
    );
    await writeFile(
      join(project, "tsconfig.json"),
      JSON.stringify({
        compilerOptions: {
          target: "es2022",
          module: "nodenext",
          strict: true,
          noEmit: true,
          // Our own declarations are checked with it.
          skipLibCheck: false,
          types: ["node"],
        },
        files: ["use.ts"],
      }),
    );
    const compiler = join(await installedModules(), "typescript", "bin", "tsc");
    const { stdout } = await execute(process.execPath, [compiler, "-p", "."], {
      cwd: project,
    }).catch((error: unknown) => ({ stdout: String(Object(error).stdout) }));
    // Declarations of other packages are theirs.
    const ours = stdout.split("\n").filter((line) => /^use\.ts|pgtap-runner/.test(line));
    expect(ours).toEqual([]);
  }, 120_000);
});
