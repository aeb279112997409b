import type { Paint } from "../paint.ts";
import { countText, timeText } from "../text.ts";
import type { BackupRow } from "./backup-row.ts";

/** What the picture is drawn from; times are ISO 8601. */
export interface Recoverable {
  backups: readonly Pick<BackupRow, "type" | "stopped_at">[];
  recoverable_from: string | null;
  recoverable_to: string | null;
  /** Null where nobody looked. */
  gaps: readonly unknown[] | null;
  lost: readonly { from: string; to: string | null }[] | null;
}

/**
 * The window as a line in time: F, D and I where backups ended, a rule where any moment can be
 * reached, crosses where WAL is missing until the next backup.
 */
export function picture(recoverable: Recoverable, paint: Paint): string[] {
  const { recoverable_from: from, recoverable_to: to, gaps } = recoverable;
  if (from === null) return [];
  const end = to === null ? "unknown (ctm status says why)" : timeText(to);
  const audited =
    gaps === null
      ? "not audited for gaps: ctm backup audit says why"
      : gaps.length === 0
        ? "no gap"
        : paint.bad(`${countText(gaps.length, "gap")}: ctm backup audit`);
  return [
    `${paint.bold("recoverable")}: ${timeText(from)} to ${end}, ${audited}`,
    `├${line(recoverable, Date.parse(from), paint)}┤`,
  ];
}

function line({ backups, recoverable_to, lost }: Recoverable, from: number, paint: Paint): string {
  const newest = backups.map(({ stopped_at }) => Date.parse(stopped_at)).at(-1) ?? from;
  const to = Math.max(newest, recoverable_to === null ? newest : Date.parse(recoverable_to));
  const width = Math.min(72, paint.columns - 2);
  const cellOf = (time: number): number =>
    to === from ? 0 : Math.round(((time - from) / (to - from)) * (width - 1));
  const cells: string[] = Array.from({ length: width }, () =>
    recoverable_to === null ? "┄" : "─",
  );
  for (const { type, stopped_at } of backups) {
    const at = cellOf(Date.parse(stopped_at));
    // Those of before the window are points, and stand in the list only. Where several fall
    // together, the one that stands alone is shown.
    if (at >= 0 && cells[at] !== "F") cells[at] = type[0]?.toUpperCase() ?? "?";
  }
  for (const each of lost ?? []) {
    const first = Math.max(0, cellOf(Date.parse(each.from)));
    const end = each.to === null ? width : cellOf(Date.parse(each.to));
    // However short, it is seen; the backup that ends it is too, where there is room.
    for (let at = first; at < Math.max(end, first + 1); at += 1) cells[at] = lostCell;
  }
  return cells
    .join("")
    .replaceAll(/×+|[^×]+/g, (part) =>
      part.startsWith(lostCell) ? paint.bad(part) : paint.good(part),
    );
}

const lostCell = "×";
