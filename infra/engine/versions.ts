import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { CtmError } from "#system";

/** The folder of this checkout. */
export const checkout = join(import.meta.dirname, "../..");

const lockfile = z.object({
  packages: z.record(z.string(), z.object({ version: z.string().optional() })),
});

/**
 * The exact version of an npm package in package-lock.json, which the CLI and the plugins follow:
 * an SDK and its plugin speak to each other and must be of one version.
 *
 * @throws CtmError `package-not-locked`
 */
export async function lockedVersion(name: string, root: string = checkout): Promise<string> {
  const path = join(root, "package-lock.json");
  const { packages } = lockfile.parse(JSON.parse(await readFile(path, "utf8")));
  const version = packages[`node_modules/${name}`]?.version;
  if (version !== undefined) return version;
  throw new CtmError("package-not-locked", `${name} is not in ${path}`, {
    next: `npm install --save-exact ${name}`,
  });
}
