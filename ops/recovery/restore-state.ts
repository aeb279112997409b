import { rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { StackPaths } from "#stack";
import { CtmError, readFileIfExists, writeFileAtomic } from "#system";
import { takeLock } from "../../bin/lock.js";

/**
 * The steps of a restore in place, in their order. A step is written down before anything of it is
 * done, so that what a killed run may have done is never more than its step says.
 */
export const restoreSteps = [
  /** The port is closed and the members stop; the data is untouched. */
  "stopping",
  /** The old data is set aside, by its name alone. */
  "moving",
  /** Files and WAL arrive where the old data stood. */
  "restoring",
  /** The target was reached and proven; a new timeline may begin. */
  "promoting",
  /** The cluster starts on the restored data; the standbys are made anew. */
  "starting",
  /** It runs; the old data is kept until somebody confirms. */
  "done",
  /** The old data comes back. */
  "undoing",
] as const;
export type RestoreStep = (typeof restoreSteps)[number];

const restoreState = z.strictObject({
  format: z.literal(1),
  step: z.enum(restoreSteps),
  startedAt: z.iso.datetime(),
  /** The target, for people. */
  target: z.string(),
  /** Member whose data was set aside: the one that led. */
  member: z.string(),
  /** Where its old data is, beside the new. */
  kept: z.string(),
  /** Timeline of the old data. */
  timeline: z.int(),
  /** Whether a new timeline may have been begun in the archive. */
  promoted: z.boolean(),
  /** When the kept data may go; null until the restore is done. */
  expiresAt: z.iso.datetime().nullable(),
});

/** What is known of the last restore in place, until it is confirmed or undone. */
export type RestoreState = z.infer<typeof restoreState>;

/** @throws CtmError `restore-state-unreadable` */
export async function readRestoreState(
  paths: Pick<StackPaths, "state">,
): Promise<RestoreState | undefined> {
  const path = fileOf(paths);
  const text = await readFileIfExists(path);
  if (text === undefined) return undefined;
  try {
    return restoreState.parse(JSON.parse(text));
  } catch (error) {
    throw new CtmError("restore-state-unreadable", `${path} is not what a restore writes`, {
      next: "see which data folder is the right one, then remove the file",
      cause: error,
    });
  }
}

export async function writeRestoreState(
  paths: Pick<StackPaths, "state">,
  state: RestoreState,
): Promise<void> {
  await writeFileAtomic(fileOf(paths), `${JSON.stringify(state, null, 2)}\n`, { mode: 0o644 });
}

export async function forgetRestoreState(paths: Pick<StackPaths, "state">): Promise<void> {
  await rm(fileOf(paths), { force: true });
}

/**
 * Refuses what would start members on half-restored data.
 *
 * @throws CtmError `restore-half-done`
 */
export async function refuseHalfDoneRestore(paths: Pick<StackPaths, "state">): Promise<void> {
  const state = await readRestoreState(paths);
  if (state === undefined || state.step === "done") return;
  throw halfDone(state);
}

/** What a person has to hear before anything else is done with the stack's data. */
export function halfDone({ step, startedAt, target }: RestoreState): CtmError {
  const what = step === "undoing" ? "taking it back" : `its step "${step}"`;
  return new CtmError(
    "restore-half-done",
    `the restore of ${startedAt} to ${target} was ended in the middle, while ${what}`,
    { next: "ctm restore --undo brings the old data back", exitCode: 2 },
  );
}

/** Keeps other restores of the stack waiting until this process has ended, however it ends. */
export async function takeRestoreTurn(
  paths: Pick<StackPaths, "state">,
  report: (line: string) => void,
): Promise<void> {
  await takeLock(join(paths.state, "restore.lock"), (holder) =>
    report(`waiting for another restore of this stack (pid ${holder})`),
  );
}

function fileOf({ state }: Pick<StackPaths, "state">): string {
  return join(state, "restore.json");
}
