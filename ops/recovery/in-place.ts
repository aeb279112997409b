import { rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { MemberDescriptor } from "#stack";
import { CtmError, exists, makeDirectory, messageOf, runAs, waitFor } from "#system";
import type { Context } from "../command.ts";
import type { Stack } from "../open-stack.ts";
import { configurationOf, newestHeld, readArchive } from "./archive.ts";
import { startClusterOn, waitForStandbys } from "./cluster-start.ts";
import { controlOf, newestMember, stopCluster } from "./cluster-stop.ts";
import type { Gathered } from "./gather.ts";
import { checkNewTimeline, placeHistories } from "./histories.ts";
import { startInstance, stopServer, type Instance, type StopPoint } from "./instance.ts";
import { newestTimeline } from "./lineage.ts";
import { locateAgain, type Place } from "./locate.ts";
import { makePlan, type Plan } from "./plan.ts";
import { recordMeasurement } from "./rates.ts";
import { replay, type ArchiveEnd, type Reached } from "./replay.ts";
import {
  forgetRestoreState,
  writeRestoreState,
  type RestoreState,
  type RestoreStep,
} from "./restore-state.ts";
import {
  endRestores,
  restoreFiles,
  type InstanceDirectories,
  type RecoverySource,
} from "./restore-files.ts";
import { targetText } from "./target.ts";
import { walSource } from "./wal-source.ts";
import { parseLsn, segmentName } from "./wal.ts";

/** What a restore in place did, and the proof of it. */
export interface InPlaceOutcome {
  member: string;
  reached: Reached;
  /** The timeline on which the cluster goes on. */
  timeline: number;
  kept: string;
  expiresAt: string;
  filesMs: number;
  replayMs: number;
  /** From the closing of the ports to their opening. */
  downMs: number;
}

/** How long the old data is kept when nobody says that the new is right. */
const keptDays = 7;
/** A server on the data of before: it has nothing to fetch, but a crash to recover from perhaps. */
const freshTimeoutMs = 10 * 60_000;

/**
 * Restores the cluster where it stands. The old data is set aside and comes back by itself when
 * anything fails before the target is reached, a signal included; once it is reached, the cluster is
 * started on it whatever signal comes. After that, `undoRestore` brings the old data back.
 *
 * @param plan without problems, and confirmed
 * @throws CtmError of the step that failed; the message says where the data is
 */
export async function restoreInPlace(
  stack: Stack,
  plan: Plan,
  gathered: Gathered,
  context: Context,
): Promise<InPlaceOutcome> {
  const outcome = await context.undisturbed(
    async () => await restoreAndStart(stack, plan, gathered, context),
  );
  await standbysOrElse(
    stack,
    `the restore to ${targetText(plan.target)} is done: ${outcome.member} leads on it and the ports are open; the old data is in ${outcome.kept}`,
    context,
  );
  return outcome;
}

async function restoreAndStart(
  stack: Stack,
  plan: Plan,
  gathered: Gathered,
  context: Context,
): Promise<InPlaceOutcome> {
  const { descriptor } = stack;
  const report = (line: string): void => context.progress.step(line);
  const begun = Date.now();
  const member = await newestMember(descriptor, context.signal);
  const directories = directoriesOf(member);
  let state: RestoreState = {
    format: 1,
    step: "stopping",
    startedAt: new Date(begun).toISOString(),
    target: targetText(plan.target),
    member: member.name,
    kept: keptPathOf(member),
    timeline: 1,
    promoted: false,
    expiresAt: null,
  };
  const enter = async (step: RestoreStep, more: Partial<RestoreState> = {}): Promise<void> => {
    await writeRestoreState(stack.paths, (state = { ...state, ...more, step }));
  };

  await enter("stopping");
  let reached: Reached;
  let instance: Instance;
  let filesMs: number;
  let final: Plan;
  try {
    await stopCluster(descriptor, member.name, report);
    final = await planAgain(stack, plan, gathered, context);
    const { timeline } = await controlOf(descriptor, member);
    await enter("moving", { timeline: Math.max(1, timeline) });
    await setAside(directories.data, state.kept);
    await enter("restoring");
    const source = sourceOf(stack, gathered);
    ({ tookMs: filesMs } = await restoreFiles(
      source,
      directories,
      { set: final.backup.label },
      context,
    ));
    await placeHistories(directories.data, gathered.facts.archive, {
      user: descriptor.users.postgres,
      before: state.kept,
    });
    instance = await startInstance({
      source,
      directories,
      binaries: descriptor.postgres.binaries,
      stop: stopPointOf(final.place),
      timeline: final.place.timeline,
      archiveCommand: archiveCommandOf(stack, member),
    });
    reached = await replay(instance, archiveEndOf(final, gathered), context);
    checkReached(final, reached);
  } catch (error) {
    throw await putBack(stack, state, context, error);
  }

  await enter("promoting", { promoted: true });
  try {
    report("beginning a new timeline");
    checkNewTimeline(await instance.promote(), gathered.facts.archive);
    await stopServer(directories, "fast");
    await enter("starting");
    const { timeline } = await startClusterOn(stack, member, { standbys: "anew", report });
    const downMs = Date.now() - begun;
    const expiresAt = new Date(Date.now() + keptDays * 86_400_000).toISOString();
    await enter("done", { expiresAt });
    await rm(directories.work, { recursive: true, force: true });
    await recordMeasurement(stack.paths, {
      at: new Date().toISOString(),
      kind: "in-place",
      ...final.work,
      filesMs,
      replayMs: reached.tookMs,
      otherMs: Math.max(1, downMs - filesMs - reached.tookMs),
    });
    return {
      member: member.name,
      reached,
      timeline,
      kept: state.kept,
      expiresAt,
      filesMs,
      replayMs: reached.tookMs,
      downMs,
    };
  } catch (error) {
    throw new CtmError(
      "restore-incomplete",
      `the target was reached, but then: ${messageOf(error)}\nthe old data is in ${state.kept}`,
      { next: "ctm restore --undo brings it back", cause: error },
    );
  }
}

/**
 * Brings the data of before the restore back, from whatever step it was in. What was written since
 * is in the archive only. A signal does not end it in its middle.
 *
 * @throws CtmError `kept-data-missing`, and of the step that failed; it can be called again
 */
export async function undoRestore(
  stack: Stack,
  state: RestoreState,
  context: Pick<Context, "env" | "signal" | "progress" | "undisturbed">,
): Promise<void> {
  const signal = new AbortController().signal;
  await context.undisturbed(async () => await bringAllBack(stack, state, { ...context, signal }));
  await standbysOrElse(
    stack,
    `the data of before the restore is back: ${state.member} leads on it and the ports are open`,
    context,
  );
}

/** The standbys come last, and what is done without them is not undone for their sake. */
async function standbysOrElse(
  { descriptor }: Stack,
  done: string,
  { signal, progress }: Pick<Context, "signal" | "progress">,
): Promise<void> {
  try {
    await waitForStandbys(descriptor, signal, (line) => progress.step(line));
  } catch (error) {
    if (!(error instanceof CtmError)) throw error;
    throw new CtmError(error.code, `${error.message}\n${done}`, {
      ...(error.next === undefined ? {} : { next: error.next }),
      cause: error,
    });
  }
}

async function bringAllBack(
  stack: Stack,
  state: RestoreState,
  context: Pick<Context, "env" | "signal" | "progress">,
): Promise<void> {
  const { descriptor, paths } = stack;
  const report = (line: string): void => context.progress.step(line);
  const member = descriptor.postgres.members.find(({ name }) => name === state.member);
  if (member === undefined) {
    throw new CtmError("no-such-member", `the stack has no member ${state.member} any more`);
  }
  const directories = directoriesOf(member);
  await stopCluster(descriptor, member.name, report);
  await endRestores(directories);
  await stopServer(directories, "immediate");
  // From here on the folder with the old data's name may be either.
  await writeRestoreState(paths, { ...state, step: "undoing" });
  await bringBack(directories.data, state.kept);
  if (state.promoted) await beginFreshTimeline(stack, member, state, context);
  await startClusterOn(stack, member, {
    standbys: state.promoted ? "anew" : "as they are",
    report,
  });
  await rm(directories.work, { recursive: true, force: true });
  await forgetRestoreState(paths);
}

/** Removes the data of before: the restore is final. */
export async function confirmRestore(stack: Stack, state: RestoreState): Promise<void> {
  await rm(state.kept, { recursive: true, force: true });
  await forgetRestoreState(stack.paths);
}

/** A clean stop archives what the leader had not: the listing is final now, and the plan with it. */
async function planAgain(
  { descriptor }: Stack,
  plan: Plan,
  { facts, world, repository }: Gathered,
  context: Context,
): Promise<Plan> {
  const listing = await readArchive(descriptor, context, repository);
  const archive = listing.archives.find(({ id }) => id === facts.archive.id) ?? facts.archive;
  const source = walSource(descriptor, context, repository, archive, undefined);
  const newer = { ...world, archive, live: null, source };
  const place = await locateAgain(plan.target, plan.place, newer);
  const final = makePlan(plan.target, place, { ...facts, archive, live: null });
  const [problem] = final.problems;
  if (problem !== undefined) throw problem;
  return final;
}

async function setAside(data: string, kept: string): Promise<void> {
  try {
    await rename(data, kept);
  } catch (error) {
    throw new CtmError(
      "cannot-set-aside",
      `${data} cannot be renamed to ${kept}: ${messageOf(error)}`,
      { next: "restore beside it: ctm restore --into DIR", cause: error },
    );
  }
}

/** The old data takes its place again; a second call finds it there. */
async function bringBack(data: string, kept: string): Promise<void> {
  if (!(await exists(kept))) {
    if (await exists(join(data, "PG_VERSION"))) return;
    throw new CtmError("kept-data-missing", `neither ${kept} nor ${data} holds a database`, {
      next: "ctm backup list: what is in the repository can be restored",
    });
  }
  const discarded = `${data}.discarded`;
  await rm(discarded, { recursive: true, force: true });
  if (await exists(data)) await rename(data, discarded);
  await rename(kept, data);
  await rm(discarded, { recursive: true, force: true });
}

/**
 * Gives old data a timeline of its own above all that the archive holds: a standby follows the
 * newest timeline that it finds there, and would refuse that of an undone restore, which is no
 * child of its own.
 */
async function beginFreshTimeline(
  stack: Stack,
  member: MemberDescriptor,
  state: RestoreState,
  context: Pick<Context, "env" | "signal" | "progress">,
): Promise<void> {
  const { descriptor } = stack;
  const [repository] = descriptor.backup.repositories;
  if (repository === undefined) return;
  const { archives } = await readArchive(descriptor, context, repository);
  const archive = archives.at(-1);
  const { timeline } = await controlOf(descriptor, member);
  // A second call finds it done; and a promotion that never came needs none.
  if (archive === undefined || newestTimeline(archive, null) <= timeline) return;
  context.progress.step("beginning a timeline of its own for the old data");
  const directories = directoriesOf(member);
  const { identity } = await runAs(descriptor.users.postgres);
  await makeDirectory(directories.work, { mode: 0o700, owner: identity });
  await placeHistories(directories.data, archive, { user: descriptor.users.postgres });
  const instance = await startInstance({
    source: {
      configuration: configurationOf(descriptor, repository),
      stanza: descriptor.backup.stanza,
      user: descriptor.users.postgres,
    },
    directories,
    binaries: descriptor.postgres.binaries,
    stop: { kind: "end" },
    timeline: Math.max(timeline, state.timeline),
    archiveCommand: archiveCommandOf(stack, member),
  });
  const failure = await waitFor("the old data to be consistent", freshTimeoutMs, async () => {
    const ended = await instance.ended();
    if (ended !== undefined) return ended;
    await instance.query("SELECT");
    return null;
  });
  if (failure !== null) {
    throw new CtmError("replay-failed", `the server on the old data ended: ${failure}`, {
      next: `less ${join(directories.work, "log")}`,
    });
  }
  checkNewTimeline(await instance.promote(), archive);
  await stopServer(directories, "fast");
}

/** Ends what runs, and starts the cluster as it was; the error then says so. */
async function putBack(
  stack: Stack,
  state: RestoreState,
  context: Context,
  error: unknown,
): Promise<CtmError> {
  context.progress.clear();
  // Ctrl-C ended the restore; it may not end the way back. A subprocess that it ended looks like a
  // failure of its own.
  const reason = context.signal.aborted
    ? new CtmError("interrupted", "the restore was stopped by a signal")
    : error instanceof CtmError
      ? error
      : undefined;
  const signal = new AbortController().signal;
  try {
    await bringAllBack(stack, state, { ...context, signal });
    // One that does not come is no news of this restore: `ctm status` has it.
    await waitForStandbys(stack.descriptor, context.signal, (line) =>
      context.progress.step(line),
    ).catch(() => undefined);
  } catch (second) {
    return new CtmError(
      "restore-half-done",
      `${messageOf(error)}\nthe old data did not come back by itself: ${messageOf(second)}`,
      { next: "ctm restore --undo", cause: second },
    );
  }
  return new CtmError(
    reason?.code ?? "restore-failed",
    `${reason?.message ?? messageOf(error)}\nnothing was restored: the old data is back and serves again`,
    {
      ...(reason?.next === undefined ? {} : { next: reason.next }),
      exitCode: reason?.exitCode ?? 1,
      cause: error,
    },
  );
}

/** The server's own account of where it stands must agree with what was asked for. */
function checkReached({ place, target }: Plan, { by, lsn, evidence, lastCommitAt }: Reached): void {
  const at = parseLsn(lsn) ?? 0n;
  const { stop } = place;
  const stands =
    stop.kind === "end"
      ? by === "archive-end"
      : by === "target" &&
        (stop.kind === "consistent" || (stop.inclusive ? at > stop.lsn : at <= stop.lsn));
  const inTime =
    target.kind !== "time" ||
    lastCommitAt === null ||
    lastCommitAt.replace("T", " ").replace("Z", "") <= target.utc;
  if (stands && inTime) return;
  throw new CtmError(
    "target-not-reached",
    `replay stands at ${lsn}${lastCommitAt === null ? "" : `, after a commit of ${lastCommitAt}`}, which is not ${targetText(target)} (${evidence})`,
    { exitCode: 3 },
  );
}

function stopPointOf({ stop }: Place): StopPoint {
  switch (stop.kind) {
    case "lsn":
      return stop;
    case "end":
      return { kind: "end" };
    case "consistent":
      return { kind: "consistent" };
  }
}

function archiveEndOf({ backup, place, wal }: Plan, { facts }: Gathered): ArchiveEnd {
  const newest = newestHeld(facts.archive, place.timeline);
  const last = wal.at(-1)?.to ?? backup.lastWal;
  const through = newest === -1 ? last : segmentName({ timeline: place.timeline, number: newest });
  return { from: backup.firstWal, through: through > last ? through : last };
}

function sourceOf({ descriptor }: Stack, { repository }: Gathered): RecoverySource {
  return {
    configuration: configurationOf(descriptor, repository),
    stanza: descriptor.backup.stanza,
    user: descriptor.users.postgres,
  };
}

function archiveCommandOf({ descriptor }: Stack, member: MemberDescriptor): string {
  return `pgbackrest --config=${member.backrestConfiguration} --stanza=${descriptor.backup.stanza} archive-push "%p"`;
}

function directoriesOf({ dataDirectory }: MemberDescriptor): InstanceDirectories {
  return { data: dataDirectory, work: join(dirname(dataDirectory), "recovery") };
}

/** Beside the new data: on the same file system, so that setting aside copies nothing. */
function keptPathOf({ dataDirectory }: MemberDescriptor): string {
  return `${dataDirectory}.before-restore`;
}
