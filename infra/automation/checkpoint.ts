import { copyFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { backendFiles, type StackPaths } from "#stack";
import { CtmError, exists, parseJson, readFileIfExists, writeFileAtomic } from "#system";

/**
 * Whether the stack's checkpoint in our own file backend is there and no JSON: Pulumi opens no such
 * stack. It neither syncs the file before it renames it, nor holds a short write back on a full disk.
 */
export async function hasBrokenCheckpoint(paths: StackPaths): Promise<boolean> {
  const text = await readFileIfExists(backendFiles(paths).checkpoint);
  return text !== undefined && parseJson(text) === undefined;
}

/**
 * Puts a broken checkpoint aside, and in its place the copy that Pulumi made before it wrote. What the
 * last write said is found out again: a creation is still pending in the copy, so that
 * `recoverPendingOperations` looks for it, and the refresh sees the rest. Call it while no other run
 * works on the stack.
 *
 * @throws CtmError `pulumi-state-broken`
 */
export async function mendCheckpoint(
  paths: StackPaths,
  report: (line: string) => void,
): Promise<void> {
  if (!(await hasBrokenCheckpoint(paths))) return;
  const { checkpoint, checkpointCopy, brokenCheckpoint } = backendFiles(paths);
  const copy = await readFileIfExists(checkpointCopy);
  if (copy !== undefined && parseJson(copy) !== undefined) {
    await copyFile(checkpoint, brokenCheckpoint);
    await writeFileAtomic(checkpoint, copy, { mode: 0o600 });
    report(
      `a killed run left Pulumi's state of "${paths.stack}" cut off: the copy from before its last write is in its place, the broken file is ${brokenCheckpoint}`,
    );
    return;
  }
  if (copy === undefined && !(await wasEverUpdated(paths))) {
    await rename(checkpoint, brokenCheckpoint);
    report(
      `a killed run left Pulumi's state of "${paths.stack}" cut off before anything was in it: it begins anew, the broken file is ${brokenCheckpoint}`,
    );
    return;
  }
  throw new CtmError(
    "pulumi-state-broken",
    `${checkpoint}, Pulumi's state of "${paths.stack}", is empty or cut off, and so is ${checkpointCopy}, or it is not there`,
    { next: "docs/runbooks/lost-checkout-or-pulumi-state.md", exitCode: 2 },
  );
}

/**
 * Whether a run may have recorded something: an `up` makes the stack's folder, and one of the edge
 * alone, which has none, ends with a copy in `.pulumi/backups/PROJECT/STACK` (Pulumi's
 * pkg/backend/diy).
 */
async function wasEverUpdated(paths: StackPaths): Promise<boolean> {
  const { folder } = backendFiles(paths);
  return (
    (await exists(paths.state)) ||
    (await exists(join(folder, ".pulumi", "backups", "ctm", paths.stack)))
  );
}
