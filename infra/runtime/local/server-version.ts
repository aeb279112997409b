import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { CtmError, exists, readFileIfExists, run } from "#system";

/** Debian's folder of all PostgreSQL versions. */
const versionsFolder = "/usr/lib/postgresql";
/** pgBackRest 2.45 in Debian 12 knows up to 15; newer distributions carry newer pairs. */
const oldestVersion = 13;

/**
 * The PostgreSQL version of a stack: that of its data once there is any, else the newest that is
 * installed, else the one that this distribution would install.
 *
 * @param dataDirectories of all members
 */
export async function serverVersion(dataDirectories: readonly string[]): Promise<number> {
  for (const directory of dataDirectories) {
    // Unreadable for an ordinary user who looks at root's stack: that one fails later, clearly.
    const text = await readFileIfExists(join(directory, "PG_VERSION")).catch(() => undefined);
    if (text !== undefined) return Number(text.trim());
  }
  const installed = (await readdir(versionsFolder).catch(() => [])).map(Number);
  for (const version of installed.toSorted((one, other) => other - one)) {
    if (version >= oldestVersion && (await exists(join(binariesOf(version), "postgres")))) {
      return version;
    }
  }
  const { stdout } = await run("apt-cache", ["depends", "postgresql"], { accept: [0, 100] });
  const offered = Number(/postgresql-(\d+)/.exec(stdout)?.[1]);
  if (offered >= oldestVersion) return offered;
  throw new CtmError("no-postgresql", "this distribution offers no package postgresql", {
    next: "apt-get update, or use Debian 12 or newer, or Ubuntu 22.04 or newer",
  });
}

export function binariesOf(version: number): string {
  return join(versionsFolder, String(version), "bin");
}
