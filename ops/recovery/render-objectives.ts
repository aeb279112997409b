import type { Paint } from "../paint.ts";
import { durationText } from "../text.ts";
import type { Assessment, Finding } from "./schedule.ts";

/** When backups are due, in a line. */
export function scheduleText({
  full_at,
  incremental_minutes,
  derived,
}: Assessment["schedule"]): string {
  const from = derived ? " (from the RTO)" : "";
  return `full daily at ${full_at} UTC, incremental every ${incremental_minutes} min${from}`;
}

/** What was promised, and what holds now, in a line. */
export function objectivesText(objectives: Assessment["objectives"]): string {
  const { rpo_ms, unarchived_ms, rto_ms, restore_ms } = objectives;
  const loss =
    unarchived_ms === null
      ? "what is not archived is unknown"
      : `at most ${durationText(unarchived_ms)} of work is not archived`;
  const restore =
    restore_ms === null
      ? "how long a restore takes is unknown"
      : `a restore takes about ${durationText(restore_ms)}`;
  return `${loss} (RPO ${durationText(rpo_ms)}), ${restore} (RTO ${durationText(rto_ms)})`;
}

/** Each warning with what to do about it. */
export function warningLines(warnings: readonly Finding[], paint: Paint): string[] {
  return warnings.flatMap(({ code, message, next }) => [
    `  ${paint.warning(code)}: ${message}`,
    `    next: ${next}`,
  ]);
}
