import { readFile } from "node:fs/promises";
import { z } from "zod";
import type { Descriptor, MemberDescriptor } from "#stack";
import { CtmError, runAs } from "#system";
import { defineCommand, type Context } from "../command.ts";
import { readCluster } from "../facts/cluster.ts";
import { backrestFailure, readRepository } from "../facts/repository.ts";
import { expire } from "../recovery/expiry.ts";
import { openStack } from "../open-stack.ts";
import { takeMark } from "../recovery/marks.ts";
import { defaulted, oneOf } from "../parameters.ts";
import { createShell, readLines } from "../shell.ts";
import { bytesText, durationText, timeText } from "../text.ts";
import { backupDocument, backupRow } from "./backup-row.ts";

/** pgBackRest's exit code when another command holds the stanza's lock (build/error.yaml). */
const lockAcquireCode = 50;
const infoMs = 60_000;
const mostLagBytes = 64 * 1024 ** 2;

export const command = defineCommand({
  help: "Takes a backup with pgBackRest, whose files come from a replica where one streams, and reads it back from the repository: full stands alone, diff builds on the last full one, incr on the last one of any type. Without a full one, each of them becomes full.",
  examples: [
    { run: "ctm backup full", does: "everything, now" },
    { run: "ctm backup", does: "what changed since the last backup" },
  ],
  arguments: {
    type: defaulted("TYPE", "full, diff or incr", "incr", oneOf("full", "diff", "incr")),
  },
  flags: {},
  document: backupDocument.extend({
    /** The member whose files were read: a replica, where there was one. */
    copied_from: z.string(),
  }),
  async run({ type }, context) {
    const stack = await openStack(context);
    const { descriptor } = stack;
    const [before, { leader, replica }] = await Promise.all([
      readRepository(descriptor, context, infoMs),
      readMembers(descriptor, context),
    ]);
    if (before.running) throw alreadyRunning();
    const copiedFrom = await takeBackup(descriptor, { leader, replica, type }, context);

    context.progress.step("reading the backup back from the repository");
    const after = await readRepository(descriptor, context, infoMs);
    const known = new Set(before.backups.map(({ label }) => label));
    const taken = after.backups.findLast(({ label }) => !known.has(label));
    if (taken === undefined) {
      throw new CtmError(
        "backup-not-recorded",
        "pgBackRest ended well, but the repository holds no new backup",
        { next: "ctm backup list" },
      );
    }
    if (taken.damaged) {
      throw new CtmError(
        "backup-damaged",
        `${taken.label} was taken, but holds pages whose checksums are wrong`,
        { next: `ctm logs ${copiedFrom.name}`, exitCode: 3 },
      );
    }
    context.progress.step("counting rows, for drills to compare with");
    // A backup is none the worse for a leader too busy to be counted.
    await takeMark(stack).catch(() => undefined);
    context.progress.step("removing what is past its retention");
    // The retention of WAL is counted in days here, and in backups by pgBackRest.
    await expire(descriptor, context, new Date());
    return { ...backupRow(taken), copied_from: copiedFrom.name };
  },
  render: ({ label, type, took_ms, database_bytes, stored_bytes, stopped_at, copied_from }) =>
    [
      `${type} backup ${label} is in the repository: ${bytesText(database_bytes)} of database from ${copied_from}, ${bytesText(stored_bytes)} stored, in ${durationText(took_ms)}`,
      `every moment from ${timeText(stopped_at)} on can be recovered`,
      "",
      "next: ctm backup list",
    ].join("\n"),
});

/**
 * The leader, on which a backup begins and ends, and the replica that spares it the reading.
 *
 * @throws CtmError `no-leader`
 */
async function readMembers(
  descriptor: Descriptor,
  context: Pick<Context, "signal">,
): Promise<{ leader: MemberDescriptor; replica: MemberDescriptor | undefined }> {
  const authority = await readFile(descriptor.tls.authority, "utf8");
  const cluster = await readCluster(descriptor, authority, {
    timeoutMs: 10_000,
    signal: context.signal,
  });
  const named = (name: string | null | undefined): MemberDescriptor | undefined =>
    descriptor.postgres.members.find((each) => each.name === name);
  const leader = named(cluster.leader);
  if (leader === undefined) {
    throw new CtmError("no-leader", "no member of the cluster leads, and a backup begins there", {
      next: "ctm status",
    });
  }
  // One that lags makes the backup wait until it has replayed its start.
  const [nearest] = cluster.members
    .filter(({ state, lagBytes }) => state === "streaming" && (lagBytes ?? Infinity) < mostLagBytes)
    .toSorted((one, other) => (one.lagBytes ?? 0) - (other.lagBytes ?? 0));
  return { leader, replica: named(nearest?.name) };
}

/** Returns the member whose files were copied, by pgBackRest's own words. */
async function takeBackup(
  descriptor: Descriptor,
  { leader, replica, type }: Awaited<ReturnType<typeof readMembers>> & { type: string },
  context: Context,
): Promise<MemberDescriptor> {
  const { progress } = context;
  progress.step(`waiting for a checkpoint on ${leader.name}`);
  const shell = createShell(context, await runAs(descriptor.users.postgres));
  const standby =
    replica === undefined
      ? []
      : [
          "--backup-standby",
          `--pg2-path=${replica.dataDirectory}`,
          `--pg2-socket-path=${replica.socketDirectory}`,
          `--pg2-port=${replica.port}`,
          // It runs a CHECKPOINT there, which ctm_backup may not; the OS user is the superuser's.
          "--pg2-user=postgres",
          "--pg2-database=postgres",
        ];
  let copiedFrom = leader;
  const running = shell`pgbackrest --config=${leader.backrestConfiguration} --stanza=${descriptor.backup.stanza} --log-level-console=detail --log-level-stderr=off --type=${type} --no-expire-auto ${standby} backup`;
  let phase = "";
  const finished = await readLines(running, (line) => {
    const next = phaseOf(line);
    if (next !== undefined && next !== phase) {
      phase = next;
      progress.step(phase);
    }
    if (replica !== undefined && line.includes("replay on the standby reached")) {
      copiedFrom = replica;
    }
    const percent = /, (\d+)\.\d+%\)/.exec(line)?.[1];
    if (percent !== undefined) progress.detail(`${percent} %`);
  });
  if (finished.ok) return copiedFrom;
  if (finished.exitCode === lockAcquireCode) throw alreadyRunning();
  throw new CtmError("backup-failed", backrestFailure(finished), { next: "ctm doctor" });
}

/** What pgBackRest is doing, from the line that it logs (2.45, command/backup/backup.c). */
function phaseOf(line: string): string | undefined {
  if (/: (backup|store zero-length|match|reference) file /.test(line)) return "copying files";
  if (line.includes("backup stop and wait for all WAL"))
    return "waiting for its WAL in the archive";
  return undefined;
}

function alreadyRunning(): CtmError {
  return new CtmError(
    "backup-running",
    "another backup or expiry of this stack runs now; nothing was done",
    { next: "ctm backup list shows it when it is done", exitCode: 2 },
  );
}
