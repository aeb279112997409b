import { z } from "zod";
import type { Paint } from "../paint.ts";
import type { Plan } from "../recovery/plan.ts";
import { targetText } from "../recovery/target.ts";
import { formatLsn } from "../recovery/wal.ts";
import { bytesText, countText, durationText, timeText } from "../text.ts";

const walRange = z.strictObject({
  timeline: z.int(),
  from: z.string(),
  to: z.string(),
  segments: z.int(),
});

/** A plan, in `--json` and in the documents of what was done. */
export const planDocument = z.strictObject({
  target: z.string(),
  /** How the place was found; null where it was given. */
  found: z.string().nullable(),
  timeline: z.int(),
  /** Where replay stops; null for the end of the archive or of the backup. */
  stop_lsn: z.string().nullable(),
  stop_inclusive: z.boolean().nullable(),
  /** Every commit until then is in; null where only the place is known. */
  stop_at: z.iso.datetime().nullable(),
  repository: z.string(),
  backup: z.strictObject({ label: z.string(), type: z.string(), stopped_at: z.iso.datetime() }),
  wal: z.array(walRange),
  wal_segments: z.int(),
  stored_wal_bytes: z.int(),
  database_bytes: z.int(),
  /** Segments that only the server has: it archives them when it is stopped. */
  unarchived_segments: z.int(),
  gaps: z.array(walRange),
  needed_bytes: z.int(),
  free_bytes: z.int(),
  predicted_ms: z.strictObject({
    files: z.int(),
    replay: z.int(),
    other: z.int(),
    total: z.int(),
  }),
  lost: z.strictObject({ ms: z.int().nullable(), wal_bytes: z.int().nullable() }),
  /** Drops of the table of --before-drop that were met, newest first. */
  drops: z.array(
    z.strictObject({
      event: z.enum(["drop", "truncate"]),
      table: z.string(),
      at: z.iso.datetime(),
      lsn: z.string(),
      xid: z.int(),
      role: z.string(),
      application: z.string(),
    }),
  ),
  problems: z.array(z.strictObject({ code: z.string(), what: z.string(), next: z.string() })),
});
export type PlanDocument = z.infer<typeof planDocument>;

export function planRow(plan: Plan): PlanDocument {
  const { place, backup, work, predicted, space, lost } = plan;
  const { stop } = place;
  return {
    target: targetText(plan.target),
    found: place.found,
    timeline: place.timeline,
    stop_lsn: stop.kind === "lsn" ? formatLsn(stop.lsn) : null,
    stop_inclusive: stop.kind === "lsn" ? stop.inclusive : null,
    stop_at: place.at?.toISOString() ?? null,
    repository: plan.repository,
    backup: {
      label: backup.label,
      type: backup.type,
      stopped_at: backup.stoppedAt.toISOString(),
    },
    wal: plan.wal,
    wal_segments: work.segments,
    stored_wal_bytes: work.storedWalBytes,
    database_bytes: work.databaseBytes,
    unarchived_segments: plan.unarchived,
    gaps: plan.gaps,
    needed_bytes: space.neededBytes,
    free_bytes: space.freeBytes,
    predicted_ms: {
      files: predicted.filesMs,
      replay: predicted.replayMs,
      other: predicted.otherMs,
      total: predicted.filesMs + predicted.replayMs + predicted.otherMs,
    },
    lost: { ms: lost.ms, wal_bytes: lost.walBytes },
    drops: place.drops.map(({ event, schema, table, at, lsn, xid, role, application }) => ({
      event,
      table: `${schema}.${table}`,
      at: at.toISOString(),
      lsn: formatLsn(lsn),
      xid,
      role,
      application,
    })),
    problems: plan.problems.map(({ code, message, next }) => ({
      code,
      what: message,
      next: next ?? "",
    })),
  };
}

/** The plan as a person reads it before saying yes. */
export function planText(plan: PlanDocument, paint: Paint): string {
  return [
    paint.bold(`restore to ${plan.target}`),
    ...(plan.found === null ? [] : [`  found      ${plan.found}`]),
    ...plan.drops
      .filter(({ lsn }) => lsn !== plan.stop_lsn)
      .map(
        ({ event, at, xid, role }) =>
          `  other      ${event} at ${timeText(at)} by ${role}, transaction ${xid}`,
      ),
    `  backup     ${plan.backup.label} (${plan.backup.type}, ended ${timeText(plan.backup.stopped_at)}) in the repository ${plan.repository}`,
    `  timeline   ${plan.timeline}`,
    ...plan.wal.map(({ timeline, from, to, segments }) => {
      const own = timeline === plan.timeline ? "" : ` of timeline ${timeline}`;
      return `  WAL        ${from} to ${to}: ${countText(segments, "segment")}${own}`;
    }),
    ...(plan.unarchived_segments === 0
      ? []
      : [
          `             ${countText(plan.unarchived_segments, "segment")} of it archived by stopping`,
        ]),
    `  gaps       ${plan.gaps.length === 0 ? paint.good("none") : paint.bad(plan.gaps.map(({ from, to }) => `${from} to ${to}`).join(", "))}`,
    `  space      ${bytesText(plan.needed_bytes)} needed, ${bytesText(plan.free_bytes)} free`,
    `  duration   about ${durationText(plan.predicted_ms.total)}: ${bytesText(plan.database_bytes)} of files ${durationText(plan.predicted_ms.files)}, WAL ${durationText(plan.predicted_ms.replay)}, stopping and starting ${durationText(plan.predicted_ms.other)}`,
    `  lost       ${lostText(plan)}`,
    ...plan.problems.map(({ what }) => paint.bad(`  problem    ${what}`)),
  ].join("\n");
}

function lostText({ lost, stop_at }: PlanDocument): string {
  const wal = lost.wal_bytes === null ? "" : ` (${bytesText(lost.wal_bytes)} of WAL)`;
  if (lost.ms === null || stop_at === null) return `everything after it${wal}`;
  return `everything after ${timeText(stop_at)}, the last ${durationText(lost.ms)}${wal}`;
}
