import { statfs } from "node:fs/promises";
import { join } from "node:path";
import { CtmError, exists, messageOf } from "#system";
import type { Context } from "../command.ts";
import { stackConnection } from "../facts/connection.ts";
import { readArchiver, type ArchiverFacts } from "../facts/server.ts";
import type { Stack } from "../open-stack.ts";
import { newestHeld } from "../recovery/archive.ts";
import { archiveNow } from "../recovery/archived-now.ts";
import { gather, type Gathered } from "../recovery/gather.ts";
import { auditArchive, type Gap } from "../recovery/gaps.ts";
import { locate } from "../recovery/locate.ts";
import { readMarks, takeMark, type Mark } from "../recovery/marks.ts";
import { makePlan, type Plan } from "../recovery/plan.ts";
import {
  recoverBeside,
  recoveryOf,
  removeExpired,
  removeScratch,
  scratchNotes,
} from "../recovery/scratch.ts";
import { targetText, type Target } from "../recovery/target.ts";
import { lsnOfSegment, parseLsn, segmentName } from "../recovery/wal.ts";
import { timeText } from "../text.ts";
import { examine } from "./checks.ts";
import { reportPath, writeReport, type DrillDocument, type RestoreDocument } from "./report.ts";

export interface DrillOptions {
  /** Name of the repository; the nearest one by default. */
  repository: string | undefined;
  /** Existing folder for the scratch folders; the stack's own by default. */
  directory: string | undefined;
}

/** What is restored: a target, and the rows that were counted there. */
interface Aim {
  target: Target;
  timeline: number | undefined;
  mark: Mark | undefined;
  words: string;
}

/** Scratch instances that nobody could take away go then. */
const expiryMs = 24 * 3_600_000;
const archiverMs = 5_000;

/**
 * Restores the newest state and a random counted place, checks both, and writes the report; whatever
 * it finds, its scratch folders are gone afterwards.
 *
 * @throws CtmError `no-such-repository`, `no-such-directory`, `drill-running` (exit 2), `no-backup`,
 *   `repository-unreadable`
 */
export async function runDrill(
  stack: Stack,
  options: DrillOptions,
  context: Context,
): Promise<DrillDocument> {
  const { paths, descriptor } = stack;
  const began = new Date();
  await removeExpired(paths, began);
  await refuseSecond(stack);
  const scratch = options.directory ?? paths.state;
  if (!(await exists(scratch))) {
    throw new CtmError("no-such-directory", `${scratch} does not exist`, { exitCode: 2 });
  }
  const archiver = await stackConnection(stack, "ctm_monitor")
    .then((config) => readArchiver(config, archiverMs))
    .catch(() => null);
  const gathered = await gather(stack, context, options.repository);
  const windowMs = descriptor.backup.policy.windowDays * 86_400_000;
  const windowStart = new Date(began.getTime() - windowMs);
  const gaps = gapsOf(gathered, windowStart, archiver);
  const rpoMs = rpoOf(gathered, archiver, began);

  const newest = await restoreAndCheck(stack, gathered, scratch, newestAim(), context);
  const aim = await randomAim(stack, gathered, windowStart, context);
  // What came into the archive meanwhile belongs to the place that was counted just now.
  const later = await gather(stack, context, options.repository);
  const random = await restoreAndCheck(stack, later, scratch, aim, context);

  const restores = [newest.document, random.document];
  const document: DrillDocument = {
    at: began.toISOString(),
    ok: gaps.length === 0 && restores.every((each) => isWell(each)),
    repository: gathered.repository.name,
    rto_ms: newest.answeredMs,
    rpo_ms: rpoMs,
    took_ms: Date.now() - began.getTime(),
    gaps: gaps.map(({ from, to, kind }) => ({ from, to, kind })),
    restores,
    report: reportPath(paths, began),
  };
  await writeReport(paths, document);
  return document;
}

/** One drill at a time: two would measure each other. */
async function refuseSecond({ paths }: Stack): Promise<void> {
  const running = (await scratchNotes(paths)).find(({ purpose }) => purpose === "drill");
  if (running === undefined) return;
  throw new CtmError(
    "drill-running",
    `another drill of this stack began at ${timeText(running.made_at)}`,
    { next: "wait for it to end", exitCode: 2 },
  );
}

function isWell({ failure, checks }: RestoreDocument): boolean {
  return failure === null && checks.every(({ result }) => result !== "failed");
}

function gapsOf(
  { repository, facts }: Gathered,
  from: Date,
  archiver: ArchiverFacts | null,
): Gap[] {
  const listing = {
    repository: repository.name,
    archives: [facts.archive],
    backups: [...facts.backups],
  };
  return auditArchive(listing, facts.backups, { from, archivedTo: archiver?.lastWal ?? null });
}

function newestAim(): Aim {
  const target: Target = { kind: "latest" };
  return { target, timeline: undefined, mark: undefined, words: targetText(target) };
}

/**
 * A place of the window whose rows were counted: the one nearest to a random moment. Where none was
 * counted yet, rows are counted now and archived.
 */
async function randomAim(
  stack: Stack,
  gathered: Gathered,
  windowStart: Date,
  context: Context,
): Promise<Aim> {
  const { backups } = gathered.facts;
  const [oldest] = backups;
  const first = Math.max(windowStart.getTime(), oldest?.stoppedAt.getTime() ?? 0);
  const moment = first + Math.random() * (Date.now() - first);
  const distance = ({ at }: Mark): number => Math.abs(Date.parse(at) - moment);
  const marks = (await readMarks(stack.paths)).filter((mark) => canReach(mark, gathered));
  // Counted for the drills to come, in any case.
  const fresh = await takeMark(stack).catch(() => undefined);
  const [nearest] = marks.toSorted((one, other) => distance(one) - distance(other));
  if (nearest !== undefined) return markAim(nearest);
  if (fresh !== undefined) {
    await archiveNow(stack, gathered.repository, context);
    return markAim(fresh);
  }
  const label = backups[Math.floor(Math.random() * backups.length)]?.label ?? "";
  const target: Target = { kind: "backup", label };
  return { target, timeline: undefined, mark: undefined, words: targetText(target) };
}

function markAim(mark: Mark): Aim {
  const target: Target = { kind: "lsn", lsn: parseLsn(mark.lsn) ?? 0n, inclusive: false };
  const words = `rows as counted at ${timeText(mark.at)}, ${mark.lsn}`;
  return { target, timeline: mark.timeline, mark, words };
}

/** Whether a backup and all the WAL to the mark are in the repository, so far as names can tell. */
function canReach(mark: Mark, gathered: Gathered): boolean {
  try {
    const plan = planOf(gathered, markAim(mark).target, {
      timeline: mark.timeline,
      stop: { kind: "lsn", lsn: parseLsn(mark.lsn) ?? 0n, inclusive: false },
    });
    return plan.problems.every(({ code }) => code !== "target-not-reached");
  } catch {
    // Older than the oldest backup, or on a timeline that was left.
    return false;
  }
}

/** From the archive alone, as if the primary were gone. */
function planOf(
  { facts }: Gathered,
  target: Target,
  place: Pick<Plan["place"], "timeline" | "stop">,
  freeBytes = Number.MAX_SAFE_INTEGER,
): Plan {
  const whole = { at: null, found: null, drops: [], ...place };
  return makePlan(target, whole, { ...facts, live: null, freeBytes });
}

/** Restores, checks and removes; what goes wrong is part of the document. */
async function restoreAndCheck(
  stack: Stack,
  gathered: Gathered,
  scratch: string,
  aim: Aim,
  context: Context,
): Promise<{ document: RestoreDocument; answeredMs: number | null }> {
  const { paths } = stack;
  const directory = join(scratch, `drill-${Date.now().toString(36)}`);
  const begun = Date.now();
  let document: RestoreDocument = {
    target: aim.words,
    backup: null,
    reached: null,
    failure: null,
    checks: [],
  };
  let answeredMs: number | null = null;
  try {
    const place = await locate(aim.target, { ...gathered.world, live: null }, aim.timeline);
    const { bavail, bsize } = await statfs(scratch);
    const plan = planOf(gathered, aim.target, place, bavail * bsize);
    document = { ...document, backup: plan.backup.label };
    const recovery = recoveryOf({ plan, repository: gathered.repository }, stack.descriptor);
    const recovered = await recoverBeside(
      stack,
      recovery,
      {
        directory,
        purpose: "drill",
        target: aim.words,
        expiresAt: new Date(begun + expiryMs),
      },
      context,
    );
    answeredMs = Date.now() - begun;
    const { instance, reached, filesMs, replayMs, promoteMs } = recovered;
    document = {
      ...document,
      reached: {
        evidence: reached.evidence,
        lsn: reached.lsn,
        last_commit_at: reached.lastCommitAt,
        timeline: reached.timeline,
        segments: reached.segments,
        files_ms: filesMs,
        replay_ms: replayMs,
        promote_ms: promoteMs,
      },
    };
    const checks = await examine({ stack, instance, mark: aim.mark, context });
    document = { ...document, checks };
  } catch (error) {
    context.signal.throwIfAborted();
    document = { ...document, failure: failureOf(error) };
  } finally {
    await removeScratch(paths, { directory });
  }
  return { document, answeredMs };
}

function failureOf(error: unknown): RestoreDocument["failure"] {
  return error instanceof CtmError
    ? { code: error.code, message: error.message }
    : { code: "internal-error", message: messageOf(error) };
}

/**
 * How much work the loss of the primary at that moment would have cost: everything since the newest
 * archived segment was complete. Nothing when not a byte was written since.
 */
function rpoOf({ facts }: Gathered, archiver: ArchiverFacts | null, at: Date): number | null {
  const { live, archive } = facts;
  if (live === null) return null;
  const newest = newestHeld(archive, live.timeline);
  if (live.lsn <= lsnOfSegment(newest + 1)) return 0;
  const name = segmentName({ timeline: live.timeline, number: newest });
  const complete =
    archiver?.completed.get(name) ?? archive.segments.get(live.timeline)?.get(newest)?.storedAt;
  return complete === undefined ? null : Math.max(0, at.getTime() - complete.getTime());
}
