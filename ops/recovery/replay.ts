import { setTimeout as delay } from "node:timers/promises";
import { CtmError } from "#system";
import type { Context } from "../command.ts";
import { lastComplaint, type Instance, type StopPoint } from "./instance.ts";
import {
  formatLsn,
  lsnOfSegment,
  parseLsn,
  parseSegment,
  segmentName,
  segmentNumberOf,
} from "./wal.ts";

/** What is known of the archive before replay: without it, an end cannot be told from a hole. */
export interface ArchiveEnd {
  /** First segment that the backup needs. */
  from: string;
  /** Newest segment on the timeline that is followed. */
  through: string;
}

/** What replay reached, and how that is known. */
export interface Reached {
  /** `target`: the server stopped there; `archive-end`: nothing more is there, and no hole before. */
  by: "target" | "archive-end";
  /** The evidence, in the server's own words where it has some. */
  evidence: string;
  /** End of the last record that was replayed. */
  lsn: string;
  /** When the last transaction that was replayed committed, to the microsecond; null when none was. */
  lastCommitAt: string | null;
  timeline: number;
  /** Segments that came from the archive. */
  segments: number;
  tookMs: number;
}

const pollMs = 200;
/** The server asks for a segment that is not there every second, by its settings. */
const holePatienceMs = 4_000;
/** For so long neither a segment came nor a byte was replayed, and the server does not say why. */
const stallMs = 5 * 60_000;

/**
 * Waits until replay stands where it was told to, by the server's own record of it, and names the
 * hole where it stands still before. The server is then paused there, still in recovery.
 *
 * @throws CtmError `wal-missing`, `wal-unreadable` (both name the segment), `target-not-reached`,
 *   `replay-failed`, `replay-stalled`
 */
export async function replay(
  instance: Instance,
  archive: ArchiveEnd,
  context: Pick<Context, "signal" | "progress">,
): Promise<Reached> {
  const begun = Date.now();
  const { stop } = instance.options;
  const watch = watchLog(instance);
  context.progress.step("replaying WAL");
  let last = { position: "", since: begun };
  for (;;) {
    context.signal.throwIfAborted();
    const failure = await instance.ended();
    await watch.read();
    if (failure !== undefined) throw failed(failure, watch, archive);
    const standing = watch.ready ? await stand(instance) : undefined;
    context.progress.detail(progressText(watch, archive));

    const finish = (by: Reached["by"], evidence: string, now: Standing): Reached => ({
      by,
      evidence,
      lsn: now.lsn,
      lastCommitAt: now.lastCommit,
      timeline: timelineAt(now.lsn, watch, archive),
      segments: watch.segments,
      tookMs: Date.now() - begun,
    });
    if (standing !== undefined && watch.stopped !== undefined) {
      // Without read-only connections yet, the server cannot pause and promotes at the target.
      if (standing.paused || !standing.recovering) return finish("target", watch.stopped, standing);
    }
    const position = `${watch.segments} ${standing?.lsn ?? ""}`;
    if (position !== last.position) last = { position, since: Date.now() };
    const stillMs = Date.now() - last.since;

    if (watch.waiting || standing?.waits === true) {
      if (standing !== undefined && isBehind(standing, watch, archive)) {
        if (watch.damage !== undefined) throw unreadable(watch, archive);
        if (stop.kind === "end") {
          await instance.freeze();
          const now = (await stand(instance)) ?? standing;
          return finish("archive-end", `the archive ends with ${watch.newest}`, now);
        }
        if (stillMs > holePatienceMs) throw notReached(instance, standing, watch);
      } else if (stillMs > holePatienceMs) {
        throw watch.damage === undefined ? missing(watch, archive) : unreadable(watch, archive);
      }
    }
    if (stillMs > stallMs) {
      throw new CtmError(
        "replay-stalled",
        `nothing was replayed for ${stallMs / 60_000} min after ${watch.newest ?? archive.from}${lastComplaint(await instance.log())}`,
      );
    }
    await delay(pollMs, undefined, { signal: context.signal });
  }
}

/** What the server's log has said since it started. */
interface LogWatch {
  read(): Promise<void>;
  segments: number;
  newest: string | undefined;
  /** Number of the first segment that came of each timeline. */
  firsts: Map<number, number>;
  /** It takes connections. */
  ready: boolean;
  /** The server's words for having met its target. */
  stopped: string | undefined;
  /** It waits for WAL that is not there. */
  waiting: boolean;
  /** Why the WAL that was asked for last cannot be read, if it said so since. */
  damage: string | undefined;
}

function watchLog(instance: Instance): LogWatch {
  let offset = 0;
  const watch: LogWatch = {
    segments: 0,
    newest: undefined,
    firsts: new Map(),
    ready: false,
    stopped: undefined,
    waiting: false,
    damage: undefined,
    async read() {
      const log = await instance.log();
      const lines = log.slice(offset).split("\n");
      const partial = lines.pop() ?? "";
      offset = log.length - partial.length;
      for (const line of lines) take(line);
    },
  };
  const take = (line: string): void => {
    const restored = /restored log file "([0-9A-F]{24})" from archive/.exec(line)?.[1];
    // One that cannot be replayed is fetched again and again: that is no progress.
    if (restored !== undefined && restored !== watch.newest) {
      watch.segments += 1;
      watch.newest = restored;
      const { timeline, number } = parseSegment(restored) ?? { timeline: 0, number: 0 };
      if (!watch.firsts.has(timeline)) watch.firsts.set(timeline, number);
      watch.waiting = false;
      watch.damage = undefined;
    }
    if (line.includes("database system is ready to accept")) watch.ready = true;
    watch.stopped ??= /LOG: {2}(recovery stopping .+)/.exec(line)?.[1];
    if (line.includes("waiting for WAL to become available")) watch.waiting = true;
    const damage =
      /ERROR: (\[\d+\]: .+)/.exec(line)?.[1] ??
      /LOG: {2}((?:incorrect resource manager data|invalid |unexpected pageaddr|record with incorrect prev-link|there is no contrecord).+)/.exec(
        line,
      )?.[1];
    if (damage !== undefined) watch.damage = damage;
  };
  return watch;
}

interface Standing {
  recovering: boolean;
  paused: boolean;
  lsn: string;
  lastCommit: string | null;
  waits: boolean;
}

/** Where replay stands, or undefined while the server takes no connection. */
async function stand(instance: Instance): Promise<Standing | undefined> {
  try {
    const [row] = await instance.query<Standing>(
      `SELECT pg_is_in_recovery() AS recovering,
              CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() ELSE false END AS paused,
              pg_last_wal_replay_lsn()::text AS lsn,
              to_char(pg_last_xact_replay_timestamp() AT TIME ZONE 'UTC',
                      'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS "lastCommit",
              EXISTS (SELECT FROM pg_stat_activity
                       WHERE backend_type = 'startup'
                         AND wait_event = 'RecoveryRetrieveRetryInterval') AS waits`,
    );
    return row;
  } catch {
    // Not yet consistent, or gone: `ended` tells these apart.
    return undefined;
  }
}

/** The server has read everything until the archive's end, so far as names can tell. */
function isBehind({ lsn }: Standing, { newest }: LogWatch, { through }: ArchiveEnd): boolean {
  const end = parseSegment(through);
  const at = parseLsn(lsn);
  if (end === undefined || at === undefined || newest === undefined) return false;
  return parseSegment(newest)?.timeline === end.timeline && at > lsnOfSegment(end.number);
}

/** The server reads ahead: what came last may lie behind the place where it stands. */
function timelineAt(lsn: string, { firsts }: LogWatch, { from }: ArchiveEnd): number {
  const at = parseLsn(lsn) ?? 0n;
  const entered = [...firsts].filter(([, number]) => lsnOfSegment(number) < at);
  return Math.max(parseSegment(from)?.timeline ?? 1, ...entered.map(([timeline]) => timeline));
}

function progressText({ segments, newest }: LogWatch, { from, through }: ArchiveEnd): string {
  const [first, last, now] = [from, through, newest ?? from].map(
    (name) => parseSegment(name)?.number ?? 0,
  );
  const share = ((now ?? 0) - (first ?? 0)) / Math.max(1, (last ?? 0) - (first ?? 0));
  const percent = Math.floor(100 * Math.min(1, Math.max(0, share)));
  return `${percent} %, ${segments} segments`;
}

/** The segment that the server asked for and did not get. */
function awaited({ newest }: LogWatch, { from }: ArchiveEnd): string {
  const segment = newest === undefined ? undefined : parseSegment(newest);
  return segment === undefined ? from : segmentName({ ...segment, number: segment.number + 1 });
}

function missing(watch: LogWatch, archive: ArchiveEnd): CtmError {
  return new CtmError(
    "wal-missing",
    `the archive does not hold ${awaited(watch, archive)}, but newer segments up to ${archive.through}: a restore cannot go beyond it`,
    { next: "ctm backup audit", exitCode: 3 },
  );
}

function unreadable(watch: LogWatch, archive: ArchiveEnd): CtmError {
  // A record that is wrong tells its place; what cannot be fetched was asked for last.
  const at = parseLsn(/ at ([0-9A-F]+\/[0-9A-F]+)/.exec(watch.damage ?? "")?.[1] ?? "");
  const { timeline } = parseSegment(watch.newest ?? archive.from) ?? { timeline: 1 };
  const segment =
    at === undefined
      ? awaited(watch, archive)
      : segmentName({ timeline, number: segmentNumberOf(at) });
  return new CtmError(
    "wal-unreadable",
    `${segment} is in the archive and cannot be replayed: ${watch.damage}`,
    { next: "ctm backup verify", exitCode: 3 },
  );
}

function notReached(instance: Instance, { lsn, lastCommit }: Standing, watch: LogWatch): CtmError {
  return new CtmError(
    "target-not-reached",
    `the archive ends with ${watch.newest}, at ${lsn}${lastCommit === null ? "" : ` (last commit ${lastCommit})`}, before ${targetText(instance.options.stop)}`,
    { next: "ctm backup list", exitCode: 3 },
  );
}

function failed(why: string, watch: LogWatch, archive: ArchiveEnd): CtmError {
  if (watch.damage !== undefined) return unreadable(watch, archive);
  return new CtmError("replay-failed", `the restored server stopped before its target: ${why}`, {
    next: "ctm backup audit",
  });
}

function targetText(stop: StopPoint): string {
  switch (stop.kind) {
    case "end":
      return "its end";
    case "consistent":
      return "the backup is consistent";
    case "lsn":
      return `LSN ${formatLsn(stop.lsn)}`;
  }
}
