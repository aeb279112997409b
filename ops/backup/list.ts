import { z } from "zod";
import { defineCommand } from "../command.ts";
import { stackConnection } from "../facts/connection.ts";
import { readRepository } from "../facts/repository.ts";
import { readArchiver } from "../facts/server.ts";
import { recoverableWindow, windowStart } from "../facts/window.ts";
import { openStack } from "../open-stack.ts";
import { table, type Paint } from "../paint.ts";
import { nearRepositories, readArchive } from "../recovery/archive.ts";
import { assessStack } from "../recovery/objectives.ts";
import { readMeasurements } from "../recovery/rates.ts";
import { objectivesText, scheduleText, warningLines } from "../recovery/render-objectives.ts";
import { findingDocument, objectivesDocument, scheduleDocument } from "../recovery/schedule.ts";
import { bytesText, countText, durationText, timeText } from "../text.ts";
import { backupDocument, backupRow, type BackupRow } from "./backup-row.ts";

const listDocument = z.strictObject({
  running: z.boolean(),
  recoverable_from: z.iso.datetime().nullable(),
  recoverable_to: z.iso.datetime().nullable(),
  repositories: z.array(
    z.strictObject({ number: z.int(), status: z.string(), newest_wal: z.string().nullable() }),
  ),
  backups: z.array(backupDocument),
  objectives: objectivesDocument,
  schedule: scheduleDocument,
  /** Where the objectives or the schedule are not kept. */
  warnings: z.array(findingDocument),
});

type ListDocument = z.infer<typeof listDocument>;

export const command = defineCommand({
  help: "Lists the backups as chains, oldest first, the window that can be recovered, and whether the schedule, the RPO and the RTO are kept. Works while the cluster is down; the window's end is then unknown.",
  examples: [{ run: "ctm backup list", does: "the chains and the window" }],
  arguments: {},
  flags: {},
  document: listDocument,
  async run(_, context) {
    const stack = await openStack(context);
    context.progress.step("reading the repositories");
    const [near] = nearRepositories(stack.descriptor);
    const [repository, archive, archiver, measurements] = await Promise.all([
      readRepository(stack.descriptor, context, 60_000),
      near === undefined ? null : readArchive(stack.descriptor, context, near).catch(() => null),
      stackConnection(stack, "ctm_monitor")
        .then((config) => readArchiver(config, 3_000))
        .catch(() => null),
      readMeasurements(stack.paths),
    ]);
    const { repositories, backups, running } = repository;
    const now = new Date();
    const window = recoverableWindow(archiver, repository, windowStart(stack.descriptor, now));
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
      `next: ${list.warnings[0]?.next ?? "ctm backup full | diff | incr"}`,
    ].join("\n");
  },
});

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

/** The window as a line in time: F, D and I where backups ended, a rule where any moment can be reached. */
function picture(
  { backups, recoverable_from, recoverable_to }: ListDocument,
  paint: Paint,
): string[] {
  const [first] = backups;
  const last = backups.at(-1);
  if (first === undefined || last === undefined || recoverable_from === null) return [];
  const from = Date.parse(recoverable_from);
  const to = Math.max(Date.parse(recoverable_to ?? last.stopped_at), Date.parse(last.stopped_at));
  const width = Math.min(72, paint.columns - 2);
  const line: string[] = Array.from({ length: width }, () => (recoverable_to === null ? "┄" : "─"));
  for (const { type, stopped_at } of backups) {
    const share = to === from ? 0 : (Date.parse(stopped_at) - from) / (to - from);
    const at = Math.round(share * (width - 1));
    // Where several fall together, the one that stands alone is shown.
    if (line[at] !== "F") line[at] = type[0]?.toUpperCase() ?? "?";
  }
  const end = recoverable_to === null ? "unknown (ctm status says why)" : timeText(recoverable_to);
  return [
    `${paint.bold("recoverable")}: ${timeText(recoverable_from)} to ${end}, not audited for gaps`,
    `├${paint.good(line.join(""))}┤`,
  ];
}
