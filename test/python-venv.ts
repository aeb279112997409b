import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { cacheRoot } from "#stack";
import { exists, run } from "#system";

/**
 * A folder of the cache with a Python of its own, in which these packages of PyPI are installed
 * (each as `name==version`); made once.
 */
export async function pythonVenv(name: string, packages: readonly string[]): Promise<string> {
  const folder = join(cacheRoot(), name);
  const finished = join(folder, "finished");
  if (await exists(finished)) return folder;
  // What an interrupted run left is cleared.
  await run("python3", ["-m", "venv", "--clear", folder], { timeoutMs: 120_000 });
  await run(join(folder, "bin", "pip"), ["install", "--quiet", ...packages], {
    timeoutMs: 600_000,
  });
  await writeFile(finished, "");
  return folder;
}
