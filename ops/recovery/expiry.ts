import type { Descriptor } from "#stack";
import { CtmError, runAs } from "#system";
import type { Context } from "../command.ts";
import { backrestFailure, type Backup } from "../facts/repository.ts";
import { windowStart } from "../facts/window.ts";
import { createShell } from "../shell.ts";
import { configurationOf, nearRepositories, readArchive, type ArchiveListing } from "./archive.ts";
import { neededSegments } from "./gaps.ts";
import { segmentName } from "./wal.ts";

/** What an expiry removes, as pgBackRest says before or after it. */
export interface Expiry {
  /** Labels of backups. */
  backups: string[];
  /** Ranges of WAL in the order of names, both ends included. */
  wal: { archive: string; from: string; to: string }[];
}

/**
 * Removes what is past its retention: backups by their age, and WAL that neither the window nor a
 * kept backup needs. pgBackRest counts WAL's retention in backups, not in days
 * (https://pgbackrest.org/configuration.html#section-repository, repo-retention-archive), so the
 * number is worked out, and what pgBackRest would remove is checked before it may.
 *
 * @throws CtmError `expiry-breaks-window`, after which nothing was removed; `expiry-failed`
 */
export async function expire(
  descriptor: Descriptor,
  context: Pick<Context, "env" | "signal">,
  now: Date,
): Promise<Expiry> {
  const [near] = nearRepositories(descriptor);
  if (near === undefined) throw new Error("the descriptor names no near repository");
  const start = windowStart(descriptor, now);
  const listing = await readArchive(descriptor, context, near);
  const shell = createShell(context, await runAs(descriptor.users.postgres));
  const pgbackrest = async (fulls: number, ...more: string[]): Promise<Expiry> => {
    const options = [
      `--config=${configurationOf(descriptor, near)}`,
      `--stanza=${descriptor.backup.stanza}`,
      "--log-level-console=info",
      "--log-level-stderr=off",
      "--log-timestamp=n",
      "--repo1-retention-full-type=time",
      `--repo1-retention-full=${descriptor.backup.policy.fullDays}`,
      "--repo1-retention-archive-type=full",
      `--repo1-retention-archive=${fulls}`,
    ];
    const finished = await shell`pgbackrest ${options} ${more} expire`;
    if (finished.ok) return parseExpiry(finished.stdout);
    throw new CtmError("expiry-failed", backrestFailure(finished), { next: "ctm doctor" });
  };
  const all = listing.backups.filter(({ type }) => type === "full").length;
  let reason: string | undefined;
  // A branch of an earlier recovery may need more than the number that the newest timeline needs.
  for (let fulls = fullsOfWindow(listing.backups, start); fulls <= all; fulls += 1) {
    reason = breaksWindow(await pgbackrest(fulls, "--dry-run"), listing, start);
    if (reason === undefined) return await pgbackrest(fulls);
  }
  if (reason === undefined) return { backups: [], wal: [] };
  throw new CtmError("expiry-breaks-window", `nothing was removed: ${reason}`, {
    next: "ctm backup list",
  });
}

/** How many of the newest full backups reach back to the window's start. */
export function fullsOfWindow(backups: readonly Backup[], start: Date): number {
  const fulls = backups.filter(({ type }) => type === "full");
  const base = backups.findLast(({ stoppedAt }) => stoppedAt <= start);
  if (base === undefined) return fulls.length;
  // Labels begin with the full one's, and with its time.
  const root = base.label.split("_")[0] ?? "";
  return fulls.filter(({ label }) => label >= root).length;
}

/** Why this expiry may not happen, or undefined where it takes nothing that is still promised. */
export function breaksWindow(
  expiry: Expiry,
  { archives, backups }: ArchiveListing,
  start: Date,
): string | undefined {
  const base = backups.findLast(({ stoppedAt }) => stoppedAt <= start) ?? backups[0];
  const expired = new Set(expiry.backups);
  const chain = base === undefined ? [] : chainOf(base, backups);
  const lost = chain.find(({ label }) => expired.has(label));
  if (lost !== undefined) {
    return `${lost.label} would be removed, and the window from ${start.toISOString()} begins with it`;
  }
  const kept = backups.filter(({ label }) => !expired.has(label));
  for (const archive of archives) {
    const ranges = expiry.wal.filter((range) => range.archive === archive.id);
    if (ranges.length === 0) continue;
    const own = kept.filter(({ archiveId }) => archiveId === archive.id);
    for (const segment of neededSegments(archive, own, start)) {
      const name = segmentName(segment);
      const range = ranges.find(({ from, to }) => from <= name && name <= to);
      if (range === undefined) continue;
      return `WAL ${range.from} to ${range.to} would be removed, and ${name} is needed`;
    }
  }
  return undefined;
}

/** The backup and those that it builds on. */
function chainOf(backup: Backup, backups: readonly Backup[]): Backup[] {
  const chain = [backup];
  for (let prior = backup.prior; prior !== null;) {
    const found = backups.find(({ label }) => label === prior);
    if (found === undefined) break;
    chain.push(found);
    prior = found.prior;
  }
  return chain;
}

/** What pgBackRest 2.45 logs of an expiry (src/command/expire/expire.c), with or without `--dry-run`. */
export function parseExpiry(output: string): Expiry {
  const expiry: Expiry = { backups: [], wal: [] };
  for (const line of output.split("\n")) {
    const [, label] = /repo1: remove expired backup (\S+)/.exec(line) ?? [];
    if (label !== undefined) expiry.backups.push(label);
    const [, archive, from, to] =
      /repo1: (\S+) remove archive, start = ([0-9A-F]{24}), stop = ([0-9A-F]{24})/.exec(line) ?? [];
    if (archive !== undefined && from !== undefined && to !== undefined) {
      expiry.wal.push({ archive, from, to });
    }
  }
  return expiry;
}
