import { z } from "zod";
import { defineCommand } from "../command.ts";
import { stackConnection } from "../facts/connection.ts";
import { readRepository } from "../facts/repository.ts";
import { readArchiver } from "../facts/server.ts";
import { recoverableWindow, windowStart } from "../facts/window.ts";
import { openStack } from "../open-stack.ts";
import { table, type Paint } from "../paint.ts";
import { nearRepositories, readArchive } from "../recovery/archive.ts";
import { gapDocument } from "../recovery/gap-document.ts";
import { auditArchive } from "../recovery/gaps.ts";
import { lostMoments } from "../recovery/lost-moments.ts";
import { assessStack } from "../recovery/objectives.ts";
import { readMeasurements } from "../recovery/rates.ts";
import { objectivesText, scheduleText, warningLines } from "../recovery/render-objectives.ts";
import { findingDocument, objectivesDocument, scheduleDocument } from "../recovery/schedule.ts";
import { bytesText, countText, durationText, timeText } from "../text.ts";
import { backupDocument, backupRow, type BackupRow } from "./backup-row.ts";
import { picture } from "./picture.ts";

const listDocument = z.strictObject({
  running: z.boolean(),
  recoverable_from: z.iso.datetime().nullable(),
  recoverable_to: z.iso.datetime().nullable(),
  repositories: z.array(
    z.strictObject({ number: z.int(), status: z.string(), newest_wal: z.string().nullable() }),
  ),
  backups: z.array(backupDocument),
  /** Of the near repository, looked for now; null where it cannot be listed. */
  gaps: z.array(gapDocument).nullable(),
  /** The moments that they cost, on the way to the newest state. */
  lost: z
    .array(z.strictObject({ from: z.iso.datetime(), to: z.iso.datetime().nullable() }))
    .nullable(),
  objectives: objectivesDocument,
  schedule: scheduleDocument,
  /** Where the objectives or the schedule are not kept. */
  warnings: z.array(findingDocument),
});

type ListDocument = z.infer<typeof listDocument>;

export const command = defineCommand({
  help: "Lists the backups as chains, oldest first, the window that can be recovered with every gap in it, and whether the schedule, the RPO and the RTO are kept. Works while the cluster is down; the window's end is then unknown.",
  examples: [{ run: "ctm backup list", does: "the chains and the window" }],
  arguments: {},
  flags: {},
  document: listDocument,
  async run(_, context) {
    const stack = await openStack(context);
    context.progress.step("asking the leader what it archived");
    // Asked first: what it calls archived by now has to be in the listing that follows.
    const archiver = await stackConnection(stack, "ctm_monitor")
      .then((config) => readArchiver(config, 3_000))
      .catch(() => null);
    context.progress.step("reading the repositories");
    const [near] = nearRepositories(stack.descriptor);
    const [repository, archive, measurements] = await Promise.all([
      readRepository(stack.descriptor, context, 60_000),
      near === undefined ? null : readArchive(stack.descriptor, context, near).catch(() => null),
      readMeasurements(stack.paths),
    ]);
    const { repositories, backups, running } = repository;
    const now = new Date();
    const start = windowStart(stack.descriptor, now);
    const window = recoverableWindow(archiver, repository, start);
    const audited = { from: start, archivedTo: archiver?.lastWal ?? null };
    const gaps = archive === null ? null : auditArchive(archive, archive.backups, audited);
    const facts = { repository, archive, archiver, measurements };
    const { objectives, schedule, problems, warnings } = assessStack(stack.descriptor, facts, now);
    return {
      running,
      recoverable_from: window.from?.toISOString() ?? null,
      recoverable_to: window.to?.toISOString() ?? null,
      repositories: repositories.map(({ number, status, newestWal }) => ({
        number,
        status,
        newest_wal: newestWal,
      })),
      backups: backups.map((backup) => backupRow(backup)),
      gaps,
      lost:
        archive === null || gaps === null
          ? null
          : lostMoments(archive, gaps).map(({ from, to }) => ({
              from: from.toISOString(),
              to: to?.toISOString() ?? null,
            })),
      objectives,
      schedule,
      warnings: [...problems, ...warnings],
    };
  },
  render(list, paint) {
    if (list.backups.length === 0) return `there is no backup yet\n\nnext: ctm backup full`;
    return [
      ...list.repositories.flatMap(({ number, status }) => [
        repositoryTitle(list, number, status, paint),
        chains(
          list.backups.filter(({ repository }) => repository === number),
          paint,
        ),
        "",
      ]),
      ...picture(list, paint),
      "",
      `${paint.bold("schedule")}: ${scheduleText(list.schedule)}`,
      `${paint.bold("RPO and RTO")}: ${objectivesText(list.objectives)}`,
      ...warningLines(list.warnings, paint),
      ...(list.running ? ["", "a backup runs now"] : []),
      "",
      `next: ${nextStep(list)}`,
    ].join("\n");
  },
});

function nextStep({ gaps, warnings }: ListDocument): string {
  if (gaps !== null && gaps.length > 0) return "ctm backup audit";
  return warnings[0]?.next ?? "ctm backup full | diff | incr";
}

function repositoryTitle(
  { backups }: ListDocument,
  number: number,
  status: string,
  paint: Paint,
): string {
  const held = backups.filter(({ repository }) => repository === number);
  const stored = held.reduce((sum, { stored_bytes }) => sum + stored_bytes, 0);
  const shown = status === "ok" ? paint.good(status) : paint.bad(status);
  return `${paint.bold(`repository ${number}`)}: ${shown}, ${countText(held.length, "backup")}, ${bytesText(stored)}`;
}

/** Each backup below the one that it needs. */
function chains(backups: readonly BackupRow[], paint: Paint): string {
  const rows = backups.map((backup) => {
    const name =
      backup.prior === null
        ? backup.label
        : `${"  ".repeat(depth(backup, backups))}└ ${backup.label}`;
    return [
      backup.damaged ? paint.bad(name) : name,
      backup.type,
      timeText(backup.stopped_at),
      durationText(backup.took_ms),
      bytesText(backup.database_bytes),
      bytesText(backup.stored_bytes),
    ];
  });
  return table([["BACKUP", "TYPE", "ENDED", "TOOK", "DATABASE", "STORED"], ...rows], paint);
}

/** How many other backups a restore of this one needs below its full one: 0 for the first level. */
function depth(backup: BackupRow, backups: readonly BackupRow[]): number {
  const prior = backups.find(({ label }) => label === backup.prior);
  // A long chain of incrementals is one level: its order says the rest.
  return prior === undefined || prior.type === "full" || prior.type === backup.type ? 0 : 1;
}
