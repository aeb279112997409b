import { z } from "zod";
import { statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { CtmError, isMissing } from "#system";
import type { Context } from "../command.ts";
import type { Stack } from "../open-stack.ts";
import { archiveNow } from "../recovery/archived-now.ts";
import { gather, type Gathered } from "../recovery/gather.ts";
import { locate, locateAgain } from "../recovery/locate.ts";
import { makePlan, type Plan } from "../recovery/plan.ts";
import { recoverBeside, recoveryOf, removeExpired } from "../recovery/scratch.ts";
import { targetText, type Target } from "../recovery/target.ts";
import { timeText } from "../text.ts";

/** A scratch instance, as the document of `ctm restore --into` has it. */
export const recoveredDocument = z.strictObject({
  action: z.literal("recovered"),
  directory: z.string(),
  /** What was asked for, in words. */
  target: z.string(),
  repository: z.string(),
  backup: z.string(),
  /** What replay reached, by the server's own account. */
  reached: z.strictObject({
    evidence: z.string(),
    lsn: z.string(),
    last_commit_at: z.string().nullable(),
  }),
  expires_at: z.iso.datetime(),
  /** A command that connects to it, for root or the PostgreSQL user. */
  connect: z.string(),
  files_ms: z.int(),
  replay_ms: z.int(),
});
export type RecoveredDocument = z.infer<typeof recoveredDocument>;

export function recoveredText(document: RecoveredDocument): string {
  const { target, reached, directory, expires_at, connect, backup, repository } = document;
  return [
    `a server at ${target} runs in ${directory}, and it is proven: ${reached.evidence}`,
    `  last commit  ${reached.last_commit_at === null ? "before the backup" : timeText(reached.last_commit_at)}, replayed to ${reached.lsn}`,
    `  from         ${backup} of repository ${repository}`,
    `  connect      ${connect}    (as root or the PostgreSQL user; the live database is untouched)`,
    `  expires      ${timeText(expires_at)}: the next restore or drill after that removes it`,
    "",
    "next:",
    `  ctm restore --into ${directory} --table TABLE    copies a table into the live database`,
    `  ctm restore remove ${directory}`,
  ].join("\n");
}

/**
 * Makes a scratch instance at a target, beside the stack, which goes on untouched. It runs until it
 * expires or is removed.
 *
 * @throws CtmError `directory-exists`, `socket-path-too-long` (exit 2), whatever is in the way of
 *   the plan, and what replay throws
 */
export async function restoreInto(
  stack: Stack,
  options: Wanted & { expiresAt: Date },
  context: Context,
): Promise<RecoveredDocument> {
  const { paths, descriptor } = stack;
  const { target, directory, expiresAt } = options;
  await removeExpired(paths, new Date());
  const { plan, gathered } = await archivedPlan(stack, options, context);
  const recovered = await recoverBeside(
    stack,
    recoveryOf({ plan, repository: gathered.repository }, descriptor),
    { directory, purpose: "look", target: targetText(target), expiresAt },
    context,
  );
  const { instance, reached, filesMs, replayMs } = recovered;
  instance.release();
  return {
    action: "recovered",
    directory,
    target: targetText(target),
    repository: gathered.repository.name,
    backup: plan.backup.label,
    reached: {
      evidence: reached.evidence,
      lsn: reached.lsn,
      last_commit_at: reached.lastCommitAt,
    },
    expires_at: expiresAt.toISOString(),
    connect: `psql -h ${directory} -U postgres -d ${descriptor.postgres.database}`,
    files_ms: filesMs,
    replay_ms: replayMs,
  };
}

interface Wanted {
  target: Target;
  directory: string;
  repository: string | undefined;
  timeline: number | undefined;
}

/**
 * What `restoreInto` would do; touches nothing.
 *
 * @throws CtmError `parent-missing` (exit 2), and those of `locate`
 */
export async function planBeside(
  stack: Stack,
  { target, directory, repository, timeline }: Wanted,
  context: Context,
): Promise<{ plan: Plan; gathered: Gathered }> {
  const freeBytes = await freeBytesFor(directory);
  const gathered = await gather(stack, context, repository);
  const place = await locate(target, gathered.world, timeline);
  return { plan: makePlan(target, place, { ...gathered.facts, freeBytes }), gathered };
}

async function freeBytesFor(directory: string): Promise<number> {
  const parent = dirname(directory);
  try {
    const { bavail, bsize } = await statfs(parent);
    return bavail * bsize;
  } catch (error) {
    if (!isMissing(error)) throw error;
    throw new CtmError(
      "parent-missing",
      `${parent}, the folder that ${directory} is to stand in, does not exist`,
      {
        next: "make it, or name a folder whose parent is there",
        exitCode: 2,
        cause: error,
      },
    );
  }
}

/** The plan; what only the leader has of the way there is archived first. */
async function archivedPlan(
  stack: Stack,
  wanted: Wanted,
  context: Context,
): Promise<{ plan: Plan; gathered: Gathered }> {
  const first = await planBeside(stack, wanted, context);
  if (first.plan.unarchived === 0) return first;
  await archiveNow(stack, first.gathered.repository, context);
  const gathered = await gather(stack, context, wanted.repository);
  const { freeBytes } = first.plan.space;
  const facts = { ...gathered.facts, live: null, freeBytes };
  const newer = { ...gathered.world, live: null };
  const place = await locateAgain(wanted.target, first.plan.place, newer);
  return { gathered, plan: makePlan(wanted.target, place, facts) };
}
