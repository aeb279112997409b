import { createHash } from "node:crypto";
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { Descriptor, StackPaths } from "#stack";
import {
  CtmError,
  exists,
  makeDirectory,
  readDirectoryIfExists,
  readFileIfExists,
  writeFileAtomic,
} from "#system";
import type { Context } from "../command.ts";
import type { Stack } from "../open-stack.ts";
import {
  checkSocketPath,
  startInstance,
  stopServer,
  type Instance,
  type StopPoint,
} from "./instance.ts";
import { configurationOf, type RepositoryDescriptor } from "./archive.ts";
import type { Plan } from "./plan.ts";
import { recordMeasurement, type Work } from "./rates.ts";
import { replay, type ArchiveEnd, type Reached } from "./replay.ts";
import {
  endRestores,
  instanceDirectories,
  makeInstanceDirectory,
  restoreFiles,
  type RecoverySource,
} from "./restore-files.ts";

/** Everything that a recovery needs to know before it begins. */
export interface Recovery {
  source: RecoverySource;
  /** Label of the backup. */
  set: string;
  stop: StopPoint;
  timeline: number;
  archive: ArchiveEnd;
  work: Work;
}

/**
 * The recovery that a plan describes.
 *
 * @throws the first of the plan's problems: there is nothing to try then
 */
export function recoveryOf(
  { plan, repository }: { plan: Plan; repository: RepositoryDescriptor },
  descriptor: Descriptor,
): Recovery {
  const [problem] = plan.problems;
  if (problem !== undefined) throw problem;
  return {
    source: {
      configuration: configurationOf(descriptor, repository),
      stanza: descriptor.backup.stanza,
      user: descriptor.users.postgres,
    },
    set: plan.backup.label,
    stop: plan.place.stop,
    timeline: plan.place.timeline,
    archive: { from: plan.backup.firstWal, through: plan.wal.at(-1)?.to ?? plan.backup.lastWal },
    work: plan.work,
  };
}

/** A recovered server beside the stack, and how long each part took. */
export interface Recovered {
  instance: Instance;
  reached: Reached;
  filesMs: number;
  /** From the start of the server until it stood at the target. */
  replayMs: number;
  promoteMs: number;
}

const note = z.strictObject({
  directory: z.string(),
  /** `look`: until it expires; `drill`: only while the drill runs. */
  purpose: z.enum(["look", "drill"]),
  made_at: z.iso.datetime(),
  expires_at: z.iso.datetime(),
  /** The process that makes it, until it is made: one that was killed leaves it behind. */
  maker: z.strictObject({ pid: z.int(), started: z.string() }).nullable(),
  /** What was asked for, in words. */
  target: z.string(),
  /** What it is, once it is proven. */
  reached: z
    .strictObject({ lsn: z.string(), last_commit_at: z.string().nullable(), evidence: z.string() })
    .nullable(),
});

/** A scratch instance, as the stack's state remembers it. */
export type ScratchNote = z.infer<typeof note>;

/** Stands in every folder that we made, and in no other: without it nothing is removed. */
const markerName = ".ctm-scratch";

/**
 * Recovers into a new folder beside the stack and promotes what is there: a server of its own, which
 * archives nothing, and whose durations the next prediction knows. Whatever fails or interrupts,
 * nothing of it is left.
 *
 * @throws CtmError `directory-exists`, `socket-path-too-long` (exit 2), what `restoreFiles` and
 *   `replay` throw
 */
export async function recoverBeside(
  { paths, descriptor }: Stack,
  recovery: Recovery,
  options: Pick<ScratchNote, "directory" | "purpose" | "target"> & { expiresAt: Date },
  context: Pick<Context, "env" | "signal" | "progress">,
): Promise<Recovered> {
  const { directory } = options;
  const { source, stop, timeline } = recovery;
  const directories = instanceDirectories(directory);
  checkSocketPath(directories);
  await makeInstanceDirectory(directory, source.user);
  const made: ScratchNote = {
    directory,
    purpose: options.purpose,
    target: options.target,
    made_at: new Date().toISOString(),
    expires_at: options.expiresAt.toISOString(),
    maker: { pid: process.pid, started: (await startedAt(process.pid)) ?? "" },
    reached: null,
  };
  await writeFileAtomic(join(directory, markerName), `${paths.stack}\n`, { mode: 0o600 });
  await writeNote(paths, made);
  try {
    const { tookMs: filesMs } = await restoreFiles(source, directories, recovery, context);
    const begun = Date.now();
    const { binaries } = descriptor.postgres;
    const instance = await startInstance({
      source,
      directories,
      binaries,
      stop,
      timeline,
      archiveCommand: null,
    });
    const reached = await replay(instance, recovery.archive, context);
    const replayed = Date.now();
    context.progress.step("promoting what was restored");
    await instance.promote();
    const { lsn, lastCommitAt, evidence } = reached;
    await writeNote(paths, {
      ...made,
      maker: options.purpose === "look" ? null : made.maker,
      reached: { lsn, last_commit_at: lastCommitAt, evidence },
    });
    const replayMs = replayed - begun;
    const promoteMs = Date.now() - replayed;
    await recordMeasurement(paths, {
      at: new Date().toISOString(),
      kind: "beside",
      ...recovery.work,
      filesMs,
      replayMs,
      otherMs: promoteMs,
    });
    return { instance, reached, filesMs, replayMs, promoteMs };
  } catch (error) {
    await removeScratch(paths, made);
    throw error;
  }
}

/** Every scratch instance of the stack, oldest first. */
export async function scratchNotes(paths: StackPaths): Promise<ScratchNote[]> {
  const folder = notesFolder(paths);
  const names = await readDirectoryIfExists(folder);
  const notes = await Promise.all(
    names
      .filter((name) => name.endsWith(".json"))
      .map(async (name) => note.parse(JSON.parse(await readFile(join(folder, name), "utf8")))),
  );
  return notes.toSorted((one, other) => one.made_at.localeCompare(other.made_at));
}

/** @throws CtmError `no-such-instance` (exit 2) */
export async function scratchNoteOf(paths: StackPaths, directory: string): Promise<ScratchNote> {
  const found = (await scratchNotes(paths)).find((each) => each.directory === directory);
  if (found !== undefined) return found;
  throw new CtmError("no-such-instance", `${directory} is no scratch instance of this stack`, {
    next: "ctm restore list",
    exitCode: 2,
  });
}

/**
 * Stops an instance and removes its folder, unless somebody put another one in its place; it is
 * forgotten in both cases.
 */
export async function removeScratch(
  paths: StackPaths,
  { directory }: Pick<ScratchNote, "directory">,
): Promise<void> {
  const directories = instanceDirectories(directory);
  await stopServer(directories, "immediate");
  await endRestores(directories);
  if (await exists(join(directory, markerName))) {
    // The marker last: without it, what a failed removal leaves would stay for ever.
    const names = (await readdir(directory)).filter((name) => name !== markerName);
    for (const name of names) await rm(join(directory, name), { recursive: true, force: true });
    await rm(directory, { recursive: true, force: true });
  }
  await rm(notePath(paths, directory), { force: true });
}

/** Removes what has expired, and what a killed command left. Returns the folders. */
export async function removeExpired(paths: StackPaths, now: Date): Promise<string[]> {
  const removed: string[] = [];
  for (const each of await scratchNotes(paths)) {
    const abandoned =
      each.maker !== null && (await startedAt(each.maker.pid)) !== each.maker.started;
    if (!abandoned && Date.parse(each.expires_at) > now.getTime()) continue;
    await removeScratch(paths, each);
    removed.push(each.directory);
  }
  return removed;
}

async function writeNote(paths: StackPaths, content: ScratchNote): Promise<void> {
  await makeDirectory(notesFolder(paths), { mode: 0o700 });
  await writeFileAtomic(notePath(paths, content.directory), `${JSON.stringify(content)}\n`, {
    mode: 0o600,
  });
}

function notesFolder(paths: StackPaths): string {
  return join(paths.state, "scratch");
}

function notePath(paths: StackPaths, directory: string): string {
  const name = createHash("sha256").update(directory).digest("hex").slice(0, 16);
  return join(notesFolder(paths), `${name}.json`);
}

/** When a process began, in the kernel's ticks: with its pid, the name of one process for ever. */
async function startedAt(pid: number): Promise<string | undefined> {
  const stat = await readFileIfExists(`/proc/${pid}/stat`).catch(() => undefined);
  // The name in parentheses may hold blanks; state and starttime are the first and the twentieth
  // field behind it (proc(5)). A zombie is dead, though nobody has buried it.
  const fields = stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields?.[0] === "Z" ? undefined : fields?.[19];
}
