import { access, constants, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { CtmError } from "#system";
import { BootstrapError, fetchNode, findCachedNode } from "../../bin/bootstrap.js";

/**
 * A Node (22.18 or newer) that every user of this machine can run: the one that runs us, unless it
 * lies below a folder that others cannot enter, such as /root; else the one in the cache.
 *
 * @throws CtmError `node-not-shared`, and those of fetching Node
 */
export async function serviceNode(
  report: (line: string) => void = (line) => void process.stderr.write(`ctm: ${line}\n`),
): Promise<string> {
  // An ordinary user's services run as that user.
  if (process.getuid?.() !== 0 || (await everybodyCanRun(process.execPath)))
    return process.execPath;
  const cached = findCachedNode() ?? (await fetchForAll(report));
  if (await everybodyCanRun(cached)) return cached;
  throw new CtmError("node-not-shared", `${cached} cannot be run by other users than root`, {
    next: "set CTM_CACHE to a folder that everybody can enter, or unset it",
  });
}

async function fetchForAll(report: (line: string) => void): Promise<string> {
  try {
    return await fetchNode(report);
  } catch (error) {
    if (!(error instanceof BootstrapError)) throw error;
    throw new CtmError(error.code, error.message, { next: error.next, cause: error });
  }
}

/** Whether "other" may execute the file and enter every folder above it. */
export async function everybodyCanRun(file: string): Promise<boolean> {
  await access(file, constants.X_OK);
  for (let path = file; ; path = dirname(path)) {
    const { mode } = await stat(path);
    if ((mode & 0o001) === 0) return false;
    if (path === dirname(path)) return true;
  }
}
