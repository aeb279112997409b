import { execFile } from "node:child_process";
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { apiVersion, bundleApi } from "./index.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const execute = promisify(execFile);

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ctm api bundle-"));
});
afterAll(() => rm(folder, { recursive: true }));

describe("the bundle", () => {
  test("has the same bytes from another checkout", async () => {
    for (const part of ["api", "system", "package.json", "tsconfig.json"]) {
      await cp(join(root, part), join(folder, part), { recursive: true });
    }
    await symlink(join(root, "node_modules"), join(folder, "node_modules"));
    const { stdout } = await execute(
      process.execPath,
      [
        "-e",
        `import(${JSON.stringify(join(folder, "api/build.ts"))}).then(async ({ bundleApi }) => console.log((await bundleApi()).sha256))`,
      ],
      { cwd: "/" },
    );
    expect(stdout.trim()).toBe((await bundleApi()).sha256);
  });

  test("names no path of this checkout and runs where there is no node_modules", async () => {
    const { code } = await bundleApi();
    const text = Buffer.from(code).toString();
    expect(text).not.toContain(root);
    expect(text).not.toContain("node_modules/");
    const file = join(folder, "main.mjs");
    await writeFile(file, code);
    const { stdout } = await execute(process.execPath, [file, "--version"], { cwd: "/", env: {} });
    expect(stdout).toBe(`${apiVersion}\n`);
  });

  test("has the package's version", async () => {
    const description: unknown = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
    expect(description).toMatchObject({ version: apiVersion });
  });
});
