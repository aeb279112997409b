import { CtmError } from "#system";
import type { Backup } from "../facts/repository.ts";
import type { Archive } from "./archive.ts";
import {
  lineageOf,
  newestTimeline,
  stepsOf,
  timelineAt,
  type LiveWal,
  type Step,
} from "./lineage.ts";
import { targetText, type Target } from "./target.ts";
import type { DatabaseRemoval, Ending, Mark, WalRecord } from "./wal-records.ts";
import type { WalSource } from "./wal-source.ts";
import { formatLsn, parseSegment, segmentName } from "./wal.ts";

/** Where a recovery has to stop. */
export interface Place {
  timeline: number;
  stop:
    | { kind: "lsn"; lsn: bigint; inclusive: boolean }
    /** All that the archive holds of the timeline. */
    | { kind: "end" }
    /** The moment at which this backup ended. */
    | { kind: "consistent"; label: string };
  /** Every commit until then is in, and none after it; null where only the place is known. */
  at: Date | null;
  /** What the place was found by, for people; null where it was given. */
  found: string | null;
  /** Drops of the table that the search met, newest first. */
  drops: Drop[];
}

/** A DROP or TRUNCATE that was committed. */
export interface Drop extends Mark {
  /** Of the commit. */
  lsn: bigint;
  at: Date;
}

/** What is known of the WAL, without reading it. */
export interface World {
  archive: Archive;
  /** Of this archive, oldest first. */
  backups: readonly Backup[];
  live: LiveWal | null;
  /** Files that a table had when rows were counted, such as base/16384/16500. */
  filesOf(schema: string, table: string): ReadonlySet<string>;
  source: WalSource;
  now: Date;
  progress: { step(text: string): void; detail(text: string): void };
  signal: AbortSignal;
}

/** Segments that are fetched and read together. */
const chunkSize = 8;
/** Once a drop is found, so many more segments are searched for earlier ones of the same table. */
const furtherSegments = 16;
/** Transactions that removed files, and other tables' drops, listed where no mark is found. */
const listedRemovals = 5;

/**
 * Finds the place in WAL of a target. Times, transactions, names and drops are searched in the
 * archive and in what a running server has not archived yet; nothing is written anywhere but in a
 * temporary folder.
 *
 * @param timeline what was asked for; by default the one that lived at the target's time, or else
 *   the newest
 * @throws CtmError `target-too-early`, `target-not-found`, `transaction-aborted`, `no-such-backup`,
 *   `drop-not-found`, `wal-unreadable`
 */
export async function locate(target: Target, world: World, timeline?: number): Promise<Place> {
  const newest = newestTimeline(world.archive, world.live);
  const on = timeline ?? newest;
  switch (target.kind) {
    case "latest":
      return place(on, { kind: "end" });
    case "lsn":
      return place(on, { kind: "lsn", lsn: target.lsn, inclusive: target.inclusive });
    case "backup":
      return backupPlace(target.label, world);
    case "time":
      return await timePlace(target, world, timeline ?? timelineAt(world.archive, target.at));
    case "transaction":
      return await transactionPlace(target, world, on);
    case "name":
      return await namePlace(target, world, on);
    case "before-drop":
      return await dropPlace(target, world, on);
  }
}

function place(timeline: number, stop: Place["stop"], known: Partial<Place> = {}): Place {
  return { timeline, stop, at: null, found: null, drops: [], ...known };
}

function backupPlace(label: string, { backups }: World): Place {
  const backup = backups.find((each) => each.label === label);
  const timeline = parseSegment(backup?.lastWal ?? "")?.timeline;
  if (backup === undefined || timeline === undefined) {
    throw new CtmError("no-such-backup", `there is no backup ${label}`, {
      next: "ctm backup list",
      exitCode: 2,
    });
  }
  return place(timeline, { kind: "consistent", label }, { at: backup.stoppedAt });
}

/**
 * The place again, in a world that is newer: where no commit followed the time, one may have since.
 * Every other place stays.
 *
 * @throws CtmError those of `locate`
 */
export async function locateAgain(target: Target, known: Place, world: World): Promise<Place> {
  return target.kind === "time" && known.stop.kind === "end"
    ? await locate(target, world, known.timeline)
    : known;
}

/** The first commit after the time is where recovery stops, before it. */
async function timePlace(
  target: Extract<Target, { kind: "time" }>,
  world: World,
  timeline: number,
): Promise<Place> {
  const [oldest] = world.backups;
  if (oldest !== undefined && target.at < oldest.stoppedAt) throw tooEarly(target, oldest);
  const steps = stepsOn(world, timeline);
  // A commit after the time is in a segment that was complete after it.
  const begin = steps.findIndex(({ storedAt }) => storedAt === null || storedAt >= target.at);
  world.progress.step(`looking for ${targetText(target)} in WAL`);
  /** Databases whose files went, by transactions that have not ended where reading stands. */
  let removals: DatabaseRemoval[] = [];
  // Files may have gone in the segment before.
  for (const chunk of begin === -1 ? [] : chunksOf(steps.slice(Math.max(0, begin - 1)))) {
    for (const record of await readChunk(chunk, world)) {
      if (record.kind === "database-removal") removals.push(record);
      if (!isEnding(record)) continue;
      if (record.kind === "commit" && record.at > target.utc) {
        // What a DROP DATABASE does before it commits cannot be undone by leaving the commit out.
        const [removal] = removals;
        const { lsn } = removal ?? record;
        const found =
          removal === undefined
            ? `the next commit is at ${formatLsn(lsn)}`
            : `a DROP DATABASE begins at ${formatLsn(lsn)}, before the next commit`;
        return place(timeline, { kind: "lsn", lsn, inclusive: false }, { at: target.at, found });
      }
      removals = removals.filter(({ xid }) => xid !== record.xid);
    }
  }
  return place(
    timeline,
    { kind: "end" },
    { at: target.at, found: "no commit follows in the archive" },
  );
}

async function transactionPlace(
  target: Extract<Target, { kind: "transaction" }>,
  world: World,
  timeline: number,
): Promise<Place> {
  const found = await searchBack(target, world, timeline, (records) =>
    records.findLast(
      (record): record is Ending =>
        isEnding(record) &&
        (record.xid === target.xid || record.subtransactions.includes(target.xid)),
    ),
  );
  if (found.kind === "abort") {
    throw new CtmError(
      "transaction-aborted",
      `transaction ${target.xid} was rolled back at ${isoOf(found)}`,
      { next: `--to "${isoOf(found)}" for everything until then`, exitCode: 2 },
    );
  }
  return place(
    timeline,
    { kind: "lsn", lsn: found.lsn, inclusive: true },
    { at: dateOf(found), found: `it committed at ${isoOf(found)}, at ${formatLsn(found.lsn)}` },
  );
}

async function namePlace(
  target: Extract<Target, { kind: "name" }>,
  world: World,
  timeline: number,
): Promise<Place> {
  const { lsn } = await searchBack(target, world, timeline, (records) =>
    records.findLast((record) => record.kind === "restore-point" && record.name === target.name),
  );
  return place(
    timeline,
    { kind: "lsn", lsn, inclusive: true },
    { found: `the restore point is at ${formatLsn(lsn)}` },
  );
}

/** Before the commit and not before the statement: other work of the meantime is kept. */
async function dropPlace(
  target: Extract<Target, { kind: "before-drop" }>,
  world: World,
  timeline: number,
): Promise<Place> {
  /** Of every table, newest first. */
  const all: Drop[] = [];
  /** Commits that removed files; others are looked for beside their marks. */
  const removals: Removal[] = [];
  const known = world.filesOf(target.schema, target.table);
  let left = Infinity;
  let oldest: Step | undefined;
  world.progress.step(`looking for ${targetText(target)} in WAL`);
  for (const chunk of chunksOf(stepsOn(world, timeline)).toReversed()) {
    const records = await readChunk(chunk, world);
    const commits = records.filter(isCommit);
    removals.push(...removalsIn(records, commits).toReversed());
    for (const record of records.toReversed()) {
      if (record.kind !== "mark") continue;
      const { mark } = record;
      const isItsCommit = ({ xid, lsn }: Pick<Ending, "xid" | "lsn">): boolean =>
        xid === mark.xid && lsn > record.lsn;
      const commit =
        commits.find(isItsCommit) ??
        removals.find(({ commit: { xid, lsn } }) => isItsCommit({ xid, lsn }))?.commit;
      if (commit === undefined) continue;
      // One statement may leave several marks.
      if (all.some((drop) => drop.lsn === commit.lsn && isOf(drop, mark))) continue;
      all.push({ ...mark, lsn: commit.lsn, at: dateOf(commit) });
    }
    oldest = chunk[0];
    const found = all.filter((drop) => isOf(target, drop)).length;
    if (Math.max(found, lossesOf(known, removals).length) >= target.drop) {
      left = Math.min(left, furtherSegments) - chunk.length;
    }
    if (left <= 0) break;
  }
  const drops = all.filter((drop) => isOf(target, drop));
  const chosen = drops[target.drop - 1];
  if (chosen === undefined) {
    const loss = drops.length === 0 ? lossesOf(known, removals)[target.drop - 1] : undefined;
    if (loss === undefined) throw dropNotFound(target, all, removals, oldest);
    const { commit, file } = loss;
    return place(
      timeline,
      { kind: "lsn", lsn: commit.lsn, inclusive: false },
      {
        at: dateOf(commit),
        found: `by its file alone: ${target.schema}.${target.table} lost ${file} at ${isoOf(commit)}, transaction ${commit.xid}. No mark says why: it may have been a rewrite such as VACUUM FULL. Look first, with --into DIR`,
      },
    );
  }
  return place(
    timeline,
    { kind: "lsn", lsn: chosen.lsn, inclusive: false },
    { at: chosen.at, found: dropText(chosen), drops },
  );
}

/** `tasks was dropped at … by ctm_migrator (psql), transaction 731`. */
export function dropText({ event, schema, table, at, role, application, xid }: Drop): string {
  const verb = event === "drop" ? "dropped" : "truncated";
  const by = application === "" ? role : `${role} (${application})`;
  return `${schema}.${table} was ${verb} at ${at.toISOString()} by ${by}, transaction ${xid}`;
}

function dropNotFound(
  target: Extract<Target, { kind: "before-drop" }>,
  all: readonly Drop[],
  removals: readonly Removal[],
  oldest: Step | undefined,
): CtmError {
  const table = `${target.schema}.${target.table}`;
  const since = oldest === undefined ? "the archive is empty" : `from ${segmentName(oldest)} on`;
  const drops = all.filter((drop) => isOf(target, drop));
  if (drops.length > 0) {
    return new CtmError(
      "drop-not-found",
      `${table} was dropped or truncated ${drops.length} times, not ${target.drop} (${since}):\n${drops.map((drop) => `  ${dropText(drop)}`).join("\n")}`,
      { next: `--drop 1 to ${drops.length}`, exitCode: 2 },
    );
  }
  const others = all.slice(0, listedRemovals).map((drop) => `  ${dropText(drop)}`);
  const listed = removals
    .slice(0, listedRemovals)
    .map(
      ({ commit, before, what }) =>
        `  --to before:${formatLsn(before)}  ${isoOf(commit)}, transaction ${commit.xid}: ${what}`,
    );
  return new CtmError(
    "drop-not-found",
    [
      `no drop or truncation of ${table} left a mark in WAL, ${since}`,
      ...(others.length === 0 ? [] : [`of other tables there are marks, newest first:`, ...others]),
      ...(listed.length === 0
        ? ["no transaction removed a file either"]
        : [
            "these transactions removed files of tables or indexes, newest first; WAL does not tell a DROP from a rewrite such as VACUUM FULL:",
            ...listed,
          ]),
    ].join("\n"),
    { next: "ctm restore --into DIR --to before:LSN, and look", exitCode: 3 },
  );
}

/** Commits that removed a file which the table is known to have had, newest first. */
function lossesOf(
  known: ReadonlySet<string>,
  removals: readonly Removal[],
): { commit: Ending; file: string }[] {
  return removals.flatMap(({ commit }) =>
    commit.filesRemoved.filter((file) => known.has(file)).map((file) => ({ commit, file })),
  );
}

/** A commit that removed files of tables or indexes, or a whole database. */
interface Removal {
  commit: Ending;
  /** Recovery has to stop before this, for the files to be there. */
  before: bigint;
  /** What went, for people. */
  what: string;
}

function removalsIn(records: readonly WalRecord[], commits: readonly Ending[]): Removal[] {
  return commits.flatMap((commit): Removal[] => {
    const database = records.find(
      (record) =>
        record.kind === "database-removal" && record.xid === commit.xid && record.lsn < commit.lsn,
    );
    if (database?.kind === "database-removal") {
      return [{ commit, before: database.lsn, what: `DROP DATABASE, ${database.directory}` }];
    }
    const { filesRemoved } = commit;
    if (filesRemoved.length === 0) return [];
    const what = `${filesRemoved.slice(0, 3).join(" ")}${filesRemoved.length > 3 ? " …" : ""}`;
    return [{ commit, before: commit.lsn, what }];
  });
}

async function searchBack<T>(
  target: Target,
  world: World,
  timeline: number,
  find: (records: readonly WalRecord[]) => T | undefined,
): Promise<T> {
  world.progress.step(`looking for ${targetText(target)} in WAL`);
  const steps = stepsOn(world, timeline);
  for (const chunk of chunksOf(steps).toReversed()) {
    const found = find(await readChunk(chunk, world));
    if (found !== undefined) return found;
  }
  const [first] = steps;
  const last = steps.at(-1);
  const where =
    first === undefined || last === undefined
      ? "the archive is empty"
      : `${segmentName(first)} to ${segmentName(last)} were searched`;
  throw new CtmError("target-not-found", `${targetText(target)} is not in WAL: ${where}`, {
    next: "ctm backup list",
    exitCode: 2,
  });
}

function stepsOn({ archive, live }: World, timeline: number): Step[] {
  return stepsOf(lineageOf(timeline, archive.histories.get(timeline) ?? []), archive, live);
}

/** Runs of segments without a hole, of one timeline, oldest first. */
function chunksOf(steps: readonly Step[]): Step[][] {
  const chunks: Step[][] = [];
  for (const step of steps) {
    const chunk = chunks.at(-1);
    const previous = chunk?.at(-1);
    if (
      chunk !== undefined &&
      chunk.length < chunkSize &&
      previous?.timeline === step.timeline &&
      previous.number === step.number - 1
    ) {
      chunk.push(step);
    } else {
      chunks.push([step]);
    }
  }
  return chunks;
}

async function readChunk(chunk: readonly Step[], world: World): Promise<WalRecord[]> {
  world.signal.throwIfAborted();
  const [first] = chunk;
  const last = chunk.at(-1);
  if (first === undefined || last === undefined) return [];
  world.progress.detail(segmentName(first));
  return await world.source.read(first.timeline, first.number, last.number);
}

/** @throws CtmError `target-too-early` when a time is before every backup */
export function tooEarly(target: Target, oldest: Backup): CtmError {
  return new CtmError(
    "target-too-early",
    `${targetText(target)} is before ${oldest.stoppedAt.toISOString()}, when the oldest backup ended`,
    { next: "ctm backup list", exitCode: 2 },
  );
}

function isEnding(record: WalRecord): record is Ending {
  return record.kind === "commit" || record.kind === "abort";
}

function isCommit(record: WalRecord): record is Ending {
  return record.kind === "commit";
}

function isOf(
  { schema, table }: { schema: string; table: string },
  mark: Pick<Mark, "schema" | "table">,
): boolean {
  return mark.schema === schema && mark.table === table;
}

/** To the millisecond, rounded down. */
function dateOf({ at }: Ending): Date {
  return new Date(`${at.slice(0, 23).replace(" ", "T")}Z`);
}

function isoOf({ at }: Ending): string {
  return `${at.replace(" ", "T")}Z`;
}
