import { readFile } from "node:fs/promises";
import type { Descriptor, MemberDescriptor } from "#stack";
import { CtmError, runAs } from "#system";
import { defineCommand, type Context } from "../command.ts";
import { readCluster } from "../facts/cluster.ts";
import { backrestFailure, readRepository } from "../facts/repository.ts";
import { openStack } from "../open-stack.ts";
import { takeMark } from "../recovery/marks.ts";
import { defaulted, oneOf } from "../parameters.ts";
import { createShell } from "../shell.ts";
import { bytesText, durationText, timeText } from "../text.ts";
import { backupDocument, backupRow } from "./backup-row.ts";

/** pgBackRest's exit code when another command holds the stanza's lock (build/error.yaml). */
const lockAcquireCode = 50;
const infoMs = 60_000;

export const command = defineCommand({
  help: "Takes a backup with pgBackRest and reads it back from the repository: full stands alone, diff builds on the last full one, incr on the last one of any type. Without a full one, each of them becomes full.",
  examples: [
    { run: "ctm backup full", does: "everything, now" },
    { run: "ctm backup", does: "what changed since the last backup" },
  ],
  arguments: {
    type: defaulted("TYPE", "full, diff or incr", "incr", oneOf("full", "diff", "incr")),
  },
  flags: {},
  document: backupDocument,
  async run({ type }, context) {
    const stack = await openStack(context);
    const { descriptor } = stack;
    const [before, member] = await Promise.all([
      readRepository(descriptor, context, infoMs),
      leaderOf(descriptor, context),
    ]);
    if (before.running) throw alreadyRunning();
    await takeBackup(descriptor, member, type, context);

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
        { next: `ctm logs ${member.name}`, exitCode: 3 },
      );
    }
    context.progress.step("counting rows, for drills to compare with");
    // A backup is none the worse for a leader too busy to be counted.
    await takeMark(stack).catch(() => undefined);
    return backupRow(taken);
  },
  render: ({ label, type, took_ms, database_bytes, stored_bytes, stopped_at }) =>
    [
      `${type} backup ${label} is in the repository: ${bytesText(database_bytes)} of database, ${bytesText(stored_bytes)} stored, in ${durationText(took_ms)}`,
      `every moment from ${timeText(stopped_at)} on can be recovered`,
      "",
      "next: ctm backup list",
    ].join("\n"),
});

/** @throws CtmError `no-leader`: a backup begins on the leader */
async function leaderOf(
  descriptor: Descriptor,
  context: Pick<Context, "signal">,
): Promise<MemberDescriptor> {
  const authority = await readFile(descriptor.tls.authority, "utf8");
  const { leader } = await readCluster(descriptor, authority, {
    timeoutMs: 10_000,
    signal: context.signal,
  });
  const member = descriptor.postgres.members.find(({ name }) => name === leader);
  if (member !== undefined) return member;
  throw new CtmError("no-leader", "no member of the cluster leads, and a backup begins there", {
    next: "ctm status",
  });
}

async function takeBackup(
  descriptor: Descriptor,
  member: MemberDescriptor,
  type: string,
  context: Context,
): Promise<void> {
  const { progress } = context;
  progress.step(`waiting for a checkpoint on ${member.name}`);
  const shell = createShell(context, await runAs(descriptor.users.postgres));
  const running = shell`pgbackrest --config=${member.backrestConfiguration} --stanza=${descriptor.backup.stanza} --log-level-console=detail --log-level-stderr=off --type=${type} backup`;
  let phase = "";
  for await (const line of running) {
    const next = phaseOf(line);
    if (next !== undefined && next !== phase) {
      phase = next;
      progress.step(phase);
    }
    const percent = /, (\d+)\.\d+%\)/.exec(line)?.[1];
    if (percent !== undefined) progress.detail(`${percent} %`);
  }
  const finished = await running;
  if (finished.ok) return;
  if (finished.exitCode === lockAcquireCode) throw alreadyRunning();
  throw new CtmError("backup-failed", backrestFailure(finished), { next: "ctm doctor" });
}

/** What pgBackRest is doing, from the line that it logs (2.45, command/backup/backup.c). */
function phaseOf(line: string): string | undefined {
  if (/: (backup|store zero-length|match|reference) file /.test(line)) return "copying files";
  if (line.includes("backup stop and wait for all WAL"))
    return "waiting for its WAL in the archive";
  if (line.includes("expire command begin")) return "removing what is past its retention";
  return undefined;
}

function alreadyRunning(): CtmError {
  return new CtmError(
    "backup-running",
    "another backup or expiry of this stack runs now; nothing was done",
    { next: "ctm backup list shows it when it is done", exitCode: 2 },
  );
}
